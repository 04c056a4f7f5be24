//! How a registry stands in its database, looked at from outside: nothing is made or changed, also
//! while gateways use it. Whether each change is whole is for `verify` to say.

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Instant};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect::{Database, Purpose};
use super::error::{Failure, PostgresError};
use super::options::PostgresOptions;
use super::schema;

/// How long it may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both lose changes that were answered when the machine fails.
const UNSAFE: &str = "SELECT name FROM pg_settings \
    WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name";

/// In microseconds since 1970; and whether the database is one that copies another.
const SELF: &str = "SELECT current_setting('server_version'), \
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
    pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";

const NEWEST: &str = "SELECT sequence, instant FROM hearthgate_registry.changes \
    ORDER BY sequence DESC LIMIT 1";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// PostgreSQL's version, as it says.
    pub server: String,
    /// How far the database's clock is ahead of this machine's, in microseconds.
    pub clock_ahead: i64,
    /// What of PostgreSQL's own settings loses what was answered.
    pub unsafe_settings: Vec<String>,
    /// It takes no writes of anybody, as a standby does.
    pub is_read_only: bool,
    /// The tables; `None` where there are none.
    pub tables: Option<Tables>,
}

/// What the tables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// Their format, which this release reads.
    pub format: i32,
    /// The number and instant of the newest change; `None` where nothing was ever changed.
    pub newest: Option<(u64, Instant)>,
    /// The role may add changes.
    pub may_add: bool,
}

impl Condition {
    /// Looks at the registry in the database that `options` reach. Blocks.
    ///
    /// # Errors
    /// [`PostgresError::Failed`] when PostgreSQL cannot be reached or asked,
    /// [`PostgresError::NewerFormat`] when the tables are of a later release.
    pub fn of(options: &PostgresOptions, clock: &dyn Clock) -> Result<Self, PostgresError> {
        let database = Database::new(options, Arc::default())?;
        let sessions = Arc::clone(&database.sessions);
        let begun = clock.now();
        database.ask(async move {
            let asking = async {
                let session = sessions.session(Purpose::Changing).await?;
                look(&session, begun).await
            };
            timeout(PATIENCE, asking).await.unwrap_or(Err(Failure::Silent(PATIENCE).into()))
        })
    }
}

async fn look(client: &Client, now: Instant) -> Result<Condition, PostgresError> {
    let row = client.query_one(SELF, &[]).await?;
    let theirs: i64 = row.try_get(1)?;
    let settings = client.query(UNSAFE, &[]).await?;
    let settings = settings.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let tables = match schema::format(client).await? {
        None => None,
        Some(format) => {
            schema::check(format)?;
            Some(tables(client, format).await?)
        }
    };
    Ok(Condition {
        server: row.try_get(0)?,
        clock_ahead: theirs.saturating_sub(now.as_micros()),
        unsafe_settings: settings,
        is_read_only: row.try_get(2)?,
        tables,
    })
}

async fn tables(client: &Client, format: i32) -> Result<Tables, PostgresError> {
    let newest = match client.query_opt(NEWEST, &[]).await? {
        None => None,
        Some(row) => {
            let (sequence, instant): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            Some((sequence.cast_unsigned(), Instant::from_micros(instant)))
        }
    };
    let may_add = "SELECT has_table_privilege('hearthgate_registry.changes', 'INSERT')";
    let may_add = client.query_one(may_add, &[]).await?.try_get(0)?;
    Ok(Tables { format, newest, may_add })
}
