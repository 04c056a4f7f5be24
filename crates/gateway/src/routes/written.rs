//! Routes as the configuration writes them, and what is checked of them together with upstreams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::{
    Access, Content, Destination, Foreign, Host, Mirror, NeededHeader, Route, RouteProblem, Share,
};
use crate::authorizer::{Authorizer, WrittenAuthorizer};
use crate::config::Cors;
use crate::header_rules::WrittenHeaderRules;
use crate::upstreams::{Credentials, Enforces, UpstreamConfig, WrittenUpstream};

/// The upstream that is the server of ours, and stands in no section.
const SERVER: &str = "server";

/// A route's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRoute {
    /// What it is called.
    pub name: String,
    /// `example.org` or `*.example.org`; every host where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path that it serves, with all below it.
    pub path: String,
    /// The methods that it takes; every one where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// A header that a request must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<WrittenHeader>,
    /// What is spoken there.
    #[serde(default)]
    pub content: Content,
    /// The upstream that it leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The upstreams that share its requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<WrittenShare>,
    /// The header whose value keeps a caller with one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_header: Option<String>,
    /// A second upstream that gets copies of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<WrittenMirror>,
    /// What stands in the place of `path` on the way to the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_path: Option<String>,
    /// Who may use it.
    #[serde(default)]
    pub callers: Access,
    /// The clients that may; every one where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Within which limits it is promised that callers see data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promises: Option<Promise>,
    /// A request's body, in bytes, at most; `gateway.body_bytes` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// For a request and its answer in all; that of the upstream where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_ms: Option<u32>,
    /// Origins of web pages that may ask; `gateway.cors_origins` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors_origins: Option<Vec<String>>,
    /// Whether these pages may have the browser send what it keeps for this site;
    /// `gateway.cors_credentials` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors_credentials: Option<bool>,
    /// Headers of answers that these pages may read, beside those that every page may;
    /// `gateway.cors_exposed` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors_exposed: Option<Vec<String>>,
    /// Who is asked whether a request may pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer: Option<WrittenAuthorizer>,
    /// What is changed of a request's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<WrittenHeaderRules>,
    /// What is changed of an answer's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<WrittenHeaderRules>,
}

/// The text of a header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenHeader {
    /// Its name.
    pub name: String,
    /// Its value; every value where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The text of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenShare {
    /// The upstream.
    pub upstream: String,
    /// How many of all requests' weights are its own.
    pub weight: u32,
}

/// The text of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenMirror {
    /// The upstream.
    pub upstream: String,
    /// Of how many requests in a hundred.
    pub percent: u32,
}

/// The limits within which a route promises that callers see data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promise {
    /// What is of one patient.
    Patient,
    /// What a user may see.
    User,
}

/// What is wrong with routes or upstreams as they are written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct RoutingError {
    /// The section: `gateway.routes[0]`, the first counted 0, or `gateway.upstreams.NAME`.
    pub place: String,
    /// What is wrong, and what is right.
    pub problem: String,
}

/// Routes and upstreams that were checked together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routing {
    pub(crate) routes: Vec<CheckedRoute>,
    pub(crate) upstreams: BTreeMap<Arc<str>, UpstreamConfig>,
}

/// A route but for what it takes from the gateway's own keys where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedRoute {
    route: Route,
    body_bytes: Option<u64>,
    /// What it says of pages of other origins; the gateway's where it says nothing.
    origins: Option<Vec<String>>,
    credentials: Option<bool>,
    exposed: Option<Vec<String>>,
}

impl CheckedRoute {
    /// The route, with these where it says nothing.
    pub(crate) fn route(&self, body_bytes: u64, cors: Option<&Cors>) -> Route {
        Route {
            body_bytes: self.body_bytes.unwrap_or(body_bytes),
            cors: self.cors(cors),
            ..self.route.clone()
        }
    }

    fn cors(&self, otherwise: Option<&Cors>) -> Option<Cors> {
        let otherwise = otherwise.cloned().unwrap_or_default();
        let cors = Cors {
            origins: self.origins.clone().unwrap_or(otherwise.origins),
            credentials: self.credentials.unwrap_or(otherwise.credentials),
            exposed: self.exposed.clone().unwrap_or(otherwise.exposed),
        };
        (!cors.origins.is_empty()).then_some(cors)
    }
}

