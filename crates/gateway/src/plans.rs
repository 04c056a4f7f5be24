//! Plans: how much a client may ask, by names that the configuration gives and clients have.
//!
//! A plan is written in the configuration's words ([`WrittenPlan`]), checked once, and is then a
//! list of limits. What has been counted stands elsewhere (`limiting`); a reload puts other plans
//! into force.

mod window;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use contract::Lane;
use http::HeaderValue;
use registry::{Client, PlanName, RoleName};
use serde::{Deserialize, Serialize};

use crate::limiter::Rate;

pub(crate) use window::Slices;
pub use window::{Span, Window, WindowKind};
pub use written::{PlanError, WrittenAtOnce, WrittenPlan, WrittenQuota, WrittenRate};

/// All plans there are.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    by_name: BTreeMap<PlanName, Arc<Plan>>,
    of_roles: HashMap<RoleName, Arc<Plan>>,
    default: Option<Arc<Plan>>,
    public: Option<Arc<Plan>>,
}

/// A plan, checked.
#[derive(Debug)]
pub struct Plan {
    pub(crate) name: PlanName,
    /// Which share its requests have of what the server does at once; the role's where absent.
    pub(crate) lane: Option<Lane>,
    pub(crate) limits: Vec<Arc<Limit>>,
    /// `RateLimit-Policy` of its limits.
    pub(crate) policy: HeaderValue,
}

/// One limit of a plan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Names it among those of all plans: `standard/client-per-second`.
    pub(crate) id: String,
    pub(crate) plan: PlanName,
    /// As the answers' headers name it: `client-per-second`.
    pub(crate) name: String,
    pub(crate) by: By,
    pub(crate) kind: Kind,
}

/// What a limit limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Requests in the long run, and at once. A request may wait `delay` for its turn.
    Rate { rate: Rate, delay: Duration },
    /// Requests that have not ended.
    AtOnce { most: u32 },
    /// So much in a window of time.
    Quota { of: Unit, most: u64, window: Window },
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Requests.
    Requests,
    /// Bytes of bodies, both ways.
    Bytes,
    /// What answering cost the server: 1 for each row that it read, and for each millisecond.
    Cost,
}

/// By what a limit counts: for each combination of these apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct By {
    pub(crate) client: bool,
    pub(crate) user: bool,
    pub(crate) address: bool,
    pub(crate) route: bool,
}

impl Unit {
    /// The word for it, in the configuration and in names of limits.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Cost => "cost",
        }
    }

    /// The quota unit that the headers name: the draft's where it has one.
    const fn in_headers(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "content-bytes",
            Self::Cost => "cost-units",
        }
    }
}

impl Plans {
    /// Checks what is written, each plan by itself and all of them together.
    ///
    /// # Errors
    /// [`PlanError`] at the first that is wrong.
    pub fn new(written: &BTreeMap<PlanName, WrittenPlan>) -> Result<Self, PlanError> {
        let mut plans = Self::default();
        for (name, written) in written {
            let plan = Arc::new(written.check(name)?);
            let wrong = |place: &str, other: &Plan| PlanError {
                plan: name.clone(),
                place: place.to_owned(),
                problem: format!("the plan {} says the same; one plan may", other.name),
            };
            for role in &written.roles {
                if let Some(other) = plans.of_roles.insert(role.clone(), plan.clone()) {
                    return Err(wrong("roles", &other));
                }
            }
            for (place, says, slot) in [
                ("default", written.default, &mut plans.default),
                ("public", written.public, &mut plans.public),
            ] {
                if says && let Some(other) = slot.replace(plan.clone()) {
                    return Err(wrong(place, &other));
                }
            }
            plans.by_name.insert(name.clone(), plan);
        }
        Ok(plans)
    }

    /// Whether there is a plan of this name.
    #[must_use]
    pub fn has(&self, name: &PlanName) -> bool {
        self.by_name.contains_key(name)
    }

    /// The names of all plans.
    pub fn names(&self) -> impl Iterator<Item = &PlanName> {
        self.by_name.keys()
    }

    /// The roles whose clients have a plan by them.
    pub fn roles(&self) -> impl Iterator<Item = &RoleName> {
        self.of_roles.keys()
    }

    /// Every limit of every plan.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        self.by_name.values().flat_map(|plan| &plan.limits)
    }

    /// The plan of a client: its own, else its role's, else the default one. One of a name that
    /// is not defined counts as none.
    pub(crate) fn of(&self, client: &Client) -> Option<&Arc<Plan>> {
        let own = client.plan.as_ref().and_then(|name| self.by_name.get(name));
        let by_role = || self.of_roles.get(client.role.as_ref()?);
        own.or_else(by_role).or(self.default.as_ref())
    }

    /// The plan of requests without credentials.
    pub(crate) fn of_nobody(&self) -> Option<&Arc<Plan>> {
        self.public.as_ref()
    }
}

impl Limit {
    /// What the answers' headers say of it before anything is counted.
    fn policy(&self) -> String {
        let name = &self.name;
        match self.kind {
            Kind::Rate { rate, .. } => {
                format!("\"{name}\";q={};w={}", rate.burst, rate.window_seconds())
            }
            Kind::AtOnce { most } => format!("\"{name}\";q={most};qu=\"concurrent-requests\""),
            Kind::Quota { of, most, window } => format!(
                "\"{name}\";q={most};w={};qu=\"{}\"",
                window.nominal_seconds(),
                of.in_headers()
            ),
        }
    }
}

/// The limit in words, for an operator.
impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of the plan {}: ", self.name, self.plan)?;
        match self.kind {
            Kind::Rate { rate, .. } => {
                write!(formatter, "{} in {} s, ", rate.count, rate.per.as_secs())?;
                write!(formatter, "{} at once", rate.burst)?;
            }
            Kind::AtOnce { most } => write!(formatter, "{most} that have not ended")?,
            Kind::Quota { of, most, window } => {
                write!(formatter, "{most} {} in {window}", of.word())?;
            }
        }
        write!(formatter, ", by {}", self.by)
    }
}

impl fmt::Display for By {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.client, "client"),
            (self.user, "user"),
            (self.address, "address"),
            (self.route, "route"),
        ];
        let named: Vec<&str> = parts.iter().filter(|part| part.0).map(|part| part.1).collect();
        formatter.write_str(&named.join("-"))
    }
}

#[cfg(test)]
mod tests;
