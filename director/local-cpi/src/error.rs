//! What a method can fail with; `rpc` turns it into the contract's error classes.

use std::io;
use std::time::Duration;

use crate::ids::{DiskCid, StemcellCid, VmCid};
use crate::{command, unpack};

/// Why a method was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument holds something unusable.
    #[error("{what}: {reason}")]
    Argument {
        /// Which argument or key.
        what: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// No such VM here.
    #[error("VM '{0}' not found")]
    VmNotFound(String),
    /// No such disk here.
    #[error("disk '{0}' not found")]
    DiskNotFound(String),
    /// No such stemcell here.
    #[error("stemcell '{0}' not found")]
    StemcellNotFound(String),
    /// The disk is not attached to that VM.
    #[error("disk '{disk}' is not attached to VM '{vm}'")]
    DiskNotAttached {
        /// The disk.
        disk: DiskCid,
        /// The VM.
        vm: VmCid,
    },
    /// The disk is attached to a VM that exists.
    #[error("disk '{disk}' is attached to VM '{vm}'")]
    DiskAttached {
        /// The disk.
        disk: DiskCid,
        /// The VM that has it.
        vm: VmCid,
    },
    /// Something still uses the disk's file system.
    #[error("disk '{disk}' is busy: {what}")]
    DiskBusy {
        /// The disk.
        disk: DiskCid,
        /// What holds it.
        what: String,
    },
    /// VMs run on the stemcell.
    #[error("stemcell '{stemcell}' is in use by VM '{vm}'")]
    StemcellInUse {
        /// The stemcell.
        stemcell: StemcellCid,
        /// One VM that uses it.
        vm: VmCid,
    },
    /// Another VM has the address.
    #[error("address {address} is in use by VM '{vm}'")]
    AddressInUse {
        /// The address.
        address: std::net::IpAddr,
        /// The VM that has it.
        vm: VmCid,
    },
    /// The backend cannot do this.
    #[error("{0}")]
    NotSupported(String),
    /// The contract has it, this CPI does not.
    #[error("method '{0}' is not implemented")]
    NotImplemented(&'static str),
    /// The image was refused.
    #[error("could not import stemcell image '{image}'")]
    Image {
        /// Path of the image.
        image: String,
        /// Why.
        #[source]
        source: unpack::Error,
    },
    /// The image holds nothing that could be process 1.
    #[error("stemcell image has neither {}", crate::container::INITS.join(" nor "))]
    NoInit,
    /// Process 1 ended at once, or never became the stemcell's program.
    #[error("the VM's process 1 did not start, console: '{said}'")]
    NotStarted {
        /// The VM's console.
        said: String,
    },
    /// A record on disk cannot be read.
    #[error("state file '{path}' is damaged")]
    Record {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another invocation held the object for too long.
    #[error("'{object}' was locked by another call for more than {} seconds", waited.as_secs())]
    Locked {
        /// Path of the object.
        object: String,
        /// How long we waited.
        waited: Duration,
    },
    /// A program we run failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A system call failed.
    #[error("{operation}")]
    Io {
        /// What was attempted, on what.
        operation: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The VM was not created; everything done for it was undone.
    #[error("could not create VM")]
    VmCreation(#[source] Box<Error>),
    /// No such snapshot here.
    #[error("snapshot '{0}' not found")]
    SnapshotNotFound(String),
}

/// Adds the operation and the object to a system error.
pub(crate) trait Context<T> {
    fn context(self, operation: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, operation: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            operation: operation(),
            source: source.into(),
        })
    }
}

/// The message with its causes, joined the way people read them.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
