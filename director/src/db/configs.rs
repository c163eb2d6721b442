//! Configs of any type; every version of each is kept.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, first, in_list, one, params};
use super::row::{ConfigId, TeamId, Timestamp};

/// A row of `configs`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Config {
    /// Primary key; clients see it as a string.
    pub id: ConfigId,
    /// Its name, `default` for most.
    pub name: String,
    /// `cloud`, `runtime`, `cpi`, `resurrection`, ...
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// YAML as given.
    pub content: String,
    /// When it was given.
    pub created_at: Timestamp,
    /// Whether all versions of it were deleted.
    pub deleted: Option<bool>,
    /// The team that owns it.
    pub team_id: Option<i32>,
}

/// Which configs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this type.
    pub kind: Option<String>,
    /// Only of this name.
    pub name: Option<String>,
    /// At most so many versions of each; newest first.
    pub limit: i64,
}

/// Inserts a new version.
pub async fn create(
    db: &dyn Connection,
    kind: &str,
    name: &str,
    content: &str,
) -> Result<Config, Error> {
    create_for(db, kind, name, content, None).await
}

/// Inserts a new version that belongs to a team, or to nobody.
pub async fn create_for(
    db: &dyn Connection,
    kind: &str,
    name: &str,
    content: &str,
    team: Option<TeamId>,
) -> Result<Config, Error> {
    one(
        db,
        "insert into configs (type, name, content, created_at, deleted, team_id) \
         values ($1, $2, $3, $4, $5, $6) returning *",
        params![kind, name, content, Timestamp::now(), false, team],
    )
    .await
}

/// The current version of every config of a type that is nobody's or of one of these teams, by name.
pub async fn latest_set_for_teams(
    db: &dyn Connection,
    kind: &str,
    teams: &[String],
) -> Result<Vec<Config>, Error> {
    let mut values = params![kind, false];
    let list = in_list(&mut values, teams.iter().cloned());
    all(
        db,
        &format!(
            "select * from configs where id in (select max(id) from configs \
             where type = $1 and deleted = $2 and (team_id is null or team_id in \
             (select id from teams where name in {list})) group by name) order by name"
        ),
        values,
    )
    .await
}

/// The current version of one config.
pub async fn latest(db: &dyn Connection, kind: &str, name: &str) -> Result<Option<Config>, Error> {
    first(
        db,
        "select * from configs where type = $1 and name = $2 and deleted = $3 \
         order by id desc limit 1",
        params![kind, name, false],
    )
    .await
}

/// The current version of every config of a type, by name.
pub async fn latest_set(db: &dyn Connection, kind: &str) -> Result<Vec<Config>, Error> {
    all(
        db,
        "select * from configs where id in (select max(id) from configs \
         where type = $1 and deleted = $2 group by name) order by name",
        params![kind, false],
    )
    .await
}

/// Configs that are not deleted, newest version first within type and name.
pub async fn list(db: &dyn Connection, filter: &Filter) -> Result<Vec<Config>, Error> {
    let mut values = params![false];
    let mut sql = String::from(
        "select * from (select c.*, row_number() over (partition by type, name order by id desc) \
         as rank from configs c where deleted = $1",
    );
    if let Some(kind) = &filter.kind {
        values.push(kind.clone().into());
        sql.push_str(&format!(" and type = ${}", values.len()));
    }
    if let Some(name) = &filter.name {
        values.push(name.clone().into());
        sql.push_str(&format!(" and name = ${}", values.len()));
    }
    values.push(filter.limit.into());
    sql.push_str(&format!(
        ") ranked where rank <= ${} order by type, name, id desc",
        values.len()
    ));
    all(db, &sql, values).await
}

/// The config of that id, deleted or not.
pub async fn get(db: &dyn Connection, id: ConfigId) -> Result<Option<Config>, Error> {
    first(db, "select * from configs where id = $1", params![id]).await
}

/// The configs of these ids, by id.
pub async fn by_ids(db: &dyn Connection, ids: &[ConfigId]) -> Result<Vec<Config>, Error> {
    let mut values = Vec::new();
    let list = in_list(&mut values, ids.iter().copied());
    all(
        db,
        &format!("select * from configs where id in {list} order by id"),
        values,
    )
    .await
}

/// Marks all versions of a config deleted; how many there were.
pub async fn delete(db: &dyn Connection, kind: &str, name: &str) -> Result<u64, Error> {
    db.execute(
        "update configs set deleted = $1 where type = $2 and name = $3 and deleted = $4",
        params![true, kind, name, false],
    )
    .await
}

/// Marks one version deleted; false when there is none.
pub async fn delete_by_id(db: &dyn Connection, id: ConfigId) -> Result<bool, Error> {
    let changed = db
        .execute(
            "update configs set deleted = $1 where id = $2 and deleted = $3",
            params![true, id, false],
        )
        .await?;
    Ok(changed == 1)
}
