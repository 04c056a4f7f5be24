//! Who may write: a lease with an epoch, one row a tenant.
//!
//! The database's clock alone judges whether it expired: with each append, and with each read
//! just after it, on the same connection. Its holder's own clock may have stood still meanwhile
//! (a machine that slept), and only says how it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fhir_core::{Clock, Instant};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::connect::{Connector, Session};
use crate::error::{Failure, LeaseLost, OpenError, instant_text};
use crate::options::{PostgresOptions, Takeover};
use crate::statements;

/// The lease as its holder knows it.
pub(crate) struct Lease {
    tenant: String,
    pub(crate) epoch: i64,
    length: Duration,
    clock: Arc<dyn Clock>,
    /// Until when it lasts by `clock`, in microseconds.
    until: AtomicU64,
    lost: AtomicBool,
    given_back: AtomicBool,
}

/// How a lease stands by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Held,
    /// Nobody else has it yet, and anybody may.
    Expired,
    /// Another server has it.
    Lost,
}

/// Takes the tenant's lease, or refuses because another server holds it.
pub(crate) async fn take(
    client: &mut Client,
    tenant: &str,
    options: &PostgresOptions,
    clock: Arc<dyn Clock>,
) -> Result<Lease, OpenError> {
    let asked = clock.monotonic();
    let transaction = client.transaction().await.map_err(Failure::from)?;
    let row = transaction.query_one(statements::LEASE, &[&tenant]).await.map_err(Failure::from)?;
    let known = (|| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)))();
    let (epoch, holder, since, left): (i64, String, i64, i64) = known.map_err(Failure::Error)?;
    if left > 0 && options.takeover == Takeover::AfterExpiry {
        return Err(OpenError::Held {
            tenant: tenant.to_owned(),
            holder,
            since: instant_text(Instant::from_micros(since)),
            left: Duration::from_micros(left.unsigned_abs()),
        });
    }
    if left > 0 {
        tracing::warn!(%holder, epoch, "a lease that has not expired is taken over");
    }
    let epoch = epoch + 1;
    let length = micros(options.lease);
    let take = transaction
        .execute(statements::TAKE_LEASE, &[&tenant, &epoch, &options.holder, &length])
        .await;
    take.map_err(Failure::from)?;
    transaction.commit().await.map_err(Failure::from)?;
    let lease = Lease {
        tenant: tenant.to_owned(),
        epoch,
        length: options.lease,
        clock,
        until: AtomicU64::new(0),
        lost: AtomicBool::new(false),
        given_back: AtomicBool::new(false),
    };
    lease.extended(asked);
    Ok(lease)
}

impl Lease {
    /// The length, as the statements take it.
    pub(crate) fn micros(&self) -> i64 {
        micros(self.length)
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Now, for [`Lease::extended`] once what is asked from now on has extended it.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// It was extended by something begun at `asked`.
    pub(crate) fn extended(&self, asked: Duration) {
        let until = u64::try_from((asked + self.length).as_micros()).unwrap_or(u64::MAX);
        self.until.fetch_max(until, Ordering::AcqRel);
    }

    /// Another server has it.
    pub(crate) fn lose(&self) {
        if !self.is_given_back() && !self.lost.swap(true, Ordering::AcqRel) {
            tracing::error!(tenant = self.tenant, "{LeaseLost}");
        }
    }

    /// Whether another server is known to have it.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn is_given_back(&self) -> bool {
        self.given_back.load(Ordering::Acquire)
    }

    /// Whether, by this machine's clock, it lasts still.
    pub(crate) fn seems_held(&self) -> bool {
        let now = u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX);
        !self.is_lost() && now < self.until.load(Ordering::Acquire)
    }

    /// Renews it until it is lost, given back, or the runtime ends.
    pub(crate) async fn keep(self: Arc<Self>, connector: Arc<Connector>) {
        let mut session: Option<Client> = None;
        while !self.is_lost() && !self.is_given_back() {
            let asked = self.now();
            match timeout(self.length, self.renew(&mut session, &connector)).await {
                Ok(Ok(1)) => self.extended(asked),
                Ok(Ok(_)) => self.lose(),
                Ok(Err(error)) => {
                    session = None;
                    tracing::warn!(error = %error, "the lease was not renewed");
                }
                Err(_) => session = None,
            }
            sleep(self.length / 3).await;
        }
    }

    async fn renew(
        &self,
        session: &mut Option<Client>,
        connector: &Connector,
    ) -> Result<u64, Failure> {
        let client = match session.take() {
            Some(client) if !client.is_closed() => client,
            _ => connector.connect().await?,
        };
        let length = self.micros();
        let renewed =
            client.execute(statements::RENEW, &[&self.tenant, &self.epoch, &length]).await?;
        *session = Some(client);
        Ok(renewed)
    }

    /// Whether it is held, by the database's clock: sent behind what is read on this session, it
    /// says so of the moment of reading.
    pub(crate) async fn held(&self, session: &Session) -> Result<Hold, Failure> {
        let asked = session.client.query_opt(&session.held, &[&self.tenant, &self.epoch]).await?;
        let (ours, lasts) = match asked {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (false, false),
        };
        if !ours {
            self.lose();
        }
        Ok(match (ours, lasts) {
            (false, _) => Hold::Lost,
            (true, false) => Hold::Expired,
            (true, true) => Hold::Held,
        })
    }

    /// Gives it back, so that the next server need not wait.
    pub(crate) async fn release(&self, connector: &Connector) -> Result<(), Failure> {
        self.given_back.store(true, Ordering::Release);
        let client = connector.connect().await?;
        client.execute(statements::RELEASE, &[&self.tenant, &self.epoch]).await?;
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
