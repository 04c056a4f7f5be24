//! What a tenant asks of what is written: how deep it is validated, and what becomes of what is
//! invalid.

use std::str::FromStr;

use fhir_core::json::Kind;
use fhir_core::{Resource, ResourceType};

/// How much is asked of a resource. Each level has those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// That it can be read: strict JSON or XML, a known type, an id and a `meta` that can be kept.
    Parse,
    /// Elements, types, cardinalities, the form of values and references, the narrative.
    Base,
    /// The invariants of its types.
    Invariants,
    /// The profiles that it claims or must meet, and known extensions.
    Profiles,
    /// Bindings to value sets.
    Terminology,
}

/// What becomes of a resource that is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is refused: 422, and nothing is written.
    Enforce,
    /// It is written, tagged as invalid, and whoever sent it is told.
    Warn,
    /// It is set apart, where no clinical interaction comes upon it: 202.
    Quarantine,
}

/// How deep, and what then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How much is asked.
    pub depth: Depth,
    /// What becomes of what is invalid.
    pub action: Action,
}

impl Default for Policy {
    /// What no version of FHIR's own definitions allows is not written.
    fn default() -> Self {
        Self { depth: Depth::Base, action: Action::Enforce }
    }
}

/// What a tenant asks of what is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WritePolicy {
    /// Where no rule says otherwise.
    pub default: Policy,
    /// The first that is about a resource says it.
    pub rules: Vec<PolicyRule>,
    /// What every resource of a type must meet, whatever it claims.
    pub required_profiles: Vec<RequiredProfile>,
}

impl WritePolicy {
    /// No more than that a resource can be read.
    #[must_use]
    pub fn parse_only() -> Self {
        let default = Policy { depth: Depth::Parse, action: Action::Enforce };
        Self { default, ..Self::default() }
    }

    /// What is asked of this resource. A profile that its type must meet is asked for whatever
    /// the depth is.
    pub(crate) fn of(&self, resource: &Resource<'_>) -> Policy {
        let rule = self.rules.iter().find(|rule| rule.subject.is_about(resource));
        let policy = rule.map_or(self.default, |rule| rule.policy);
        match self.required_of(resource.resource_type()).next() {
            Some(_) => Policy { depth: policy.depth.max(Depth::Profiles), ..policy },
            None => policy,
        }
    }

    /// The profiles that resources of this type must meet.
    pub(crate) fn required_of(&self, of: &ResourceType) -> impl Iterator<Item = &str> {
        let rules = self.required_profiles.iter().filter(move |rule| rule.resource_type == *of);
        rules.map(|rule| &*rule.profile)
    }

    /// Whether anything may be asked that takes longer than a look at the form.
    pub(crate) fn is_deep(&self) -> bool {
        let mut policies = self.rules.iter().map(|rule| rule.policy).chain([self.default]);
        !self.required_profiles.is_empty() || policies.any(|policy| policy.depth > Depth::Base)
    }
}

/// Another policy for a type or for what claims a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    subject: Subject,
    policy: Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Type(ResourceType),
    /// What claims this profile, in any version where none is named.
    Profile(String),
}

impl Subject {
    fn is_about(&self, resource: &Resource<'_>) -> bool {
        let profile = match self {
            Self::Type(of) => return resource.resource_type() == of,
            Self::Profile(profile) => profile,
        };
        let meta = resource.value().get("meta").filter(|meta| meta.kind() == Kind::Object);
        let claims = meta.and_then(|meta| meta.get("profile"));
        let claims = claims.filter(|claims| claims.kind() == Kind::Array);
        claims.iter().flat_map(|claims| claims.items()).any(|claim| {
            claim.as_str().is_some_and(|claim| {
                *claim == **profile || claim.split_once('|').is_some_and(|(url, _)| url == profile)
            })
        })
    }
}

impl PolicyRule {
    /// The type that it is about; `None` where it is about a profile.
    #[must_use]
    pub fn resource_type(&self) -> Option<&ResourceType> {
        match &self.subject {
            Subject::Type(of) => Some(of),
            Subject::Profile(_) => None,
        }
    }
}

/// A profile that every resource of a type must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredProfile {
    resource_type: ResourceType,
    profile: Box<str>,
}

impl RequiredProfile {
    /// The canonical of the profile.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The type.
    #[must_use]
    pub fn resource_type(&self) -> &ResourceType {
        &self.resource_type
    }
}

/// The text is no policy, rule or required profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// It is no rule.
    #[error("a rule is a type or profile, a depth and an action: Observation terminology warn")]
    Rule,
    /// It is no required profile.
    #[error("a required profile is a type and a canonical URL, with a space between")]
    RequiredProfile,
}

/// Every depth with its word.
pub const DEPTHS: [(Depth, &str); 5] = [
    (Depth::Parse, "parse"),
    (Depth::Base, "base"),
    (Depth::Invariants, "invariants"),
    (Depth::Profiles, "profiles"),
    (Depth::Terminology, "terminology"),
];

