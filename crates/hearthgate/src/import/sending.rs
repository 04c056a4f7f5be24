//! Sends one shipment and says what became of it.
//!
//! What may be tried again is decided by what the server can have done: nothing was sent, or the
//! server said that it did nothing (429, 503), or doing it twice is the same (PUT). A POST whose
//! answer never came is reported as unknown and left to a person.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use contract::{Clock, Redacted};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::sync::watch;

use super::ImportError;
use super::answer::{self, EntryAnswer, QUARANTINED};
use super::document::{Place, Shipment, What};
use super::named::Names;

/// Sends shipments to one FHIR base.
pub(crate) struct Sender {
    client: Client,
    base: String,
    names: Names,
    patience: Duration,
    clock: Arc<dyn Clock>,
    stopped: watch::Receiver<bool>,
}

/// A shipment and what became of it.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) place: Place,
    pub(crate) what: What,
    pub(crate) fate: Fate,
}

/// What became of a shipment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A resource stands, and where: 201 made, 200 made before.
    Stands(u16, Option<String>),
    /// A Bundle was answered entry by entry.
    Answered(Vec<EntryAnswer>),
    /// The server refused it and did nothing.
    Refused(u16, String),
    /// Nobody can say: it was sent and not answered.
    Unknown(String),
    /// It was not sent, or the server did nothing, until patience ended: the rest would fare no
    /// better.
    Hopeless(String),
}

/// One try.
enum Try {
    Over(Fate),
    /// Nothing was done: again, after so long where the server says.
    Again(Option<Duration>, String),
}

const CONNECT: Duration = Duration::from_secs(10);
/// Between two bytes of an answer, the first among them. A transaction of a hundred megabytes
/// takes its time.
const SILENCE: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 20;
const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");

