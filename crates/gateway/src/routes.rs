//! Which requests go where: routes by host, path, method and header, checked as one table.
//!
//! The longest path that holds a request's wins. Of two routes with the same path that both take
//! a request, the one that takes fewer wins; where neither takes fewer the table is ambiguous and
//! refused, as it is where a route would never be reached. Paths are compared byte for byte, whole
//! segments at a time. Which upstream a route leads to is said here, what becomes of a request
//! there is not.

mod problem;

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::break_glass;
use crate::config::Cors;

pub use problem::RouteProblem;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
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
    /// Which web pages of other origins may ask; none when absent.
    pub cors: Option<Cors>,
    /// A request's body, in bytes, at most.
    pub body_bytes: u64,
}

/// Hosts, in lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Every host.
    Any,
    /// Every host below this one: `*.example.org`.
    Below(String),
    /// This host.
    Exactly(String),
}

/// A header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededHeader {
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

    /// The route of a request with this path. A browser that asks for leave to use a method is on
    /// the way of that method.
    pub(crate) fn find(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<&Arc<Route>> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map_or("", without_port);
        self.0.iter().find(|route| route.takes(method, host, path, headers))
    }
}

impl Route {
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
        let path = &self.path;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
        let ends = path != "/" && path.ends_with('/');
        if !path.starts_with('/') || ends || path.contains("//") || dots || !path.bytes().all(plain)
        {
            return Err(RouteProblem::Path(self.told()));
        }
        match OWN_PATHS.iter().find(|own| path != "/" && self.below(own).is_some()) {
            Some(own) => Err(RouteProblem::OwnPath(self.told(), own)),
            None => Ok(()),
        }
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
        let host = match &self.host {
            Host::Any => String::new(),
            Host::Below(parent) => format!("*.{parent}"),
            Host::Exactly(host) => host.clone(),
        };
        format!("`{}` ({host}{})", self.name, self.path)
    }
}

/// The paths that the gateway answers itself, on every host.
const OWN_PATHS: [&str; 1] = [break_glass::PATH];
/// The labels of what is on no route.
const RESERVED: [&str; 2] = ["none", "break-glass"];

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