impl Routing {
    /// Checks routes and upstreams, each by itself and all together.
    ///
    /// # Errors
    /// [`RoutingError`] at the first thing that is wrong.
    pub fn check(
        routes: &[WrittenRoute],
        upstreams: &BTreeMap<String, WrittenUpstream>,
    ) -> Result<Self, RoutingError> {
        let mut checked = BTreeMap::new();
        for (name, written) in upstreams {
            let place = || format!("gateway.upstreams.{name}");
            let named =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if !(1..=40).contains(&name.len()) || !name.bytes().all(named) || name == SERVER {
                let problem = "an upstream's name is 1 to 40 small letters, digits and hyphens, \
                               and not `server`, which is the server of ours";
                return Err(RoutingError { place: place(), problem: problem.to_owned() });
            }
            let config = written.check().map_err(|(member, problem)| RoutingError {
                place: place(),
                problem: format!("{member}: {problem}"),
            })?;
            checked.insert(Arc::from(name.as_str()), config);
        }
        for (name, config) in &checked {
            let Some(Credentials::Token { source, .. }) = &config.credentials else { continue };
            let giver = checked.get(source.upstream.as_str());
            let gives = giver
                .is_some_and(|giver| !matches!(giver.credentials, Some(Credentials::Token { .. })));
            if !gives {
                let problem = format!(
                    "credentials: token: `{}` is no upstream that can be asked for a token \
                     without one",
                    source.upstream
                );
                return Err(RoutingError { place: format!("gateway.upstreams.{name}"), problem });
            }
        }
        let mut all = Vec::with_capacity(routes.len());
        for (at, written) in routes.iter().enumerate() {
            let route = written.check(&checked).map_err(|problem| RoutingError {
                place: format!("gateway.routes[{at}]"),
                problem,
            })?;
            all.push(route);
        }
        let routing = Self { routes: all, upstreams: checked };
        let plain = routing.routes.iter().map(|checked| checked.route(1, None)).collect();
        let at = |name: &str| routes.iter().position(|route| route.name == name).unwrap_or(0);
        super::Table::new(plain).map_err(|problem| RoutingError {
            place: format!("gateway.routes[{}]", at(problem.second())),
            problem: problem.to_string(),
        })?;
        Ok(routing)
    }

    /// Whether a route of its own leads to the server of ours.
    pub(crate) fn names_the_server(&self) -> bool {
        self.routes.iter().any(|checked| checked.route.to == Destination::Server)
    }
}

impl WrittenRoute {
    fn check(
        &self,
        upstreams: &BTreeMap<Arc<str>, UpstreamConfig>,
    ) -> Result<CheckedRoute, String> {
        let methods = self.methods.iter().map(|name| Method::from_bytes(name.as_bytes()));
        let methods: Result<Vec<_>, _> = methods.collect();
        let named = methods.map_err(|_| "methods: one is no method".to_owned())?;
        let header = self.header.as_ref().map(WrittenHeader::check).transpose()?;
        let rules = |rules: &Option<WrittenHeaderRules>| {
            rules.as_ref().map(WrittenHeaderRules::check).transpose()
        };
        let in_request =
            rules(&self.request_headers).map_err(|text| format!("request_headers: {text}"))?;
        let in_answer =
            rules(&self.response_headers).map_err(|text| format!("response_headers: {text}"))?;
        let route = Route {
            name: self.name.as_str().into(),
            host: self.host.as_deref().map_or(Ok(Host::Any), read_host)?,
            path: self.path.clone(),
            methods: named,
            header,
            content: self.content,
            cors: None,
            body_bytes: 0,
            request_headers: in_request.unwrap_or_default(),
            response_headers: in_answer.unwrap_or_default(),
            authorizer: self.authorizer(upstreams)?,
            to: self.destination(upstreams)?,
        };
        for origin in self.cors_origins.iter().flatten() {
            check_origin(origin).map_err(|text| format!("cors_origins: {text}"))?;
        }
        Ok(CheckedRoute {
            route,
            body_bytes: self.body_bytes,
            origins: self.cors_origins.clone(),
            credentials: self.cors_credentials,
            exposed: self.cors_exposed.clone(),
        })
    }

