//! Which requests go where: routes by host, path, method and header, checked as one table.
//!
//! The longest path that holds a request's wins. Of two routes with the same path that both take
//! a request, the one that takes fewer wins; where neither takes fewer the table is ambiguous and
//! refused, as it is where a route would never be reached. Paths are compared byte for byte, whole
//! segments at a time. Which upstream a route leads to is said here, what becomes of a request
//! there is not.

mod problem;
mod written;

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};

use crate::authorizer::Authorizer;
use crate::break_glass;
use crate::config::Cors;
use crate::header_rules::HeaderRules;
use crate::upstreams::{Enforces, hash, scatter, schedule};

pub use problem::RouteProblem;
pub use written::{
    Promise, Routing, RoutingError, WrittenHeader, WrittenMirror, WrittenRoute, WrittenShare,
};

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// What it is called in the log, in metrics and in errors.
    pub name: Arc<str>,
    /// For which hosts it is.
    pub host: Host,
    /// The path that it serves, with all below it. `/` is every path.
    pub path: String,
    /// The methods that it takes; every one where there is none.
    pub methods: Vec<Method>,
    /// A header that a request must have.
    pub header: Option<NeededHeader>,
    /// What is spoken there.
    pub content: Content,
    /// Which web pages of other origins may ask; none when absent.
    pub cors: Option<Cors>,
    /// A request's body, in bytes, at most.
    pub body_bytes: u64,
    /// What is changed of a request's headers.
    pub request_headers: HeaderRules,
    /// What is changed of an answer's headers.
    pub response_headers: HeaderRules,
    /// Who is asked whether a request may pass, beside all that is decided here.
    pub authorizer: Option<Authorizer>,
    /// Where it leads.
    pub to: Destination,
}

/// What is spoken on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// FHIR: its URLs are read as the contract reads them, and errors are OperationOutcomes.
    #[default]
    Fhir,
    /// Anything else. Errors are problem details (RFC 9457).
    Other,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To the server of ours.
    Server,
    /// To upstreams of others.
    Foreign(Foreign),
}

/// A way to upstreams of others, all of which enforce the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// The upstreams that share its requests.
    shares: Vec<Share>,
    /// Positions in `shares`, each as often as its weight.
    turns: Vec<usize>,
    /// What these enforce.
    pub(crate) enforces: Enforces,
    /// The header whose value keeps a caller with one of them.
    pub(crate) sticky: Option<HeaderName>,
    /// Where copies of requests go.
    pub(crate) mirror: Option<Mirror>,
    /// What stands in the place of the route's path, without a slash at its end.
    pub(crate) upstream_path: Option<String>,
    /// Who may use it.
    pub(crate) callers: Access,
    /// The clients that may; every one where empty.
    pub(crate) clients: Vec<String>,
    /// For a request and its answer in all; that of the upstream where absent.
    pub(crate) whole: Option<Duration>,
}

/// Where copies of requests go, and of how many in a hundred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) upstream: Arc<str>,
    pub(crate) percent: u32,
}

/// An upstream's share of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// The upstream.
    pub(crate) upstream: Arc<str>,
    /// How many of all shares' weights are its own.
    pub(crate) weight: u32,
}

/// Who may use a route to upstreams of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Whoever shows the key of a client.
    #[default]
    Client,
    /// Everybody.
    Public,
}

/// Hosts, in lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// Every host.
    Any,
    /// Every host below this one: `*.example.org`.
    Below(String),
    /// This host.
    Exactly(String),
}

/// A header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeededHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value, byte for byte; every value where absent.
    pub value: Option<HeaderValue>,
}

/// Routes that were checked together, those first that win.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table(Vec<Arc<Route>>);

impl Table {
    /// Checks every route against every other.
    ///
    /// # Errors
    /// [`RouteProblem`] at the first route that is wrong in itself, or can never be told apart
    /// from another, or is never reached.
    pub(crate) fn new(routes: Vec<Route>) -> Result<Self, RouteProblem> {
        for (at, route) in routes.iter().enumerate() {
            route.check()?;
            let others = &routes[..at];
            if others.iter().any(|other| other.name == route.name) {
                return Err(RouteProblem::SameName(route.name.to_string()));
            }
            if let Some(other) = others.iter().find(|other| route.is_ambiguous_beside(other)) {
                return Err(RouteProblem::Ambiguous(other.told(), route.told()));
            }
            for (outer, inner) in others.iter().flat_map(|other| [(other, route), (route, other)]) {
                if inner.divides(outer) {
                    return Err(RouteProblem::DividesABase(outer.told(), inner.told()));
                }
            }
        }
        for route in &routes {
            if let Some(others) = route.shadowed_by(&routes) {
                return Err(RouteProblem::Shadowed(route.told(), others));
            }
        }
        let mut routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        // Where one is within the other it takes fewer in one of these ways at least.
        routes.sort_by_key(|route| std::cmp::Reverse(route.weight()));
        Ok(Self(routes))
    }

