//! Blobs that an upload stores, and that go again if it fails.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bosh_blobstore::Store;
use bosh_director_api::Code;

use crate::tasks::Error;

/// The blobs stored so far. Dropping it deletes them, unless they were kept.
pub(super) struct Stored {
    store: Store,
    ids: Arc<Mutex<Vec<String>>>,
}

impl Stored {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            ids: Arc::default(),
        }
    }

    /// Stores a file; its id.
    pub(super) async fn put(&self, path: &Path) -> Result<String, Error> {
        self.store(bosh_blobstore::Content::File(PathBuf::from(path)))
            .await
    }

    /// Stores a copy of another blob; its id.
    pub(super) async fn copy(&self, id: &str) -> Result<String, Error> {
        let blob = self.store.open_unverified(id).await.map_err(failed)?;
        self.store(blob.into()).await
    }

    /// Its id is noted before there is a blob: one whose transfer is given up may be there nevertheless.
    async fn store(&self, content: bosh_blobstore::Content) -> Result<String, Error> {
        if self.store.chooses_ids() {
            let stored = self.store.put(content, &[]).await.map_err(failed)?;
            return Ok(self.note(stored.id.to_string()));
        }
        let id = self.note(self.store.generate_id().to_string());
        self.store
            .put_with_id(&id, content, &[])
            .await
            .map_err(failed)?;
        Ok(id)
    }

    fn note(&self, id: String) -> String {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(id.clone());
        id
    }

    /// The rows that refer to them are written: they stay.
    pub(super) fn keep(self) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Deletes them all and waits until they are gone.
    pub(super) async fn discard(self) {
        let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
        delete_all(&self.store, ids).await;
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner));
        if !ids.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let store = self.store.clone();
            runtime.spawn(async move { delete_all(&store, ids).await });
        }
    }
}

/// Deletes blobs that nothing refers to any more; one that stays is only logged.
pub(super) async fn delete_all(store: &Store, ids: Vec<String>) {
    for id in ids {
        if let Err(error) = store.delete(&id).await {
            tracing::warn!(blob = id, %error, "blob not deleted");
        }
    }
}

fn failed(error: bosh_blobstore::Error) -> Error {
    Error::because(Code::Generic.number(), error)
}
