//! Gives memory back: an allocator keeps what a busy minute has freed, and a director is idle most of its days.

/// Returns what is free to the system. Takes milliseconds; for when nothing else is to be done.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks and touches no memory that is in use.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
