//! The pool, transactions, and the few helpers every aggregate is written with.
//!
//! SQL is written once, with `$1` placeholders and `returning`, which SQLite
//! and PostgreSQL both take. Functions of the aggregates borrow a
//! `&dyn Connection`, so that the same one runs alone or in a transaction, and
//! is compiled once.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, FromQueryResult, QueryResult, RuntimeErr, SqliteTransactionMode, SqlxError, Statement,
    TransactionOptions, TransactionTrait, TryGetable, Value,
};

use super::migrations;
use super::version::{Index, Version};
use crate::audit;

/// How long a writer waits for another one before it gives up (SQLite).
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a statement waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most rows in one `insert`, well under SQLite's limit of bound values.
const INSERT_CHUNK: usize = 200;

/// A failed database operation.
#[derive(Debug, thiserror::Error)]
#[error("database: {source}")]
pub struct Error {
    #[from]
    source: DbErr,
}

impl Error {
    /// Whether a unique constraint refused the row: someone else was faster.
    pub fn is_unique_violation(&self) -> bool {
        match &self.source {
            DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
                SqlxError::Database(error) => error.is_unique_violation(),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a foreign key refused the change: something still points here.
    pub fn is_foreign_key_violation(&self) -> bool {
        match &self.source {
            DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
                SqlxError::Database(error) => error.is_foreign_key_violation(),
                _ => false,
            },
            _ => false,
        }
    }
}

/// What a query needs: the pool or a transaction.
#[async_trait]
pub trait Connection: Send + Sync {
    /// SQLite or PostgreSQL.
    fn backend(&self) -> DbBackend;
    /// Runs a statement; the number of rows it changed.
    async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, Error>;
    /// Where events are told besides.
    fn audit(&self) -> &audit::Log;
    /// Runs a query; all its rows.
    async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, Error>;
}

/// The database: a pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    conn: DatabaseConnection,
    audit: audit::Log,
    index: Option<Index>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Db")
    }
}

impl Db {
    /// Opens (or creates) the SQLite file and migrates it.
    pub async fn sqlite(path: &Path) -> Result<Self, Error> {
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
        options
            .max_connections(4)
            .min_connections(1)
            .test_before_acquire(false)
            .map_sqlx_sqlite_opts(|options| {
                options
                    .foreign_keys(true)
                    .busy_timeout(BUSY_TIMEOUT)
                    .pragma("journal_mode", "WAL")
                    .pragma("synchronous", "NORMAL")
                    .pragma("temp_store", "MEMORY")
                    .statement_cache_capacity(200)
            });
        let db = Self::open(options).await?;
        Ok(Self {
            index: Some(Index::of(path)),
            ..db
        })
    }

    /// Connects to PostgreSQL (`postgres://user:password@host:port/name`) and migrates it.
    pub async fn postgres(url: &str, max_connections: u32) -> Result<Self, Error> {
        let mut options = ConnectOptions::new(url);
        options.max_connections(max_connections).min_connections(1);
        Self::open(options).await
    }

    async fn open(mut options: ConnectOptions) -> Result<Self, Error> {
        options.sqlx_logging(false).acquire_timeout(ACQUIRE_TIMEOUT);
        let conn = Database::connect(options).await?;
        migrations::run(&conn).await?;
        Ok(Self {
            conn,
            audit: audit::Log::default(),
            index: None,
        })
    }

    /// What changes with every commit to the database, whoever made it; none where that cannot be told (PostgreSQL).
    pub fn version(&self) -> Option<Version> {
        self.index.as_ref()?.read()
    }

    /// Starts a transaction; dropping it without [`Tx::commit`] rolls it back.
    ///
    /// SQLite takes its write lock at once: a transaction that read first could
    /// not be promoted behind another writer's back. So keep transactions
    /// short, and use nothing but the `Tx` inside.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.backend() == DbBackend::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let tx = self.conn.begin_with_options(options).await?;
        Ok(Tx {
            tx,
            audit: self.audit.clone(),
        })
    }

    /// The same database, whose events go to the audit log too.
    pub fn with_audit(self, audit: audit::Log) -> Self {
        Self { audit, ..self }
    }

    /// Whether other machines may use the same database.
    pub fn is_shared(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    /// The audit log.
    pub fn audit_log(&self) -> &audit::Log {
        &self.audit
    }

    /// Closes the pool; waits for the connections in use.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.conn.clone().close().await?)
    }
}

/// A transaction.
pub struct Tx {
    tx: DatabaseTransaction,
    audit: audit::Log,
}

impl Tx {
    /// Makes the changes last.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.tx.commit().await?)
    }

    /// Undoes the changes now, rather than when the value is dropped.
    pub async fn rollback(self) -> Result<(), Error> {
        Ok(self.tx.rollback().await?)
    }
}

