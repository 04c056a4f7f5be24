//! Why requests were denied here: what an operator looks up by a request's id.
//!
//! Every 401 and 403, and every 404 of a caller who may see a part of the data alone, of a request
//! or of an entry of a batch or transaction, leaves a [`Denial`] in memory, and is gone with the process. The caller learns nothing of it. What was
//! answered as not there is not told apart by whether it is there: that the operator can look up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::{
    Clause, Decision, Grant, Interaction, Nonce, Reason, ResourceType, Within, decide, header,
};
use http::request::Parts;

use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;

/// Denials kept; older ones go.
const MOST: usize = 4096;
/// Of entries of one Bundle.
const MOST_OF_ONE: usize = 16;

/// One request that was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The request's id, as its answer carried it.
    pub request_id: String,
    /// When it was denied.
    pub time: String,
    /// With which status.
    pub status: u16,
    /// Whose request it was.
    pub client: Option<String>,
    /// The authorization it came under.
    pub authorization: Option<String>,
    /// What was asked for: the interaction, and the type.
    pub asked: String,
    /// What decided.
    pub decided: String,
}

/// The latest denials.
#[derive(Debug, Default)]
pub struct Denials(Mutex<Kept>);

/// The nonce of a request's grant, as text.
type OneRequest = String;

#[derive(Debug, Default)]
struct Kept {
    /// Each with the grant's nonce, which no other request has: ids of requests clients may choose.
    all: VecDeque<(OneRequest, Denial)>,
    /// How many of each request are kept.
    of_requests: HashMap<OneRequest, usize>,
}

impl Kept {
    /// How many of the request with this nonce are kept.
    fn of_one(&self, nonce: &Nonce) -> usize {
        self.of_requests.get(&nonce.to_header()).copied().unwrap_or_default()
    }

    /// Keeps one more; the oldest goes where there are too many.
    fn push(&mut self, nonce: &Nonce, denial: Denial) {
        let nonce = nonce.to_header();
        if self.all.len() >= MOST
            && let Some((oldest, _)) = self.all.pop_front()
            && let Some(left) = self.of_requests.get_mut(&oldest)
        {
            *left -= 1;
            if *left == 0 {
                self.of_requests.remove(&oldest);
            }
        }
        *self.of_requests.entry(nonce.clone()).or_default() += 1;
        self.all.push_back((nonce, denial));
    }
}

impl Denials {
    /// Keeps `error`, where it is a denial, of the request with this head.
    pub(crate) fn keep(&self, error: &ServerError, head: &Parts, now: fhir_core::Instant) {
        let grant = head.headers.get(header::GRANT).and_then(|value| value.to_str().ok());
        let Some(grant) = grant.and_then(|text| Grant::decode(text).ok()) else { return };
        let path = head.uri.path();
        let interaction = interaction(head.method.as_str(), path, head.uri.query(), &grant);
        let Some(decided) = decided(error, &grant, interaction.as_ref()) else { return };
        let of = interaction.as_ref().and_then(Interaction::resource_type);
        let asked = asked(&grant.interaction, of);
        let id = head.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        Self::push(
            &mut self.kept(),
            (&grant, id.unwrap_or_default()),
            error,
            (asked, decided),
            now,
        );
    }

    /// Keeps `error`, where it is a denial, of the entry with this index of a batch or transaction,
    /// which asked for `interaction`. Of many of one Bundle the first few alone are kept, so that
    /// it pushes out nobody's.
    pub(crate) fn keep_entry(
        &self,
        (index, interaction, error): (usize, &Interaction, &ServerError),
        (grant, request_id): (&Grant, &str),
        now: fhir_core::Instant,
    ) {
        let Some(decided) = decided(error, grant, Some(interaction)) else { return };
        let mut kept = self.kept();
        if kept.of_one(&grant.nonce) >= MOST_OF_ONE {
            return;
        }
        let asked = asked(interaction.code(), interaction.resource_type());
        let decided = format!("Bundle.entry[{index}]: {decided}");
        Self::push(&mut kept, (grant, request_id), error, (asked, decided), now);
    }