    fn authorizer(
        &self,
        upstreams: &BTreeMap<Arc<str>, UpstreamConfig>,
    ) -> Result<Option<Authorizer>, String> {
        let Some(written) = &self.authorizer else { return Ok(None) };
        if !upstreams.contains_key(written.upstream.as_str()) {
            return Err(format!("authorizer: there is no upstream `{}`", written.upstream));
        }
        let visible = |byte: u8| byte.is_ascii_graphic();
        if !written.path.starts_with('/') || !written.path.bytes().all(visible) {
            return Err("authorizer: path begins with a slash, and is visible ASCII".to_owned());
        }
        if written.timeout_ms == 0 {
            return Err("authorizer: timeout_ms is at least 1".to_owned());
        }
        Ok(Some(Authorizer {
            upstream: written.upstream.as_str().into(),
            path: written.path.clone(),
            limit: Duration::from_millis(written.timeout_ms.into()),
            keep: Duration::from_secs(written.keep_seconds.into()),
        }))
    }

    fn mirror(
        &self,
        upstreams: &BTreeMap<Arc<str>, UpstreamConfig>,
    ) -> Result<Option<Mirror>, String> {
        let Some(written) = &self.mirror else { return Ok(None) };
        if !upstreams.contains_key(written.upstream.as_str()) {
            return Err(format!("mirror: there is no upstream `{}`", written.upstream));
        }
        if !(1..=100).contains(&written.percent) {
            return Err("mirror: percent is 1 to 100".to_owned());
        }
        let (upstream, percent) = (written.upstream.as_str().into(), written.percent);
        Ok(Some(Mirror { upstream, percent }))
    }

    fn destination(
        &self,
        upstreams: &BTreeMap<Arc<str>, UpstreamConfig>,
    ) -> Result<Destination, String> {
        let shares: Vec<(&str, u32)> = match (&self.upstream, self.split.as_slice()) {
            (Some(upstream), []) => vec![(upstream, 1)],
            (None, [_, ..]) => {
                self.split.iter().map(|share| (share.upstream.as_str(), share.weight)).collect()
            }
            _ => return Err("name an upstream, or several in split, and not both".to_owned()),
        };
        if shares.iter().any(|(name, _)| *name == SERVER) {
            return self.to_the_server(&shares);
        }
        let mut checked = Vec::with_capacity(shares.len());
        let mut enforced: Option<(Enforces, &str)> = None;
        for (name, weight) in &shares {
            let upstream = upstreams.get(*name).ok_or_else(|| {
                format!("there is no upstream `{name}`; add [gateway.upstreams.{name}]")
            })?;
            if *weight > 10_000 {
                return Err("split: a weight is 0 to 10000".to_owned());
            }
            match enforced {
                Some((enforces, other)) if enforces != upstream.enforces => {
                    return Err(format!(
                        "the upstreams `{other}` and `{name}` enforce different things; a caller \
                         cannot be with either by chance"
                    ));
                }
                _ => enforced = Some((upstream.enforces, name)),
            }
            checked.push(Share { upstream: (*name).into(), weight: *weight });
        }
        let Some((enforces, first)) = enforced else {
            return Err("split: name an upstream".to_owned());
        };
        if checked.iter().all(|share| share.weight == 0) {
            return Err("split: one weight at least is above 0".to_owned());
        }
        if let (Some(promise), Enforces::None) = (self.promises, enforces) {
            let limits = match promise {
                Promise::Patient => "patient",
                Promise::User => "user",
            };
            return Err(format!(
                "promises: the route `{}` promises {limits}-level limits, and the upstream \
                 `{first}` enforces none: it would show every caller everything; choose an \
                 upstream that enforces them, or take the promise back",
                self.name
            ));
        }
        if enforces == Enforces::SmartToken && !self.clients.is_empty() {
            return Err("clients: with a token that is passed on nobody knows the client here; \
                        leave them out"
                .to_owned());
        }
        let sticky = self.sticky_header.as_deref().map(HeaderName::try_from).transpose();
        if self.sticky_header.is_some() && checked.len() < 2 {
            return Err("sticky_header: it belongs to a split between several".to_owned());
        }
        let upstream_path = match self.upstream_path.as_deref() {
            Some(path) if !is_plain_path(path) => {
                return Err("upstream_path: a plain path without a slash at its end".to_owned());
            }
            path => path.map(|path| path.trim_end_matches('/').to_owned()),
        };
        Ok(Destination::Foreign(Foreign {
            enforces,
            sticky: sticky.map_err(|_| "sticky_header: that is no name of a header".to_owned())?,
            mirror: self.mirror(upstreams)?,
            upstream_path,
            callers: self.callers,
            clients: self.clients.clone(),
            whole: self.whole_ms.map(|millis| Duration::from_millis(millis.into())),
            ..Foreign::among(checked)
        }))
    }