    /// Every route, those first that win.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.iter()
    }

    /// In what form it is said that there is no route: as where FHIR is spoken, unless something
    /// else is as well.
    pub(crate) fn content(&self) -> Content {
        let other = self.0.iter().any(|route| route.content == Content::Other);
        if other { Content::Other } else { Content::Fhir }
    }

    /// The route of a request with this target. A browser that asks for leave to use a method is on
    /// the way of that method.
    pub(crate) fn find(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<&Arc<Route>> {
        // HTTP/2 says it in the target, HTTP/1 in a header.
        let host = match uri.authority() {
            Some(authority) => authority.host(),
            None => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                host.map_or("", without_port)
            }
        };
        self.0.iter().find(|route| route.takes(method, host, uri.path(), headers))
    }
}

impl Route {
    /// The way to upstreams of others; none where it leads to the server of ours.
    pub(crate) fn foreign(&self) -> Option<&Foreign> {
        match &self.to {
            Destination::Server => None,
            Destination::Foreign(foreign) => Some(foreign),
        }
    }

    /// What follows the route's path in `path`: nothing, or something that begins with a slash.
    pub(crate) fn below<'path>(&self, path: &'path str) -> Option<&'path str> {
        let below = path.strip_prefix(self.prefix())?;
        (below.is_empty() || below.starts_with('/')).then_some(below)
    }

    /// The path without a slash at its end.
    fn prefix(&self) -> &str {
        self.path.trim_end_matches('/')
    }

    fn takes(&self, method: &Method, host: &str, path: &str, headers: &HeaderMap) -> bool {
        self.below(path).is_some()
            && (self.methods.is_empty() || self.methods.contains(method))
            && self.host.takes(host)
            && self.header.as_ref().is_none_or(|needed| needed.is_in(headers))
    }

    /// Checks what the types cannot.
    fn check(&self) -> Result<(), RouteProblem> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = &self.name;
        if !(1..=40).contains(&name.len())
            || !name.bytes().all(named)
            || RESERVED.contains(&&**name)
        {
            return Err(RouteProblem::Name(name.to_string()));
        }
        if !written::is_plain_path(&self.path) {
            return Err(RouteProblem::Path(self.told()));
        }
        match OWN_PATHS.iter().find(|own| self.path != "/" && self.below(own).is_some()) {
            Some(own) => Err(RouteProblem::OwnPath(self.told(), own)),
            None => Ok(()),
        }
    }

    /// Whether it takes a type of resource out of the base that the other is.
    fn divides(&self, base: &Self) -> bool {
        let below = base.below(&self.path).and_then(|below| below.strip_prefix('/'));
        base.content == Content::Fhir
            && base.path != "/"
            && self.to != base.to
            && self.host.is_within(&base.host)
            && below.is_some_and(|name| name.starts_with(|first: char| first.is_ascii_uppercase()))
    }

    /// Whether some request is taken by both, and neither is the narrower.
    fn is_ambiguous_beside(&self, other: &Self) -> bool {
        self.path == other.path
            && self.overlaps(other)
            && self.is_within(other) == other.is_within(self)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let headers = match (&self.header, &other.header) {
            (Some(one), Some(two)) if one.name == two.name => {
                one.value.is_none() || two.value.is_none() || one.value == two.value
            }
            _ => true,
        };
        methods && headers && (self.host.is_within(&other.host) || other.host.is_within(&self.host))
    }

    /// Whether the other takes every request that this one takes, paths aside.
    fn is_within(&self, other: &Self) -> bool {
        let methods = other.methods.is_empty()
            || !self.methods.is_empty()
                && self.methods.iter().all(|method| other.methods.contains(method));
        methods && self.host.is_within(&other.host) && self.header_is_within(other)
    }

    fn header_is_within(&self, other: &Self) -> bool {
        match (&self.header, &other.header) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(two)) => {
                one.name == two.name && (two.value.is_none() || one.value == two.value)
            }
        }
    }

    /// The names of those that together take each of this route's methods before it comes to it.
    fn shadowed_by(&self, routes: &[Self]) -> Option<String> {
        if self.methods.is_empty() {
            return None;
        }
        // Those that win, and ask no more than this one but for the method.
        let before: Vec<&Self> = routes
            .iter()
            .filter(|other| other.path == self.path && other.name != self.name)
            .filter(|other| other.is_within(self) && !other.methods.is_empty())
            .filter(|other| self.host.is_within(&other.host) && self.header_is_within(other))
            .collect();
        let taken = |method| before.iter().any(|other| other.methods.contains(method));
        let told = || before.iter().map(|other| other.told()).collect::<Vec<_>>().join(" and ");
        self.methods.iter().all(taken).then(told)
    }

    /// How narrow it is: the length of its path, then its conditions.
    fn weight(&self) -> (usize, usize, u8, u8) {
        let header = match &self.header {
            None => 0,
            Some(needed) => 1 + u8::from(needed.value.is_some()),
        };
        // Fewer methods are narrower, and all of them the widest.
        let methods = match self.methods.len() {
            0 => 0,
            some => u8::MAX - u8::try_from(some).unwrap_or(u8::MAX),
        };
        (self.prefix().len(), self.host.weight(), header, methods)
    }

    /// Name and path, for people.
    fn told(&self) -> String {
        format!("`{}` ({}{})", self.name, self.host, self.path)
    }
}