    fn push(
        kept: &mut Kept,
        (grant, request_id): (&Grant, &str),
        error: &ServerError,
        (asked, decided): (String, String),
        now: fhir_core::Instant,
    ) {
        let denial = Denial {
            request_id: request_id.to_owned(),
            time: now.to_string(),
            status: ErrorAnswer::of(error).status.as_u16(),
            client: grant.client.clone(),
            authorization: grant.authorization.clone(),
            asked,
            decided,
        };
        kept.push(&grant.nonce, denial);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The denials of this request id, oldest first: a client may give several requests one id.
    #[must_use]
    pub fn of_request(&self, id: &str) -> Vec<Denial> {
        let kept = self.kept();
        let all = kept.all.iter().map(|(_, denial)| denial);
        all.filter(|denial| denial.request_id == id).cloned().collect()
    }
}

/// The interaction and its type, without any id.
fn asked(code: &str, of: Option<&ResourceType>) -> String {
    let of = of.map(|of| format!(" {of}")).unwrap_or_default();
    format!("{code}{of}")
}

/// The request as the grant has it, wherever in the path the FHIR base ends.
fn interaction(
    method: &str,
    path: &str,
    query: Option<&str>,
    grant: &Grant,
) -> Option<Interaction> {
    let starts = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut read = starts.filter_map(|at| Interaction::classify(method, &path[at..], query).ok());
    read.find(|interaction| interaction.code() == grant.interaction)
}

/// What decided, where `error` is a denial.
fn decided(
    error: &ServerError,
    grant: &Grant,
    interaction: Option<&Interaction>,
) -> Option<String> {
    match error {
        ServerError::Denied(reason) => Some(of_reason(*reason)),
        ServerError::TakesAll => Some(format!(
            "it is about all of the type, and the rules reach a part alone: {}",
            bounds(grant, interaction?)?
        )),
        ServerError::OutsideAccess => Some(format!(
            "what was to be written, or what is there, lies outside of what may be written: {}",
            written_within(grant, interaction?)
        )),
        ServerError::MayNotChooseIds => {
            Some("choosing an id takes create and update of all of the type".to_owned())
        }
        ServerError::NotFound | ServerError::VersionNotFound => Some(format!(
            "nothing is there, or it lies outside of what the caller may see: {}",
            bounds(grant, interaction?)?
        )),
        ServerError::Revoked => Some(
            "its key, client or user was revoked, or the client disabled, while it was under way"
                .to_owned(),
        ),
        // Whoever knows what the entry asked for keeps it.
        ServerError::InEntry { .. } => None,
        ServerError::AtExpression { source, .. } => decided(source, grant, interaction),
        _ => None,
    }
}

/// What the grant lacked, and what would mend it.
fn of_reason(reason: Reason) -> String {
    let mend = match reason {
        Reason::NoCaller => "it came without credentials, and takes a key".to_owned(),
        Reason::NoRuleForType => "none of them speaks of the type; add a rule for it".to_owned(),
        Reason::NoRuleForAction => {
            "one speaks of the type, but none has the action; add it to a rule for the type"
                .to_owned()
        }
        Reason::PowerMissing(power) => {
            let power = format!("{power:?}").to_lowercase();
            format!("it takes the power {power}, which a role or `keys create --power` gives")
        }
    };
    format!("the grant's rules ({}): {mend}", reason.code())
}

/// Within what the caller may write by this: what matches nothing is created, by the rules for that.
fn written_within(grant: &Grant, interaction: &Interaction) -> String {
    let created = match interaction {
        Interaction::ConditionalUpdate(of) => {
            bounds(grant, &Interaction::Create(of.clone())).map(|it| format!("{it} (to create)"))
        }
        _ => None,
    };
    let within: Vec<_> = [bounds(grant, interaction), created].into_iter().flatten().collect();
    match within.is_empty() {
        true => "what the rules of several types allow together".to_owned(),
        false => within.join("; "),
    }
}

/// Within what the caller may do this; `None` where nothing bounds it.
fn bounds(grant: &Grant, interaction: &Interaction) -> Option<String> {
    match decide(grant, interaction) {
        Decision::AllowWithin(restriction) => {
            let clauses: Vec<_> = restriction.clauses.iter().map(bound).collect();
            Some(clauses.join(" or "))
        }
        _ => None,
    }
}

/// One clause, without the id of a patient or a group.
fn bound(clause: &Clause) -> String {
    let part = match &clause.within {
        Within::All => "all".to_owned(),
        Within::Compartment(of) => format!("the compartment of the grant's {}", of.resource_type),
        Within::Group(_) => "the compartments of a group's members".to_owned(),
        part => part.to_string(),
    };
    let filter = clause.filter.iter().map(|_| ", the rule's filter").collect::<String>();
    let labels = if clause.without_labels.is_empty() { "" } else { ", without labels" };
    format!("{part}{filter}{labels}")
}

#[cfg(test)]
mod tests {
    use contract::{Action, GrantFields, Rule, Types, digest};

    use super::*;

    fn head(within: &str, request: (&str, &str)) -> Parts {
        head_with('A', within, request)
    }

