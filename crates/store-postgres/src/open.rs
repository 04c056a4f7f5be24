//! Opening: clocks, tables, the lease, and where the log ends.

use std::sync::Arc;

use fhir_core::Clock;
use store::{Head, TenantText};
use tokio_postgres::Client;

use crate::connect::Connector;
use crate::error::{Failure, OpenError};
use crate::lease::Lease;
use crate::options::PostgresOptions;
use crate::store::{Shared, head_of};
use crate::{blobs, lease, schema, statements};

/// How far this machine's clock and the database's may be apart.
const MAX_CLOCK_DIFFERENCE: u64 = 60;

/// Opens the store of `tenant`: its tables are made or brought up to this program's format, and its
/// lease is taken.
pub(crate) async fn open(
    tenant: TenantText,
    options: PostgresOptions,
    connector: Arc<Connector>,
    clock: Arc<dyn Clock>,
) -> Result<Shared, OpenError> {
    let mut client = connector.connect().await?;
    check_clocks(&client, clock.as_ref()).await?;
    schema::prepare(&client, tenant.as_str()).await?;
    let lease = lease::take(&mut client, tenant.as_str(), &options, clock).await?;
    match ready(&mut client, tenant.as_str(), &lease).await {
        Ok(head) => Ok(Shared::new(tenant, options, connector, lease, head)),
        Err(error) => {
            if let Err(error) = lease.release(&connector).await {
                tracing::warn!(%error, "the lease could not be given back");
            }
            Err(error)
        }
    }
}

/// What is done with the lease held, before anything is written: the head is read, since whoever had
/// the lease before can move it no more, and blobs that no version names go.
async fn ready(client: &mut Client, tenant: &str, lease: &Lease) -> Result<Head, OpenError> {
    let head = read_head(client, tenant).await?;
    schema::raise(client).await?;
    match blobs::sweep(tenant, lease, client).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "blobs that no version names are removed"),
        // Nothing but room is lost by it until the next open.
        Err(error) => tracing::warn!(%error, "blobs that no version names were not removed"),
    }
    Ok(head)
}

async fn check_clocks(client: &Client, clock: &dyn Clock) -> Result<(), OpenError> {
    let row = client.query_one(statements::CLOCK, &[]).await.map_err(Failure::from)?;
    let theirs: i64 = row.try_get(0).map_err(Failure::from)?;
    let seconds = clock.now().as_micros().abs_diff(theirs) / 1_000_000;
    if seconds > MAX_CLOCK_DIFFERENCE {
        return Err(OpenError::Clocks { seconds });
    }
    Ok(())
}

/// The head, which must be the last commit's.
async fn read_head(client: &Client, tenant: &str) -> Result<Head, OpenError> {
    let row = client.query_one(statements::HEAD, &[&tenant]).await.map_err(Failure::from)?;
    let (t, head) = head_of(&row)?;
    let found = client.query(statements::COMMITS_FROM, &[&tenant, &t]).await;
    let found = found.map_err(Failure::from)?;
    let damaged = |condition| OpenError::Damaged { t: head.t, condition };
    match found.as_slice() {
        [] if head == Head::EMPTY => Ok(head),
        [] => Err(damaged("it is not there, and the head is it")),
        [row] if head_of(row)?.1 == head => Ok(head),
        [_] => Err(damaged("it is not the one that the head names")),
        _ => Err(damaged("others follow it, and the head is it")),
    }
}