impl Sender {
    pub(crate) fn new(
        (url, names): (&str, Names),
        key: Option<Redacted<String>>,
        patience: Duration,
        clock: Arc<dyn Clock>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, ImportError> {
        let base = base(url).ok_or_else(|| ImportError::Url { url: shown(url).to_owned() })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, FHIR_JSON);
        headers.insert(header::CONTENT_TYPE, FHIR_JSON);
        headers
            .insert(HeaderName::from_static("prefer"), HeaderValue::from_static("return=minimal"));
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                .expect("a key was checked to be visible ASCII");
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("hearthgate-import/", env!("CARGO_PKG_VERSION")))
            // Patient data goes where it was told to, not where an environment variable or an
            // answer says.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .build()
            .map_err(ImportError::Client)?;
        Ok(Self { client, base, names, patience, clock, stopped })
    }

    /// Sends `shipment`, again where that is safe and patience lasts.
    pub(crate) async fn send(&self, shipment: Shipment) -> Arrived {
        let began = self.clock.monotonic();
        let mut pause = FIRST_PAUSE;
        let fate = loop {
            let (wanted, why) = match self.try_once(&shipment).await {
                Try::Over(fate) => break fate,
                Try::Again(wanted, why) => (wanted, why),
            };
            let pausing = wanted.unwrap_or(pause);
            let waited = self.clock.monotonic().saturating_sub(began);
            if waited + pausing > self.patience {
                break Fate::Hopeless(why);
            }
            if self.wait_or_stop(tokio::time::sleep(pausing)).await {
                break Fate::Hopeless(why);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        Arrived { place: shipment.place, what: shipment.what, fate }
    }

    /// Waits for `pause`; true when told to stop.
    async fn wait_or_stop(&self, pause: impl Future<Output = ()>) -> bool {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = pause => false,
            told = stopped.wait_for(|stop| *stop) => told.is_ok(),
        }
    }

    async fn try_once(&self, shipment: &Shipment) -> Try {
        let (method, url) = match &shipment.what {
            What::Transaction(_) | What::Batch(_) => (Method::POST, self.base.clone()),
            What::Create(name) => (Method::POST, format!("{}/{name}", self.base)),
            What::Put(name, id) => (Method::PUT, format!("{}/{name}/{id}", self.base)),
        };
        let repeatable = method == Method::PUT;
        let mut request = self.client.request(method, url);
        if !repeatable {
            request = request.header("idempotency-key", self.names.of(shipment));
        }
        let response = match request.body(shipment.body.clone()).send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Try::Again(None, cause(&error)),
            Err(error) => return unanswered(repeatable, cause(&error)),
        };
        let status = response.status();
        let after = self.retry_after(&response);
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = match read(response).await {
            Ok(body) => body,
            Err(why) => return unanswered(repeatable, format!("{status}, then {why}")),
        };
        let mut judged = self.judge(&shipment.what, status, after, &body);
        if let Try::Over(Fate::Stands(_, told)) = &mut judged {
            *told = location;
        }
        judged
    }

    fn judge(&self, what: &What, status: StatusCode, after: Option<Duration>, body: &[u8]) -> Try {
        let text = || answer::text_of(body);
        let fate = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                return Try::Again(after, format!("{} {}", status.as_u16(), text()));
            }
            // Something between here and the server gave up: the server may have done it.
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                let repeatable = matches!(what, What::Put(..));
                return unanswered(repeatable, format!("{} {}", status.as_u16(), text()));
            }
            StatusCode::UNAUTHORIZED => {
                let text = text();
                Fate::Hopeless(format!(
                    "the server does not accept the key ({text}); name the right one with --key-file"
                ))
            }
            StatusCode::ACCEPTED => Fate::Refused(QUARANTINED, text()),
            status if status.is_success() => match what {
                What::Put(..) | What::Create(_) => Fate::Stands(status.as_u16(), None),
                What::Transaction(types) | What::Batch(types) => match answer::entries(body) {
                    Some(entries) if entries.len() == types.len() => Fate::Answered(entries),
                    Some(entries) => Fate::Unknown(format!(
                        "{} entries sent, {} answered",
                        types.len(),
                        entries.len()
                    )),
                    None => Fate::Unknown("the answer is no Bundle of answers".to_owned()),
                },
            },
            status => Fate::Refused(status.as_u16(), text()),
        };
        Try::Over(fate)
    }

    /// How long the server asks to wait, within reason.
    fn retry_after(&self, response: &Response) -> Option<Duration> {
        let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
        let seconds = match value.trim().parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                let then = httpdate::parse_http_date(value).ok()?;
                let then = then.duration_since(UNIX_EPOCH).ok()?.as_secs();
                let now = u64::try_from(self.clock.now().as_seconds()).ok()?;
                then.saturating_sub(now)
            }
        };
        Some(Duration::from_secs(seconds).max(FIRST_PAUSE))
    }
}

/// Sent, and no whole answer came.
fn unanswered(repeatable: bool, why: String) -> Try {
    if repeatable { Try::Again(None, why) } else { Try::Over(Fate::Unknown(why)) }
}

async fn read(mut response: Response) -> Result<Bytes, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.into()),
            Ok(Some(chunk)) if body.len() + chunk.len() <= LONGEST_ANSWER => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err("an endless answer".to_owned()),
            Err(error) => return Err(cause(&error)),
        }
    }
}

/// The innermost cause, without the URL: it could name a patient.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) {
        return "the request failed".to_owned();
    }
    cause.to_string()
}

/// The FHIR base without a slash at its end; `None` when it is none this program can send to.
fn base(url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok()?;
    let plain = parsed.scheme() == "http"
        && parsed.has_host()
        && parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    plain.then(|| parsed.as_str().trim_end_matches('/').to_owned())
}

/// A URL without what comes before its host or after its path.
fn shown(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    match url[..end].rsplit_once('@') {
        Some((_, after)) => after,
        None => &url[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_plain_http_without_a_slash_at_its_end() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/fhir", Some("http://127.0.0.1:8080/fhir")),
            ("http://localhost/fhir/", Some("http://localhost/fhir")),
            ("https://ehr.example.org/fhir", None),
            ("http://user:pw@localhost/fhir", None),
            ("http://localhost/fhir?x=1", None),
            ("localhost:8080", None),
            ("", None),
        ] {
            assert_eq!(base(url).as_deref(), expected, "{url}");
        }
        assert_eq!(shown("http://user:planted@host/fhir?k=planted"), "host/fhir");
    }
}
