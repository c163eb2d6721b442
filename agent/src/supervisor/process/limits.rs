//! Descriptors: one for each process that is watched, more than the usual 1,024 on a machine with hundreds of services. What is
//! started gets the limit back that the supervisor found.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Enough for thousands of services.
const WANTED: rlim_t = 16_384;

static FOUND: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Raises the soft limit, once.
pub(in crate::supervisor) fn raise() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < WANTED && FOUND.set((soft, hard)).is_ok() {
        let result = setrlimit(Resource::RLIMIT_NOFILE, WANTED.min(hard), hard);
        if let Err(error) = result {
            tracing::warn!(%error, "cannot raise the limit of descriptors");
        }
    }
}

/// What it was before.
pub(super) fn found() -> Option<(rlim_t, rlim_t)> {
    FOUND.get().copied()
}