/// The paths that the gateway answers itself, on every host.
const OWN_PATHS: [&str; 1] = [break_glass::PATH];
/// The labels of what is on no route.
const RESERVED: [&str; 2] = ["none", "break-glass"];

impl Foreign {
    /// A way to these, by their weights, for clients, to upstreams that enforce nothing.
    fn among(shares: Vec<Share>) -> Self {
        let weights: Vec<u32> = shares.iter().map(|share| share.weight).collect();
        Self {
            turns: schedule(&weights),
            shares,
            enforces: Enforces::None,
            sticky: None,
            mirror: None,
            upstream_path: None,
            callers: Access::default(),
            clients: Vec::new(),
            whole: None,
        }
    }

    /// The upstreams that share its requests.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &str> {
        self.shares.iter().map(|share| &*share.upstream)
    }

    /// The upstream of a request: by the sticky header's value, else by chance.
    pub(crate) fn upstream(&self, headers: &HeaderMap, turn: u64) -> &Arc<str> {
        let sticky = self.sticky.as_ref().and_then(|name| headers.get(name));
        let number = sticky.map_or_else(|| scatter(turn), |value| hash(value.as_bytes()));
        let at = number % self.turns.len().max(1) as u64;
        let position = usize::try_from(at).ok().and_then(|at| self.turns.get(at)).copied();
        &self.shares[position.unwrap_or(0)].upstream
    }
}

impl Mirror {
    /// Whether a request is copied.
    pub(crate) fn takes(&self, turn: u64) -> bool {
        // Another chance than that of the split.
        scatter(!turn) % 100 < u64::from(self.percent)
    }
}

impl Host {
    fn takes(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(own) => host.eq_ignore_ascii_case(own),
            Self::Below(parent) => {
                host.len() > parent.len() + 1 && {
                    let (start, end) = host.as_bytes().split_at(host.len() - parent.len());
                    start.ends_with(b".") && end.eq_ignore_ascii_case(parent.as_bytes())
                }
            }
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, _) | (Self::Below(_), Self::Exactly(_)) => false,
            (Self::Exactly(host), other) => other.takes(host),
            (Self::Below(one), other @ Self::Below(two)) => one == two || other.takes(one),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Below(parent) => 1 + parent.len(),
            // No longer one stands beside it.
            Self::Exactly(_) => usize::MAX,
        }
    }
}

/// As it is written in the configuration.
impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Below(parent) => write!(formatter, "*.{parent}"),
            Self::Exactly(host) => formatter.write_str(host),
        }
    }
}

impl NeededHeader {
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        match &self.value {
            None => values.next().is_some(),
            Some(needed) => values.any(|value| value == needed),
        }
    }
}

/// `example.org` of `example.org:8080`, `[::1]` of `[::1]:8080`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests;
