//! A plan as the configuration writes it, and what is checked of it when it is read.

use std::sync::Arc;
use std::time::Duration;

use contract::Lane;
use http::HeaderValue;
use registry::{PlanName, RoleName};
use serde::{Deserialize, Serialize};

use super::{By, Kind, Limit, Plan, Span, Unit, Window, WindowKind};
use crate::limiter::Rate;

/// The longest text that says whom a plan is for.
const MAX_SAYS: usize = 500;
/// Limits of one plan: each costs every request a look.
const MOST_LIMITS: usize = 16;
/// How long a request may be delayed at most.
const MOST_DELAY: u64 = 10_000;
/// The largest quota: whole numbers up to here are exact wherever they are counted.
const MOST_QUOTA: u64 = 1 << 53;

/// A plan's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenPlan {
    /// Whom it is for.
    pub says: String,
    /// Which share its requests have of what the server does at once; the role's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Roles whose clients have it, unless they have one of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleName>,
    /// Whether clients have it that have no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// Whether requests without credentials are held to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// How often.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<WrittenRate>,
    /// How many at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_once: Vec<WrittenAtOnce>,
    /// How much in a window of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<WrittenQuota>,
}

/// A rate's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRate {
    /// `client`, `user`, `address`, `route`; by client where absent.
    #[serde(default = "by_client")]
    pub by: Vec<String>,
    /// Requests a second; either this or `per_minute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<u32>,
    /// Requests at once, after a pause; 1 where absent.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub burst: u32,
    /// How many milliseconds a request may wait for its turn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
}

/// The text of a limit of requests that have not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenAtOnce {
    /// As in a rate.
    #[serde(default = "by_client")]
    pub by: Vec<String>,
    /// How many.
    pub most: u32,
}

/// A quota's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenQuota {
    /// As in a rate.
    #[serde(default = "by_client")]
    pub by: Vec<String>,
    /// What is counted.
    pub of: Unit,
    /// How much.
    pub most: u64,
    /// In how long a window.
    pub per: Span,
    /// When it begins.
    #[serde(default)]
    pub window: WindowKind,
}

/// What is wrong with a plan's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan {plan}, {place}: {problem}")]
pub struct PlanError {
    /// Which plan.
    pub plan: PlanName,
    /// Where in it: `rates[0].by`, the first counted 0.
    pub place: String,
    /// What is wrong, and what is right.
    pub problem: String,
}

