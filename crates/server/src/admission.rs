//! Whether a request comes from the gateway's side: channel, version, grant, digest,
//! classification (docs/contract.md). Judged from the head alone, before a byte of the body.

use contract::{Disagreement, Grant, GrantError, Interaction, Nonce, NotFhir, header};
use http::HeaderMap;
use http::request::Parts;

use crate::Server;

/// A request that the gateway's side vouches for.
pub(crate) struct Admitted {
    pub(crate) grant: Grant,
    pub(crate) interaction: Interaction,
}

/// Why a request is not from the gateway's side, or not the one it vouches for. A security
/// event, but where a grant has expired: the connection is closed, and the client learns only the
/// status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("the channel's secret is missing or wrong")]
    WrongChannel,
    #[error("the header {0} is missing or there are several")]
    NotOne(&'static str),
    #[error("this version of the contract is not spoken here")]
    UnknownVersion,
    #[error("the grant cannot be read")]
    Grant(#[source] GrantError),
    #[error("the grant is for another request")]
    Disagrees(#[source] Disagreement),
    /// The gateway's side made it for this request: what it lacks is time alone.
    #[error(
        "the grant ended {late_seconds} s before its request came: the clocks of gateway and server \
         differ, set both by NTP; or the request was that long on its way"
    )]
    Expired { nonce: Nonce, late_seconds: i64 },
    #[error("there is no such tenant")]
    UnknownTenant,
    #[error("the path is outside the base")]
    OutsideBase,
    #[error("the gateway's side does not pass on what is no FHIR request")]
    NotFhir(#[source] NotFhir),
}

impl NotAdmitted {
    /// What it lacks, as a label that never changes.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::WrongChannel => "channel",
            Self::NotOne(_) => "header",
            Self::UnknownVersion => "version",
            Self::Grant(_) => "grant",
            Self::Disagrees(_) => "other-request",
            Self::Expired { .. } => "expired",
            Self::UnknownTenant => "tenant",
            Self::OutsideBase | Self::NotFhir(_) => "url",
        }
    }

    /// 421 asks the gateway's side to fetch the channel's secret again.
    pub(crate) fn status(&self) -> http::StatusCode {
        match self {
            Self::WrongChannel => http::StatusCode::MISDIRECTED_REQUEST,
            Self::Expired { .. } => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::NotOne(_)
            | Self::UnknownVersion
            | Self::Grant(_)
            | Self::Disagrees(_)
            | Self::UnknownTenant
            | Self::OutsideBase
            | Self::NotFhir(_) => http::StatusCode::BAD_REQUEST,
        }
    }
}

/// Judges the head of a request.
pub(crate) fn admit(server: &Server, head: &Parts) -> Result<Admitted, NotAdmitted> {
    let channel = the_one(&head.headers, header::CHANNEL).map_err(|_| NotAdmitted::WrongChannel)?;
    if !server.secret.matches(channel) {
        return Err(NotAdmitted::WrongChannel);
    }
    let version = the_one(&head.headers, header::CONTRACT)?;
    header::spoken_version(version).ok_or(NotAdmitted::UnknownVersion)?;
    let grant =
        Grant::decode(the_one(&head.headers, header::GRANT)?).map_err(NotAdmitted::Grant)?;
    let (method, path, query) = (head.method.as_str(), head.uri.path(), head.uri.query());
    let inner = server.base.strip(path).ok_or(NotAdmitted::OutsideBase)?;
    let interaction = Interaction::classify(method, inner, query).map_err(NotAdmitted::NotFhir)?;
    grant.agrees(method, path, query, &interaction).map_err(NotAdmitted::Disagrees)?;
    let now = server.clock.now();
    if grant.expired(now) {
        let late = now.as_micros().saturating_sub(grant.not_after.as_micros());
        return Err(NotAdmitted::Expired { nonce: grant.nonce, late_seconds: late / 1_000_000 });
    }
    if !server.databases.contains_key(&grant.tenant) {
        return Err(NotAdmitted::UnknownTenant);
    }
    Ok(Admitted { grant, interaction })
}

/// The value of a header that must stand exactly once.
fn the_one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, NotAdmitted> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| NotAdmitted::NotOne(name)),
        _ => Err(NotAdmitted::NotOne(name)),
    }
}