    /// What of a route belongs to upstreams that are not ours.
    fn to_the_server(&self, shares: &[(&str, u32)]) -> Result<Destination, String> {
        let foreign = [
            ("split", shares.len() > 1),
            ("sticky_header", self.sticky_header.is_some()),
            ("mirror", self.mirror.is_some()),
            ("upstream_path", self.upstream_path.is_some()),
            ("callers", self.callers != Access::Client),
            ("clients", !self.clients.is_empty()),
            ("whole_ms", self.whole_ms.is_some()),
            ("content", self.content != Content::Fhir),
        ];
        match foreign.iter().find(|(_, is_there)| *is_there) {
            Some((member, _)) => Err(format!(
                "{member}: it is for other upstreams; the server of ours takes whole what is its \
                 own"
            )),
            None => Ok(Destination::Server),
        }
    }
}

impl WrittenHeader {
    fn check(&self) -> Result<NeededHeader, String> {
        let wrong = |_| "header: that is no name of a header".to_owned();
        let value = self.value.as_deref().map(HeaderValue::try_from).transpose();
        Ok(NeededHeader {
            name: HeaderName::try_from(self.name.as_str()).map_err(wrong)?,
            value: value.map_err(|_| "header: that is no value of a header".to_owned())?,
        })
    }
}

/// An origin as browsers write it, a `*` for the first label of the host allowed.
fn check_origin(text: &str) -> Result<(), String> {
    let exact = text.replacen("//*.", "//any.", 1);
    let plain = exact.split_once("://").is_some_and(|(scheme, authority)| {
        let of_authority = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte)
        };
        matches!(scheme, "http" | "https")
            && !authority.is_empty()
            && authority.bytes().all(of_authority)
    });
    plain.then_some(()).ok_or_else(|| {
        format!("{text} is no origin; write it like https://app.example.org, without a path")
    })
}

fn read_host(text: &str) -> Result<Host, String> {
    let (host, below) = match text.strip_prefix("*.") {
        Some(parent) => (parent, true),
        None => (text, false),
    };
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) || super::without_port(host) != host {
        return Err(
            "host: a name in small letters, without a port, or one with `*.` before it".to_owned()
        );
    }
    let host = host.to_owned();
    Ok(if below { Host::Below(host) } else { Host::Exactly(host) })
}

/// Whether a path is plain ASCII without dot segments, and does not end with a slash.
pub(super) fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.starts_with('/')
        && (path == "/" || !path.ends_with('/'))
        && !path.contains("//")
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        && path.bytes().all(plain)
}

impl RouteProblem {
    /// The name of the route that the problem is told of last.
    fn second(&self) -> &str {
        let told = match self {
            Self::Name(name) | Self::SameName(name) => name,
            Self::Path(told) | Self::OwnPath(told, _) | Self::Shadowed(told, _) => told,
            Self::Ambiguous(_, told) | Self::DividesABase(_, told) => told,
        };
        told.split('`').nth(1).unwrap_or(told)
    }
}