fn by_client() -> Vec<String> {
    vec!["client".to_owned()]
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_one(number: &u32) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

type Wrong = (&'static str, String);

impl WrittenPlan {
    /// Reads every word of the plan.
    ///
    /// # Errors
    /// [`PlanError`] at the first thing that is wrong.
    pub fn check(&self, name: &PlanName) -> Result<Plan, PlanError> {
        let wrong = |place: String, problem: String| {
            let plan = name.clone();
            PlanError { plan, place, problem }
        };
        if !(1..=MAX_SAYS).contains(&self.says.len()) || self.says.chars().any(char::is_control) {
            let text = "1 to 500 bytes on one line say whom the plan is for";
            return Err(wrong("says".to_owned(), text.to_owned()));
        }
        let mut limits: Vec<Arc<Limit>> = Vec::new();
        let rates = self.rates.iter().map(WrittenRate::read);
        let at_once = self.at_once.iter().map(WrittenAtOnce::read);
        let quotas = self.quotas.iter().map(WrittenQuota::read);
        let rates = rates.enumerate().map(|(at, read)| ("rates", at, read));
        let at_once = at_once.enumerate().map(|(at, read)| ("at_once", at, read));
        let quotas = quotas.enumerate().map(|(at, read)| ("quotas", at, read));
        for (list, at, read) in rates.chain(at_once).chain(quotas) {
            let place = format!("{list}[{at}]");
            let (by, kind) =
                read.map_err(|(member, text)| wrong(format!("{place}.{member}"), text))?;
            let named = name_of(by, kind);
            let id = format!("{name}/{named}");
            let limit = Limit { id, plan: name.clone(), name: named, by, kind };
            if limits.iter().any(|other| other.name == limit.name) {
                return Err(wrong(place, "another limit of the plan says the same".to_owned()));
            }
            limits.push(Arc::new(limit));
        }
        if limits.len() > MOST_LIMITS {
            let text = format!("a plan has at most {MOST_LIMITS} limits");
            return Err(wrong("says".to_owned(), text));
        }
        let policies: Vec<String> = limits.iter().map(|limit| limit.policy()).collect();
        let policy = HeaderValue::try_from(policies.join(", "))
            .expect("names and numbers are visible ASCII");
        Ok(Plan { name: name.clone(), lane: self.lane, limits, policy })
    }
}

/// The limit's name in headers, metrics and explanations.
fn name_of(by: By, kind: Kind) -> String {
    match kind {
        Kind::Rate { rate, .. } => {
            let per = if rate.per == Duration::from_secs(1) { "second" } else { "minute" };
            format!("{by}-per-{per}")
        }
        Kind::AtOnce { .. } => format!("{by}-at-once"),
        Kind::Quota { of, window, .. } => {
            let client_alone = By { client: true, ..By::default() };
            let whose = if by == client_alone { String::new() } else { format!("{by}-") };
            let rolls = match window.kind {
                WindowKind::Calendar => "",
                WindowKind::Rolling => "-rolling",
            };
            format!("{whose}{}-per-{}{rolls}", of.word(), window.span.word())
        }
    }
}

fn read_by(words: &[String]) -> Result<By, Wrong> {
    let mut by = By::default();
    for word in words {
        let part = match word.as_str() {
            "client" => &mut by.client,
            "user" => &mut by.user,
            "address" => &mut by.address,
            "route" => &mut by.route,
            _ => {
                let text = format!("there is no {word:?}; there are client, user, address, route");
                return Err(("by", text));
            }
        };
        if std::mem::replace(part, true) {
            return Err(("by", format!("{word:?} stands twice")));
        }
    }
    if by == By::default() {
        return Err(("by", "name one of client, user, address, route".to_owned()));
    }
    Ok(by)
}

impl WrittenRate {
    fn read(&self) -> Result<(By, Kind), Wrong> {
        let by = read_by(&self.by)?;
        let (count, per) = match (self.per_second, self.per_minute) {
            (Some(count), None) => (count, Duration::from_secs(1)),
            (None, Some(count)) => (count, Duration::from_secs(60)),
            _ => return Err(("per_second", "say either per_second or per_minute".to_owned())),
        };
        let zero = || ("burst", "a rate and its burst are at least 1".to_owned());
        let rate = Rate::every(count, per, self.burst).ok_or_else(zero)?;
        if self.delay_ms > MOST_DELAY {
            return Err(("delay_ms", format!("nobody waits longer than {MOST_DELAY} ms")));
        }
        Ok((by, Kind::Rate { rate, delay: Duration::from_millis(self.delay_ms) }))
    }
}

impl WrittenAtOnce {
    fn read(&self) -> Result<(By, Kind), Wrong> {
        let by = read_by(&self.by)?;
        match self.most {
            0 => Err(("most", "with 0 nothing is answered; at least 1".to_owned())),
            most => Ok((by, Kind::AtOnce { most })),
        }
    }
}

impl WrittenQuota {
    fn read(&self) -> Result<(By, Kind), Wrong> {
        let by = read_by(&self.by)?;
        if !(1..=MOST_QUOTA).contains(&self.most) {
            return Err(("most", format!("a quota is 1 to {MOST_QUOTA}")));
        }
        let window = Window { span: self.per, kind: self.window };
        Ok((by, Kind::Quota { of: self.of, most: self.most, window }))
    }
}
