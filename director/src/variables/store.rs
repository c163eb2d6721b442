//! Where sealed values are kept.

use async_trait::async_trait;

/// A value as it lies in the database.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Id of this version of the value, made up by the director.
    pub id: String,
    /// Full name.
    pub name: String,
    /// `password`, `certificate`, ...
    pub kind: String,
    /// From [`super::Cipher::seal`].
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why the database did not do as it was asked.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the database has to offer.
#[async_trait]
pub trait Store: Send + Sync {
    /// The newest version of each of these names that there is.
    async fn latest(&self, names: &[String]) -> Result<Vec<Sealed>, Failure>;

    /// The versions with these ids.
    async fn by_id(&self, ids: &[String]) -> Result<Vec<Sealed>, Failure>;

    /// Keeps a new version.
    async fn put(&self, sealed: &Sealed) -> Result<(), Failure>;
}
