//! Failures of what a deployment task calls, as the task reports them: upstream's code, the text unchanged.

use bosh_director_api::Code;

pub use crate::tasks::Error;

impl From<crate::agents::Error> for Error {
    fn from(error: crate::agents::Error) -> Self {
        Self::because(error.code(), error)
    }
}

impl From<crate::cpi::Error> for Error {
    fn from(error: crate::cpi::Error) -> Self {
        Self::because(error.code(), error)
    }
}

impl From<crate::manifest::Error> for Error {
    fn from(error: crate::manifest::Error) -> Self {
        Self::because(error.code(), error)
    }
}

impl From<bosh_cpi::Error> for Error {
    fn from(error: bosh_cpi::Error) -> Self {
        Self::because(Code::Generic.number(), error)
    }
}

impl From<bosh_blobstore::Error> for Error {
    fn from(error: bosh_blobstore::Error) -> Self {
        Self::because(Code::Generic.number(), error)
    }
}

impl From<crate::nats::Error> for Error {
    fn from(error: crate::nats::Error) -> Self {
        Self::because(
            Code::DeploymentNATSClientCertificateGenerationError.number(),
            error,
        )
    }
}
