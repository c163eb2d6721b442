//! Local users that were made through the API; those of director.yml are not here.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, column, first, params, scalar};

/// A row of `users`.
#[derive(Clone, PartialEq, Eq, FromQueryResult)]
pub struct User {
    /// Unique.
    pub username: String,
    /// Hashed, see [`crate::passwords`].
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Adds a user; false when there is one of that name. `password` is hashed.
pub async fn create(db: &dyn Connection, name: &str, password: &str) -> Result<bool, Error> {
    let created = db
        .execute(
            "insert into users (username, password) values ($1, $2) on conflict do nothing",
            params![name, password],
        )
        .await?;
    Ok(created == 1)
}

/// Changes a user's password, which is hashed; false when there is no such user.
pub async fn update(db: &dyn Connection, name: &str, password: &str) -> Result<bool, Error> {
    let changed = db
        .execute(
            "update users set password = $2 where username = $1",
            params![name, password],
        )
        .await?;
    Ok(changed == 1)
}

/// Removes a user; false when there is none of that name.
pub async fn delete(db: &dyn Connection, name: &str) -> Result<bool, Error> {
    let deleted = db
        .execute("delete from users where username = $1", params![name])
        .await?;
    Ok(deleted == 1)
}

/// The user of that name.
pub async fn find(db: &dyn Connection, name: &str) -> Result<Option<User>, Error> {
    first(
        db,
        "select username, password from users where username = $1",
        params![name],
    )
    .await
}

/// Everyone's names.
pub async fn names(db: &dyn Connection) -> Result<Vec<String>, Error> {
    column(db, "select username from users order by username", vec![]).await
}

/// Whether there is anyone.
pub async fn any(db: &dyn Connection) -> Result<bool, Error> {
    let one: Option<i32> = scalar(db, "select 1 from users limit 1", vec![]).await?;
    Ok(one.is_some())
}