macro_rules! connection {
    ($type:ty, $field:ident) => {
        #[async_trait]
        impl Connection for $type {
            fn backend(&self) -> DbBackend {
                self.$field.get_database_backend()
            }

            fn audit(&self) -> &audit::Log {
                &self.audit
            }

            async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, Error> {
                let statement = Statement::from_sql_and_values(self.backend(), sql, values);
                Ok(self.$field.execute_raw(statement).await?.rows_affected())
            }

            async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, Error> {
                let statement = Statement::from_sql_and_values(self.backend(), sql, values);
                Ok(self.$field.query_all_raw(statement).await?)
            }
        }
    };
}

connection!(Db, conn);
connection!(Tx, tx);

/// The values of a statement, in the order of its placeholders.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$(::sea_orm::Value::from($value)),*] };
}
pub(super) use params;

/// All rows of a query.
pub(super) async fn all<T: FromQueryResult>(
    db: &dyn Connection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<T>, Error> {
    let rows = db.rows(sql, values).await?;
    let rows: Result<Vec<T>, DbErr> = rows
        .iter()
        .map(|row| T::from_query_result(row, ""))
        .collect();
    Ok(rows?)
}

/// The first row of a query, if any.
pub(super) async fn first<T: FromQueryResult>(
    db: &dyn Connection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Option<T>, Error> {
    let rows = db.rows(sql, values).await?;
    Ok(rows
        .first()
        .map(|row| T::from_query_result(row, ""))
        .transpose()?)
}

/// The row that a statement `returning` one always has.
pub(super) async fn one<T: FromQueryResult>(
    db: &dyn Connection,
    sql: &str,
    values: Vec<Value>,
) -> Result<T, Error> {
    let found = first(db, sql, values).await?;
    Ok(found.ok_or_else(|| DbErr::RecordNotFound("no row came back".to_owned()))?)
}

/// The first column of the first row, if any.
pub(super) async fn scalar<T: TryGetable>(
    db: &dyn Connection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Option<T>, Error> {
    let rows = db.rows(sql, values).await?;
    Ok(rows
        .first()
        .map(|row| row.try_get_by_index::<T>(0))
        .transpose()?)
}

/// The first column of all rows.
pub(super) async fn column<T: TryGetable>(
    db: &dyn Connection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<T>, Error> {
    let rows = db.rows(sql, values).await?;
    let values: Result<Vec<T>, DbErr> = rows
        .iter()
        .map(|row| row.try_get_by_index::<T>(0))
        .collect();
    Ok(values?)
}

/// `(first, second, ...)` of each row.
pub(super) async fn pairs<A: TryGetable, B: TryGetable>(
    db: &dyn Connection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<(A, B)>, Error> {
    let rows = db.rows(sql, values).await?;
    let pairs: Result<Vec<(A, B)>, DbErr> = rows
        .iter()
        .map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)))
        .collect();
    Ok(pairs?)
}

/// `($n, $n+1, ...)` for an `in` clause; pushes the values. An empty list gives
/// `(null)`, which matches nothing.
pub(super) fn in_list<T: Into<Value>>(
    values: &mut Vec<Value>,
    items: impl IntoIterator<Item = T>,
) -> String {
    let mut list = String::from("(");
    for item in items {
        values.push(item.into());
        if list.len() > 1 {
            list.push_str(", ");
        }
        list.push('$');
        list.push_str(&values.len().to_string());
    }
    if list.len() == 1 {
        list.push_str("null");
    }
    list.push(')');
    list
}

/// Inserts many rows with few statements. `suffix` follows the values, such as
/// `on conflict do nothing`.
pub(super) async fn insert_many(
    db: &dyn Connection,
    table_and_columns: &str,
    rows: Vec<Vec<Value>>,
    suffix: &str,
) -> Result<(), Error> {
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut values = Vec::new();
        let mut tuples = Vec::new();
        for row in rows.by_ref().take(INSERT_CHUNK) {
            tuples.push(in_list(&mut values, row));
        }
        let sql = format!(
            "insert into {table_and_columns} values {} {suffix}",
            tuples.join(", ")
        );
        db.execute(&sql, values).await?;
    }
    Ok(())
}

/// An `update` of the columns that were given.
pub(super) struct Update {
    columns: String,
    values: Vec<Value>,
}

impl Update {
    pub(super) fn new() -> Self {
        Self {
            columns: String::new(),
            values: Vec::new(),
        }
    }

    /// Sets the column, if there is a value.
    pub(super) fn set<T: Into<Value>>(mut self, column: &str, value: Option<T>) -> Self {
        if let Some(value) = value {
            self.values.push(value.into());
            if !self.columns.is_empty() {
                self.columns.push_str(", ");
            }
            self.columns
                .push_str(&format!("\"{column}\" = ${}", self.values.len()));
        }
        self
    }

    /// Runs it on the row with this id; nothing to set is nothing to do.
    pub(super) async fn by_id(
        mut self,
        db: &dyn Connection,
        table: &str,
        id: impl Into<Value>,
    ) -> Result<(), Error> {
        if self.columns.is_empty() {
            return Ok(());
        }
        self.values.push(id.into());
        let sql = format!(
            "update {table} set {} where id = ${}",
            self.columns,
            self.values.len()
        );
        db.execute(&sql, self.values).await?;
        Ok(())
    }
}