    /// The same of another request, whose nonce consists of these.
    fn head_with(nonce: char, within: &str, (method, path): (&str, &str)) -> Parts {
        let nonce: Nonce = nonce.to_string().repeat(22).parse().unwrap();
        let below = path.strip_prefix("/fhir").unwrap();
        let interaction = Interaction::classify(method, below, None).unwrap();
        let fields = GrantFields::of_request(
            "default".parse().unwrap(),
            &interaction,
            digest(method, path, None),
            nonce,
            fhir_core::Instant::from_micros(0),
        );
        let rule = Rule {
            within: within.parse().unwrap(),
            ..Rule::within_all(Types::All, [Action::Read].into_iter().collect())
        };
        let grant = Grant::new(GrantFields {
            client: Some("phone".to_owned()),
            patient: Some("planted".parse().unwrap()),
            rules: vec![rule],
            ..fields
        });
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::GRANT, grant.unwrap().encode().unwrap())
            .header("x-request-id", "r-1");
        request.body(()).unwrap().into_parts().0
    }

    fn kept(error: &ServerError, within: &str, request: (&str, &str)) -> Vec<Denial> {
        let denials = Denials::default();
        denials.keep(error, &head(within, request), fhir_core::Instant::from_micros(0));
        denials.of_request("r-1")
    }

    // LEAK-29
    #[test]
    fn what_is_not_seen_is_kept_for_the_operator_and_names_no_resource() {
        let read = ("GET", "/fhir/Observation/planted");
        let within = "compartment(Patient/planted)";
        let denial = &kept(&ServerError::NotFound, within, read)[0];
        assert_eq!((denial.status, denial.asked.as_str()), (404, "read Observation"));
        assert!(denial.decided.contains("the compartment of the grant's Patient"), "{denial:?}");
        assert!(!format!("{denial:?}").contains("planted"), "{denial:?}");
        assert_eq!(denial.client.as_deref(), Some("phone"));
    }

    #[test]
    fn an_error_that_is_no_denial_is_not_kept() {
        let read = ("GET", "/fhir/Observation/planted");
        assert_eq!(kept(&ServerError::NotFound, "all", read), []);
        assert_eq!(kept(&ServerError::BodyTooSlow, "all", read), []);
    }

    /// What is kept of an entry that was refused so.
    fn kept_of_entry(error: &ServerError, within: &str) -> Vec<Denial> {
        let whole = head(within, ("POST", "/fhir"));
        let grant = Grant::decode(whole.headers[header::GRANT].to_str().unwrap()).unwrap();
        let interaction = Interaction::classify("GET", "/Observation/planted", None).unwrap();
        let (denials, now) = (Denials::default(), fhir_core::Instant::from_micros(0));
        for index in 0..2 * MOST_OF_ONE {
            denials.keep_entry((3 + index, &interaction, error), (&grant, "r-1"), now);
        }
        denials.of_request("r-1")
    }

    #[test]
    fn a_denial_of_an_entry_says_what_the_entry_asked_and_what_decided() {
        let kept = kept_of_entry(&ServerError::Denied(Reason::NoRuleForAction), "all");
        let denial = &kept[0];
        assert_eq!((denial.status, denial.asked.as_str()), (403, "read Observation"));
        assert!(denial.decided.starts_with("Bundle.entry[3]: "), "{denial:?}");
        assert!(denial.decided.contains("no-rule-for-action"), "{denial:?}");
        assert_eq!(kept.len(), MOST_OF_ONE);
    }

    #[test]
    fn of_each_of_two_bundles_at_once_the_first_few_denials_are_kept() {
        // They have one request id, too: a client may choose it.
        let grants = ['A', 'Q'].map(|nonce| {
            let whole = head_with(nonce, "all", ("POST", "/fhir"));
            Grant::decode(whole.headers[header::GRANT].to_str().unwrap()).unwrap()
        });
        let interaction = Interaction::classify("GET", "/Observation/planted", None).unwrap();
        let error = ServerError::Denied(Reason::NoRuleForAction);
        let (denials, now) = (Denials::default(), fhir_core::Instant::from_micros(0));
        for index in 0..3 * MOST_OF_ONE {
            for grant in &grants {
                denials.keep_entry((index, &interaction, &error), (grant, "r-1"), now);
            }
        }
        assert_eq!(denials.of_request("r-1").len(), 2 * MOST_OF_ONE);
        let kept = denials.kept();
        assert!(grants.iter().all(|grant| kept.of_one(&grant.nonce) == MOST_OF_ONE));
    }

    #[test]
    fn what_an_entry_does_not_see_is_kept_for_the_operator_and_names_no_resource() {
        let within = "compartment(Patient/planted)";
        let denial = &kept_of_entry(&ServerError::NotFound, within)[0];
        assert_eq!(denial.status, 404);
        assert!(denial.decided.contains("the compartment of the grant's Patient"), "{denial:?}");
        assert!(!format!("{denial:?}").contains("planted"), "{denial:?}");
        assert_eq!(kept_of_entry(&ServerError::NotFound, "all"), []);
    }
}
