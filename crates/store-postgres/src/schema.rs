//! The tables, made when they are missing, and the format they have.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{Failure, OpenError};

/// The format that this program makes and knows. Tables of format 1 are of before bodies were sealed
/// and large ones stood in blobs: they are the same, and what writes such bodies says so by the
/// number, since a program that knows format 1 alone would take them for plain ones.
const FORMAT: i32 = 2;

/// How often making the tables is tried: two servers that begin at once may meet.
const TRIES: usize = 5;

const TABLES: &str = "\
BEGIN;
CREATE SCHEMA IF NOT EXISTS hearthgate;
CREATE TABLE hearthgate.format (component text PRIMARY KEY, version integer NOT NULL);
CREATE TABLE hearthgate.heads (
    tenant text PRIMARY KEY, log_id text NOT NULL,
    t bigint NOT NULL, instant bigint NOT NULL, hash bytea NOT NULL
);
CREATE TABLE hearthgate.leases (
    tenant text PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL,
    since bigint NOT NULL, expires bigint NOT NULL
);
CREATE TABLE hearthgate.commits (
    tenant text NOT NULL, t bigint NOT NULL, instant bigint NOT NULL, id bytea NOT NULL,
    kind smallint NOT NULL, fhir_version smallint NOT NULL,
    client bytea, key bytea, digest bytea,
    previous bytea NOT NULL, hash bytea NOT NULL, versions integer NOT NULL,
    PRIMARY KEY (tenant, t), UNIQUE (tenant, id)
);
CREATE TABLE hearthgate.versions (
    tenant text NOT NULL, type text NOT NULL, id text NOT NULL, version bigint NOT NULL,
    t bigint NOT NULL, ordinal integer NOT NULL, instant bigint NOT NULL,
    flags smallint NOT NULL, owner bigint NOT NULL, dictionary bigint NOT NULL,
    content_hash bytea NOT NULL, length bigint NOT NULL, body bytea NOT NULL,
    PRIMARY KEY (tenant, type, id, version), UNIQUE (tenant, t, ordinal)
);
CREATE TABLE hearthgate.identifiers (
    tenant text NOT NULL, type text NOT NULL, identifier bytea NOT NULL, id text NOT NULL,
    t bigint NOT NULL,
    PRIMARY KEY (tenant, type, identifier, id)
);
INSERT INTO hearthgate.format VALUES ('store', 2);
COMMIT";

/// What histories and instants are found by, where large bodies are (sealed, so that they are not
/// compressed again), and by which of them the versions are found that name them: a reference begins
/// with the blob's id. Made after the tables, so that tables of an earlier Hearthgate get it too.
const INDEXES: &str = "\
CREATE INDEX IF NOT EXISTS versions_by_type ON hearthgate.versions (tenant, type, t, ordinal);
CREATE INDEX IF NOT EXISTS commits_by_instant ON hearthgate.commits (tenant, instant);
CREATE TABLE IF NOT EXISTS hearthgate.blobs (
    tenant text NOT NULL, id bytea NOT NULL, number integer NOT NULL, bytes bytea NOT NULL,
    PRIMARY KEY (tenant, id, number)
);
CREATE INDEX IF NOT EXISTS versions_by_blob ON hearthgate.versions (tenant, substr(body, 1, 16))
    WHERE flags & 8 <> 0";

/// Makes the tables where there are none, and the tenant's rows; refuses those of a newer format.
pub(crate) async fn prepare(client: &Client, tenant: &str) -> Result<(), OpenError> {
    let mut tries = 0;
    let found = loop {
        if let Some(found) = format(client).await? {
            break found;
        }
        tries += 1;
        match client.batch_execute(TABLES).await {
            Ok(()) => {}
            Err(error) if tries < TRIES && is_met_another(&error) => {
                client.batch_execute("ROLLBACK").await.map_err(Failure::from)?;
            }
            Err(error) => return Err(Failure::from(error).into()),
        }
    };
    check(found)?;
    tries = 0;
    while let Err(error) = client.batch_execute(INDEXES).await {
        tries += 1;
        if tries >= TRIES || !is_met_another(&error) {
            return Err(Failure::from(error).into());
        }
    }
    let head = "INSERT INTO hearthgate.heads SELECT $1::text, gen_random_uuid()::text, 0, $2::bigint, $3::bytea \
                ON CONFLICT DO NOTHING";
    let empty = store::Head::EMPTY;
    let (instant, hash) = (empty.instant.as_micros(), empty.hash.0.as_slice());
    client.execute(head, &[&tenant, &instant, &hash]).await.map_err(Failure::from)?;
    let lease = "INSERT INTO hearthgate.leases VALUES ($1, 0, '', 0, 0) ON CONFLICT DO NOTHING";
    client.execute(lease, &[&tenant]).await.map_err(Failure::from)?;
    Ok(())
}

/// Says that the tables are of this format, if they are of an earlier one. Done with the lease held
/// and before anything is written: a server of an earlier program that holds the tenant goes on.
pub(crate) async fn raise(client: &Client) -> Result<(), OpenError> {
    let raise =
        "UPDATE hearthgate.format SET version = $1 WHERE component = 'store' AND version < $1";
    client.execute(raise, &[&FORMAT]).await.map_err(Failure::from)?;
    Ok(())
}

/// Refuses tables of a newer format.
pub(crate) fn check(found: i32) -> Result<(), OpenError> {
    if found > FORMAT {
        return Err(OpenError::NewerFormat { found, known: FORMAT });
    }
    Ok(())
}

/// The format of the tables; `None` when there are none.
pub(crate) async fn format(client: &Client) -> Result<Option<i32>, Failure> {
    let there = "SELECT to_regclass('hearthgate.format') IS NOT NULL";
    let there: bool = client.query_one(there, &[]).await?.try_get(0)?;
    if !there {
        return Ok(None);
    }
    let version = "SELECT version FROM hearthgate.format WHERE component = 'store'";
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