/// Every action with its word.
pub const ACTIONS: [(Action, &str); 3] =
    [(Action::Enforce, "enforce"), (Action::Warn, "warn"), (Action::Quarantine, "quarantine")];

fn by_word<T: Copy>(known: &[(T, &str)], word: &str) -> Option<T> {
    known.iter().find(|(_, known)| *known == word).map(|(of, _)| *of)
}

fn word_of<T: PartialEq>(known: &[(T, &'static str)], of: &T) -> &'static str {
    known.iter().find(|(known, _)| known == of).map_or("", |(_, word)| word)
}

/// Whether a text has the form of a canonical URL.
fn is_canonical(text: &str) -> bool {
    text.contains(':') && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

impl FromStr for PolicyRule {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let [subject, depth, action] =
            text.split(' ').collect::<Vec<_>>().try_into().map_err(|_| InvalidPolicy::Rule)?;
        let subject = match ResourceType::new(subject) {
            Ok(of) => Subject::Type(of),
            Err(_) if is_canonical(subject) => Subject::Profile(subject.to_owned()),
            Err(_) => return Err(InvalidPolicy::Rule),
        };
        let depth = by_word(&DEPTHS, depth).ok_or(InvalidPolicy::Rule)?;
        let action = by_word(&ACTIONS, action).ok_or(InvalidPolicy::Rule)?;
        Ok(Self { subject, policy: Policy { depth, action } })
    }
}

impl std::fmt::Display for PolicyRule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let subject = match &self.subject {
            Subject::Type(of) => of.as_str(),
            Subject::Profile(profile) => profile,
        };
        let Policy { depth, action } = &self.policy;
        write!(formatter, "{subject} {} {}", word_of(&DEPTHS, depth), word_of(&ACTIONS, action))
    }
}

impl FromStr for RequiredProfile {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (of, profile) = text.split_once(' ').ok_or(InvalidPolicy::RequiredProfile)?;
        let resource_type = ResourceType::new(of).map_err(|_| InvalidPolicy::RequiredProfile)?;
        if !is_canonical(profile) {
            return Err(InvalidPolicy::RequiredProfile);
        }
        Ok(Self { resource_type, profile: profile.into() })
    }
}

impl std::fmt::Display for RequiredProfile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.resource_type, self.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_core::json::Document;

    fn policy(rules: &[&str], required: &[&str], json: &str) -> (Depth, Action) {
        let policy = WritePolicy {
            default: Policy::default(),
            rules: rules.iter().map(|text| text.parse().unwrap()).collect(),
            required_profiles: required.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let document = Document::parse(json.as_bytes()).unwrap();
        let Policy { depth, action } = policy.of(&Resource::new(document.root()).unwrap());
        (depth, action)
    }

    #[test]
    fn the_first_rule_about_a_resource_says_what_is_asked_of_it() {
        // VAL-200
        let rules = ["http://x/p terminology warn", "Patient parse enforce", "Patient base warn"];
        let patient = r#"{"resourceType":"Patient"}"#;
        let claims = |profile: &str| {
            format!(r#"{{"resourceType":"Patient","meta":{{"profile":["{profile}"]}}}}"#)
        };
        assert_eq!(policy(&rules, &[], patient), (Depth::Parse, Action::Enforce));
        for claimed in ["http://x/p", "http://x/p|2"] {
            let (depth, action) = policy(&rules, &[], &claims(claimed));
            assert_eq!((depth, action), (Depth::Terminology, Action::Warn));
        }
        assert_eq!(policy(&rules, &[], &claims("http://x/pq")), (Depth::Parse, Action::Enforce));
        let basic = r#"{"resourceType":"Basic"}"#;
        assert_eq!(policy(&rules, &[], basic), (Depth::Base, Action::Enforce));
    }

    #[test]
    fn a_required_profile_is_asked_for_whatever_the_depth_is() {
        // VAL-153
        let required = ["Patient http://x/p"];
        let patient = r#"{"resourceType":"Patient"}"#;
        let check = |rule: &str, expected| {
            assert_eq!(policy(&[rule], &required, patient).0, expected, "{rule}");
        };
        check("Patient parse warn", Depth::Profiles);
        check("Patient terminology warn", Depth::Terminology);
        check("Basic terminology warn", Depth::Profiles);
    }

    #[test]
    fn what_is_no_rule_is_refused_and_what_is_one_is_written_as_it_was() {
        for good in
            ["Patient base warn", "http://x/p|1 terminology enforce", "Patient parse quarantine"]
        {
            assert_eq!(good.parse::<PolicyRule>().unwrap().to_string(), good);
        }
        for bad in ["", "Patient", "Patient base", "Patient deep warn", "patient base warn"] {
            assert!(bad.parse::<PolicyRule>().is_err(), "{bad}");
        }
        let good = "Patient http://x/p|1";
        assert_eq!(good.parse::<RequiredProfile>().unwrap().to_string(), good);
        for bad in ["Patient", "http://x/p", "patient http://x/p", "Patient a b:c"] {
            assert!(bad.parse::<RequiredProfile>().is_err(), "{bad}");
        }
    }
}
