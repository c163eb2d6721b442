//! The database that a test runs on: SQLite, or PostgreSQL when `BOSH_TEST_POSTGRES` names a server
//! (`tests/on-postgres` starts one).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use bosh_director::db::Db;
use sea_orm::{ConnectionTrait as _, Database};

/// The database of the test whose directory that is; the same one each time.
pub(crate) async fn open(directory: &Path) -> Db {
    let Ok(server) = std::env::var("BOSH_TEST_POSTGRES") else {
        return Db::sqlite(&directory.join("director.db")).await.unwrap();
    };
    Db::postgres(&url(&server, directory).await, 8)
        .await
        .unwrap()
}

/// A schema of that server, made if need be: far lighter than a database of its own.
pub(crate) async fn url(server: &str, directory: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    directory.hash(&mut hasher);
    let schema = format!("test_{:016x}", hasher.finish());
    let connection = Database::connect(server).await.unwrap();
    connection
        .execute_unprepared(&format!("create schema if not exists {schema}"))
        .await
        .unwrap();
    connection.close().await.unwrap();
    format!("{server}&options[search_path]={schema}")
}
