//! The tables of a registry, made when they are missing, and the format they have.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::error::{Failure, PostgresError};

/// The format that this release makes and reads.
pub(crate) const FORMAT: i32 = 1;

/// On which whoever listens is told that there is a change.
pub(crate) const CHANNEL: &str = "hearthgate_registry";

/// How often making the tables is tried: gateways that begin at once may meet.
const TRIES: usize = 5;

const TABLES: &str = "\
BEGIN;
CREATE SCHEMA IF NOT EXISTS hearthgate_registry;
CREATE TABLE hearthgate_registry.format (component text PRIMARY KEY, version integer NOT NULL);
CREATE TABLE hearthgate_registry.changes (
    sequence bigint PRIMARY KEY, instant bigint NOT NULL, actor text NOT NULL, change text NOT NULL,
    checksum bigint NOT NULL
);
INSERT INTO hearthgate_registry.format VALUES ('registry', 1);
COMMIT";

/// Makes the tables where there are none; refuses those of a later format.
pub(crate) async fn prepare(client: &Client) -> Result<(), PostgresError> {
    let mut tries = 0;
    let found = loop {
        if let Some(found) = format(client).await? {
            break found;
        }
        tries += 1;
        match client.batch_execute(TABLES).await {
            Ok(()) => {}
            Err(error) if tries < TRIES && is_met_another(&error) => {
                client.batch_execute("ROLLBACK").await?;
            }
            Err(error) => return Err(error.into()),
        }
    };
    check(found)
}

/// Refuses a later format.
pub(crate) fn check(found: i32) -> Result<(), PostgresError> {
    if found > FORMAT {
        return Err(PostgresError::NewerFormat { found, known: FORMAT });
    }
    Ok(())
}

/// The format of the tables; `None` when there are none.
pub(crate) async fn format(client: &Client) -> Result<Option<i32>, Failure> {
    let there = "SELECT to_regclass('hearthgate_registry.format') IS NOT NULL";
    let there: bool = client.query_one(there, &[]).await?.try_get(0)?;
    if !there {
        return Ok(None);
    }
    let version = "SELECT version FROM hearthgate_registry.format WHERE component = 'registry'";
    Ok(Some(client.query_one(version, &[]).await?.try_get(0)?))
}

fn is_met_another(error: &tokio_postgres::Error) -> bool {
    let met = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    error.code().is_some_and(|code| met.contains(code))
}
