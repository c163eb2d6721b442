//! Why a method failed. `rpc::dispatch` turns it into the one line that travels: the words are upstream's, for
//! directors and tests look for them.

use std::error::Error as StdError;

/// An error of a method.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments are not what the method takes.
    #[error("Extracting method arguments from payload: {0}")]
    Arguments(String),
    /// A step failed.
    #[error("{step}")]
    Step {
        /// As upstream calls it.
        step: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The request makes no sense now.
    #[error("{0}")]
    Refused(String),
    /// Another error, with nothing to add.
    #[error(transparent)]
    Other(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// Refuses with these words.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// The whole chain in one line.
    pub(super) fn chain(&self) -> String {
        let mut message = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        message
    }
}

/// Says which step an error belongs to.
pub(super) trait Context<T> {
    /// Names the step.
    fn context(self, step: impl Into<String>) -> Result<T, Error>;
    /// Adds nothing.
    fn plain(self) -> Result<T, Error>;
}

impl<T, E: StdError + Send + Sync + 'static> Context<T> for Result<T, E> {
    fn context(self, step: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::Step {
            step: step.into(),
            source: Box::new(error),
        })
    }

    fn plain(self) -> Result<T, Error> {
        self.map_err(|error| Error::Other(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: inner")]
    struct Repeating(#[source] std::io::Error);

    #[test]
    fn a_chain_is_one_line_without_repetition() {
        let error = Err::<(), _>(Repeating(std::io::Error::other("inner")))
            .context("Doing")
            .unwrap_err();
        assert_eq!(error.chain(), "Doing: outer: inner");
        let error = Err::<(), _>(std::io::Error::other("inner"))
            .plain()
            .unwrap_err();
        assert_eq!(error.chain(), "inner");
    }
}
