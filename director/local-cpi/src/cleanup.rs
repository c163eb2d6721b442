//! Takes everything down: VMs, disks, snapshots, stemcells, the bridge, and the files that remember them.

use std::fs;

use crate::config::Config;
use crate::error::chain;
use crate::ids::VmCid;
use crate::methods::{Cpi, delete_vm};
use crate::store::Store;
use crate::{Error, container, network};

/// Removes all that this configuration's root knows of. What fails does not stop the rest.
///
/// # Errors
/// The messages of all that failed; a second run tries those again.
pub fn cleanup(config: Config) -> Result<(), Vec<String>> {
    if !config.root.exists() {
        return Ok(());
    }
    let mut failures = Vec::new();
    let mut attempt = |what: Result<(), Error>| {
        if let Err(error) = what {
            failures.push(chain(&error));
        }
    };
    let store = match Store::open(&config.root) {
        Ok(store) => store,
        Err(error) => return Err(vec![chain(&error)]),
    };
    let cpi = Cpi { config, store };
    attempt(container::private());
    match cpi.store.list::<VmCid>() {
        Ok(vms) => {
            for vm in &vms {
                attempt(delete_vm(&cpi, vm));
            }
        }
        Err(error) => attempt(Err(error)),
    }
    attempt(
        cpi.store
            .lock_network()
            .and_then(|_network| network::teardown(&cpi.store)),
    );
    if failures.is_empty() {
        let root = &cpi.config.root;
        for name in [
            "vms",
            "disks",
            "stemcells",
            "snapshots",
            "runc",
            "network.lock",
        ] {
            let path = root.join(name);
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    failures.push(chain(&Error::Io {
                        operation: format!("could not remove '{}'", path.display()),
                        source: error,
                    }));
                }
                _ => {}
            }
        }
        // The root itself may be somebody else's directory.
        let _ = fs::remove_dir(root);
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures)
    }
}
