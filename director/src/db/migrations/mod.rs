//! The schema, one file per aggregate, with upstream's tables and columns
//! (upstream: bosh-director/db/migrations).
//!
//! Every statement says `if not exists`: pointed at a database that upstream's
//! director made, the migrations adopt it and add only what is ours. The SQL
//! is written once; the few words that differ between SQLite and PostgreSQL
//! are filled in by [`dialect`].

mod artifacts;
mod configs;
mod deployments;
mod disks;
mod dns;
mod instances;
mod links;
mod networks;
mod operations;
mod users;
mod variables;
mod workers;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager, async_trait};

/// Brings the schema up to date; safe to run again.
pub(super) async fn run(conn: &DatabaseConnection) -> Result<(), DbErr> {
    Migrator::up(conn, None).await
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        // Order matters twice: foreign keys point backwards, and a name once
        // released never moves.
        [
            ("m0001_operations", operations::SQL),
            ("m0002_configs", configs::SQL),
            ("m0003_networks", networks::SQL),
            ("m0004_deployments", deployments::SQL),
            ("m0005_artifacts", artifacts::SQL),
            ("m0006_variables", variables::SQL),
            ("m0007_instances", instances::SQL),
            ("m0008_disks", disks::SQL),
            ("m0009_links", links::SQL),
            ("m0010_dns", dns::SQL),
            ("m0011_users", users::SQL),
            ("m0012_workers", workers::SQL),
        ]
        .into_iter()
        .map(|(name, sql)| Box::new(Step { name, sql }) as Box<dyn MigrationTrait>)
        .collect()
    }
}

struct Step {
    name: &'static str,
    sql: &'static str,
}

impl MigrationName for Step {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let conn = manager.get_connection();
        for statement in dialect(self.sql, manager.get_database_backend()).split(';') {
            if !statement.trim().is_empty() {
                conn.execute_unprepared(statement).await?;
            }
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Fills in what the two databases spell differently.
fn dialect(sql: &str, backend: DbBackend) -> String {
    let (key, big_key, bytes) = match backend {
        DbBackend::Postgres => ("serial primary key", "bigserial primary key", "bytea"),
        // `autoincrement`: the id of a deleted task or deployment never comes back.
        _ => (
            "integer primary key autoincrement",
            "integer primary key autoincrement",
            "blob",
        ),
    };
    sql.replace("{key}", key)
        .replace("{big_key}", big_key)
        .replace("{bytes}", bytes)
}
