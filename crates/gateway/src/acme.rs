//! Certificates by ACME (RFC 8555): ordered, proven, written to a file of their own, and renewed
//! before they end.
//!
//! The file is one of those that TLS reads (`tls`), so that what is ordered here is in force as if
//! somebody had put it there. Until there is one, a certificate of the gateway's own stands in it,
//! which nobody believes, and by which the names can be proven. When an order fails, what is there
//! stays, and the next order waits longer each time.

mod challenges;
mod files;
mod order;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::Clock;
use parking_lot::Mutex;
use serde::Serialize;

pub(crate) use challenges::{Challenges, PROTOCOL};

use crate::errors::GatewayError;
use crate::fetch::{AuthorityUnreadable, FetchError, IssuerUrl};
use crate::metrics::Metrics;
use crate::tls::{CertificateFiles, TlsError};
use files::Held;
use order::Client;

/// What an operator decides about certificates by ACME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The authority's directory.
    pub directory: IssuerUrl,
    /// The names that the certificate is for, at least one.
    pub names: Vec<String>,
    /// Where the authority may reach the operator: `mailto:it@example.org`.
    pub contacts: Vec<String>,
    /// How the names are proven.
    pub challenge: AcmeChallenge,
    /// The certificate authorities that the directory is believed by; the system's when absent.
    pub authority_file: Option<PathBuf>,
    /// Where the account and the certificate are kept; made where it is missing.
    pub dir: PathBuf,
}

/// How names are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// By a file over plain HTTP at port 80 (RFC 8555, section 8.3).
    Http01,
    /// By a certificate over TLS at port 443 (RFC 8737).
    TlsAlpn01,
}

impl Acme {
    /// The file of the certificate and its key.
    #[must_use]
    pub fn files(&self) -> CertificateFiles {
        let file = self.dir.join("certificate.pem");
        CertificateFiles { certificate: file.clone(), key: file }
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The file system refused.
    #[error("cannot {doing} {}; the account and the certificate of ACME are kept there", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// What is kept of the account cannot be read.
    #[error("{} is no account of ACME; move it away and a new account is made", .0.display())]
    Account(PathBuf),
    /// The authorities that the directory is believed by.
    #[error(transparent)]
    Authority(#[from] AuthorityUnreadable),
    /// The authority said no, or what it said makes no sense.
    #[error("the authority does not give a certificate")]
    Authorities(#[source] instant_acme::Error),
    /// The authority does not offer the way by which names are to be proven.
    #[error("the authority does not take {0} for {1}; choose another gateway.acme.challenge")]
    NoSuchChallenge(&'static str, String),
    /// A name was not proven.
    #[error("the authority does not find {0} proven")]
    NotProven(String),
    /// A key or a request cannot be made.
    #[error("a certificate's request cannot be made")]
    Request(#[source] rcgen::Error),
    /// What came is no certificate for the key.
    #[error("what the authority sent cannot be used")]
    Unusable(#[source] Box<TlsError>),
    /// The authority cannot be asked.
    #[error("the authority cannot be asked")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Other(other) => match other.downcast::<FetchError>() {
                Ok(fetch) => Self::Unreachable(fetch),
                Err(other) => Self::Authorities(instant_acme::Error::Other(other)),
            },
            error => Self::Authorities(error),
        }
    }
}

/// How it stands with the certificate, for an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AcmeState {
    /// `issued`, or `stand-in` until the first is.
    pub(crate) certificate: &'static str,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<String>,
    /// Orders that failed since one succeeded.
    pub(crate) failures: u32,
    /// Why the last one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// The first pause after an order that failed; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// How often it is looked whether the certificate is to be renewed.
const LOOK: Duration = Duration::from_secs(3600);

/// Keeps one certificate current.
pub(crate) struct AcmeKeeper {
    acme: Acme,
    challenges: Arc<Challenges>,
    state: Mutex<AcmeState>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl AcmeKeeper {
    /// Makes the directory, and a certificate to stand in where there is none that can be used.
    pub(crate) fn open(
        acme: Acme,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, GatewayError> {
        files::make_dir(&acme.dir)?;
        if Held::read(&acme.files()).is_none() {
            files::write_stand_in(&acme)?;
        }
        let keeper =
            Self { acme, challenges: Arc::default(), state: Mutex::default(), clock, metrics };
        keeper.say(0, None);
        Ok(keeper)
    }

    /// What proves the names, while an order is under way.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        self.challenges.clone()
    }

    /// How it stands.
    pub(crate) fn state(&self) -> AcmeState {
        self.state.lock().clone()
    }

    /// Orders and renews, for as long as it is polled.
    pub(crate) async fn keep_current(&self) {
        let mut client = None;
        let mut failures: u32 = 0;
        loop {
            let result = self.look(&mut client).await;
            let pause = match result {
                Ok(wait) => {
                    failures = 0;
                    wait.min(LOOK)
                }
                Err(error) => {
                    client = None;
                    failures = failures.saturating_add(1);
                    let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10));
                    let pause = pause.min(LONGEST_PAUSE);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        again_in_seconds = pause.as_secs(),
                        "no certificate by ACME; the one of before stays in force"
                    );
                    self.metrics.acme_orders.with_label_values(&["failed"]).inc();
                    self.say(failures, Some(&error));
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Renews the certificate where that is due; says how long it is until it may be.
    async fn look(&self, client: &mut Option<Client>) -> Result<Duration, AcmeError> {
        let held = Held::read(&self.acme.files());
        let now = self.clock.now().as_seconds();
        let standing = held.as_ref().filter(|held| held.is_issued_for(&self.acme.names));
        if let Some(held) = standing
            && now < held.renew_at()
            // Nobody is asked about what is new.
            && now < held.first_look()
        {
            self.say(0, None);
            return Ok(Duration::from_secs((held.first_look() - now).unsigned_abs()));
        }
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::open(&self.acme).await?),
        };
        if let Some(held) = standing
            && now < client.renew_at(held).await
        {
            self.say(0, None);
            return Ok(LOOK);
        }
        let pem = client.order(&self.acme, standing, &self.challenges).await?;
        files::write_certificate(&self.acme, &pem)?;
        tracing::info!(names = self.acme.names.join(" "), "a new certificate by ACME");
        self.metrics.acme_orders.with_label_values(&["ok"]).inc();
        self.say(0, None);
        Ok(LOOK)
    }

    fn say(&self, failures: u32, error: Option<&AcmeError>) {
        let held = Held::read(&self.acme.files());
        let issued = held.as_ref().is_some_and(|held| held.is_issued_for(&self.acme.names));
        let not_after = held.map(|held| crate::denials::time(held.not_after()));
        self.metrics.acme_failures.set(failures.into());
        *self.state.lock() = AcmeState {
            certificate: if issued { "issued" } else { "stand-in" },
            not_after,
            failures,
            error: error.map(chain),
        };
    }
}

/// An error with its sources, in one line.
fn chain(error: &AcmeError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
