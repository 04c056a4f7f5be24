//! How a tenant's log stands in its database, looked at from outside: nothing is taken, made or
//! changed, also while a server holds it.

use std::time::Duration;

use fhir_core::{Clock, Instant};
use store::{FhirVersion, T};
use tokio_postgres::Client;

use crate::connect::Connector;
use crate::error::{Failure, OpenError};
use crate::options::PostgresOptions;
use crate::{schema, statements};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// PostgreSQL's version, as it says.
    pub server: String,
    /// How far the database's clock is ahead of this machine's, in microseconds.
    pub clock_ahead: i64,
    /// What of PostgreSQL's own settings loses what was acknowledged.
    pub unsafe_settings: Vec<String>,
    /// The last commit and its instant; `None` where there is none.
    pub head: Option<(T, Instant)>,
    /// The FHIR version of its resources: that of the first commit, which all others share.
    pub fhir_version: Option<FhirVersion>,
    /// Who holds the tenant, and for how long still.
    pub held: Option<(String, Duration)>,
}

/// Both lose commits that were answered when the machine fails.
const UNSAFE: &str = "SELECT name FROM pg_settings \
    WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name";

impl Condition {
    /// Looks at `tenant` in the database that `options` reach. Blocks; not to be called on a
    /// thread of an asynchronous runtime.
    ///
    /// # Errors
    /// [`OpenError`] when PostgreSQL cannot be reached or asked.
    pub fn of(
        tenant: &str,
        options: &PostgresOptions,
        clock: &dyn Clock,
    ) -> Result<Self, OpenError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OpenError::Threads)?;
        let connector = Connector::new(options, runtime.handle().clone());
        runtime.block_on(async {
            let client = connector.connect().await?;
            ask(&client, tenant, clock).await
        })
    }

    /// Whether there is no commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }
}

async fn ask(client: &Client, tenant: &str, clock: &dyn Clock) -> Result<Condition, OpenError> {
    let one =
        |sql: &'static str| async move { client.query_one(sql, &[]).await.map_err(Failure::from) };
    let server = one("SHOW server_version").await?.try_get(0).map_err(Failure::from)?;
    let theirs: i64 = one(statements::CLOCK).await?.try_get(0).map_err(Failure::from)?;
    let clock_ahead = theirs.saturating_sub(clock.now().as_micros());
    let settings = client.query(UNSAFE, &[]).await.map_err(Failure::from)?;
    let name = |row: &tokio_postgres::Row| row.try_get::<_, String>(0).map_err(Failure::from);
    let unsafe_settings = settings.iter().map(name).collect::<Result<_, _>>()?;
    let mut found = Condition {
        server,
        clock_ahead,
        unsafe_settings,
        head: None,
        fhir_version: None,
        held: None,
    };
    if schema::format(client).await?.is_none() {
        return Ok(found);
    }
    let head = client.query_opt(statements::HEAD, &[&tenant]).await.map_err(Failure::from)?;
    if let Some(row) = head {
        let t: i64 = row.try_get(0).map_err(Failure::from)?;
        let instant: i64 = row.try_get(1).map_err(Failure::from)?;
        let t = T::new(t.cast_unsigned());
        found.head = (t > T::ZERO).then(|| (t, Instant::from_micros(instant)));
    }
    let first = client.query_opt(statements::FIRST_FHIR_VERSION, &[&tenant]).await;
    if let Some(row) = first.map_err(Failure::from)? {
        let number: i16 = row.try_get(0).map_err(Failure::from)?;
        let version = u8::try_from(number).ok().and_then(FhirVersion::from_number);
        let condition = "it is of a FHIR version that this program does not know";
        let damaged = OpenError::Damaged { t: T::ZERO.next(), condition };
        found.fhir_version = Some(version.ok_or(damaged)?);
    }
    let held = client.query_opt(statements::HOLDER, &[&tenant]).await.map_err(Failure::from)?;
    if let Some(row) = held {
        let holder: String = row.try_get(0).map_err(Failure::from)?;
        let left: i64 = row.try_get(1).map_err(Failure::from)?;
        found.held = (left > 0).then(|| (holder, Duration::from_micros(left.unsigned_abs())));
    }
    Ok(found)
}
