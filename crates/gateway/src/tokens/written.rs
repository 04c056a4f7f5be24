//! An issuer of tokens as the configuration writes it, and what is checked of it when it is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use registry::{ClientId, RoleName};
use serde::{Deserialize, Serialize};
use smart::{Algorithm, Expected};

use crate::fetch::IssuerUrl;
use crate::roles::Roles;

/// An issuer's text. [`WrittenIssuer::check`] makes a [`TokenIssuer`] of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenIssuer {
    /// `iss` of its tokens, to the letter.
    pub issuer: String,
    /// What `aud` of its tokens must be or have, to the letter.
    pub audience: String,
    /// Where its keys are; found by its metadata where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// The algorithms that are accepted; RS256 and ES256 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<String>>,
    /// Seconds by which its clock may differ, 5 to 60; 30 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway_seconds: Option<u32>,
    /// Seconds between two fetches of its keys because of a key that is not known; 60 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch_seconds: Option<u64>,
    /// Seconds after which its keys are fetched again; 300 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_seconds: Option<u64>,
    /// The certificates, in PEM, of the authorities that it shows one by; the system's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_file: Option<PathBuf>,
    /// The claim that names the client; `azp`, and else `client_id`, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_claim: Option<String>,
    /// The claim that names the user; `sub` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_claim: Option<String>,
    /// The claim that names the user as a resource; `fhirUser` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fhir_user_claim: Option<String>,
    /// The claim that names the patient of the launch; `patient` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient_claim: Option<String>,
    /// The claim that has the scopes; `scope` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_claim: Option<String>,
    /// The role of its clients that are not named; they are refused where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How opaque tokens of it are asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<WrittenIntrospection>,
    /// Its clients, by the ids that it gives them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, WrittenTokenClient>,
}

/// A client of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenTokenClient {
    /// The role that bounds its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The client of the registry that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// How an issuer is asked about tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenIntrospection {
    /// The endpoint.
    pub url: String,
    /// As which client of the issuer it is asked.
    pub client_id: String,
    /// The file that holds that client's secret.
    pub secret_file: PathBuf,
    /// Seconds after which it is asked again about a token; 60 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_seconds: Option<u64>,
}

/// What is wrong with an issuer's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the issuer {issuer}, {place}: {problem}")]
pub struct IssuerError {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// The key.
    pub place: String,
    /// What is wrong, and what is right.
    pub problem: String,
}

/// An issuer whose tokens are accepted, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    pub(crate) name: String,
    pub(crate) expected: Expected,
    pub(crate) jwks_url: Option<IssuerUrl>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) fetch_interval: Duration,
    pub(crate) refresh: Duration,
    pub(crate) authority_file: Option<PathBuf>,
    pub(crate) claims: ClaimNames,
    pub(crate) others: Option<RoleName>,
    pub(crate) clients: BTreeMap<String, TokenClient>,
    pub(crate) introspection: Option<IntrospectionAt>,
}

/// Which claims say what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimNames {
    /// The first of these that is there.
    pub(crate) client: Vec<String>,
    pub(crate) user: String,
    pub(crate) fhir_user: String,
    pub(crate) patient: String,
    pub(crate) scope: String,
}

/// Whose rules bound a client's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenClient {
    Role(RoleName),
    OfRegistry(ClientId),
}

/// Where and as whom an issuer is asked about tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntrospectionAt {
    pub(crate) url: IssuerUrl,
    pub(crate) client_id: String,
    pub(crate) secret_file: PathBuf,
    pub(crate) again: Duration,
}

const NAME: &str = "an issuer's name has 1 to 20 characters of a-z 0-9 - and begins with a letter";
/// Seconds by which clocks may differ.
const LEEWAY: std::ops::RangeInclusive<u32> = 5..=60;
/// Seconds between questions.
const INTERVAL: std::ops::RangeInclusive<u64> = 1..=86_400;

impl WrittenIssuer {
    /// Checks it.
    ///
    /// # Errors
    /// [`IssuerError`] at the first fault.
    pub fn check(&self, name: &str, roles: &Roles) -> Result<TokenIssuer, IssuerError> {
        let wrong = |place: &str, problem: &dyn std::fmt::Display| IssuerError {
            issuer: name.to_owned(),
            place: place.to_owned(),
            problem: problem.to_string(),
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let named = (1..=20).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(plain);
        if !named {
            return Err(wrong("its name", &NAME));
        }
        let url =
            |place: &str, text: &str| IssuerUrl::new(text).map_err(|error| wrong(place, &error));
        // Also what its metadata is found by.
        url("issuer", &self.issuer)?;
        if self.audience.is_empty() {
            return Err(wrong("audience", &"name the audience that its tokens are for"));
        }
        let jwks_url = self.jwks_url.as_deref().map(|text| url("jwks_url", text)).transpose()?;
        let algorithms = match &self.algorithms {
            None => vec![Algorithm::Rs256, Algorithm::Es256],
            Some(names) => {
                let read: Result<Vec<Algorithm>, _> =
                    names.iter().map(|name| name.parse()).collect();
                read.map_err(|error| wrong("algorithms", &error))?
            }
        };
        if algorithms.is_empty() {
            return Err(wrong("algorithms", &"name at least one, or leave the key out"));
        }
        let leeway = self.leeway_seconds.unwrap_or(30);
        if !LEEWAY.contains(&leeway) {
            return Err(wrong("leeway_seconds", &"takes 5 to 60 seconds"));
        }
        let seconds = |place: &str, given: Option<u64>, default: u64| {
            let seconds = given.unwrap_or(default);
            let fits = INTERVAL.contains(&seconds);
            fits.then(|| Duration::from_secs(seconds))
                .ok_or_else(|| wrong(place, &"takes 1 to 86400 seconds"))
        };
        let role = |place: &str, text: &str| {
            let role: RoleName = text.parse().map_err(|error| wrong(place, &error))?;
            let known = roles.get(&role).is_some();
            let unknown = format!("there is no role {role}; `hearthgate roles` lists them");
            known.then_some(role).ok_or_else(|| wrong(place, &unknown))
        };
        let mut clients = BTreeMap::new();
        for (id, written) in &self.clients {
            let place = format!("clients.{id}");
            let client = match (&written.role, &written.client) {
                (Some(text), None) => {
                    client_id(name, id).map_err(|error| wrong(&place, &error))?;
                    TokenClient::Role(role(&place, text)?)
                }
                (None, Some(text)) => {
                    let id = ClientId::new(text).map_err(|error| wrong(&place, &error))?;
                    TokenClient::OfRegistry(id)
                }
                _ => return Err(wrong(&place, &"has either role or client")),
            };
            clients.insert(id.clone(), client);
        }
        let others = self.role.as_deref().map(|text| role("role", text)).transpose()?;
        if clients.is_empty() && others.is_none() {
            let problem =
                "no client of it would be let in: name them in clients, or a role for all";
            return Err(wrong("clients", &problem));
        }
        let introspection = match &self.introspection {
            None => None,
            Some(written) => Some(IntrospectionAt {
                url: url("introspection.url", &written.url)?,
                client_id: written.client_id.clone(),
                secret_file: written.secret_file.clone(),
                again: seconds("introspection.again_seconds", written.again_seconds, 60)?,
            }),
        };
        let claim = |given: &Option<String>, default: &str| {
            given.clone().unwrap_or_else(|| default.to_owned())
        };
        Ok(TokenIssuer {
            name: name.to_owned(),
            expected: Expected {
                issuer: self.issuer.clone(),
                audience: self.audience.clone(),
                leeway,
            },
            jwks_url,
            algorithms,
            fetch_interval: seconds("fetch_seconds", self.fetch_seconds, 60)?,
            refresh: seconds("refresh_seconds", self.refresh_seconds, 300)?,
            authority_file: self.authority_file.clone(),
            claims: ClaimNames {
                client: match &self.client_claim {
                    Some(claim) => vec![claim.clone()],
                    None => vec!["azp".to_owned(), "client_id".to_owned()],
                },
                user: claim(&self.user_claim, "sub"),
                fhir_user: claim(&self.fhir_user_claim, "fhirUser"),
                patient: claim(&self.patient_claim, "patient"),
                scope: claim(&self.scope_claim, "scope"),
            },
            others,
            clients,
            introspection,
        })
    }
}

/// The id, here, of an issuer's client that is none of the registry's.
pub(crate) fn client_id(issuer: &str, id: &str) -> Result<ClientId, registry::InvalidClientId> {
    ClientId::new(&format!("{issuer}.{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::WrittenRole;

    fn roles() -> Roles {
        let mut roles = Roles::default();
        let name: RoleName = "reader".parse().expect("a role's name");
        let role = WrittenRole {
            says: "For a test.".to_owned(),
            lane: None,
            budget: None,
            powers: Vec::new(),
            shared: Vec::new(),
            rules: vec![crate::roles::WrittenRule {
                types: vec!["*".to_owned()],
                actions: vec!["read".to_owned()],
                within: "all".to_owned(),
                filter: None,
                without_labels: Vec::new(),
            }],
            break_glass: Vec::new(),
        };
        roles.define(name.clone(), role.check(&name).expect("a role"));
        roles
    }

    fn written() -> WrittenIssuer {
        serde_json::from_value(serde_json::json!({
            "issuer": "https://id.example.org",
            "audience": "https://ehr.example.org/fhir",
            "clients": {"app": {"role": "reader"}},
        }))
        .expect("an issuer")
    }

    fn check(name: &str, change: impl FnOnce(&mut WrittenIssuer), place: Option<&str>) {
        let mut written = written();
        change(&mut written);
        let found = written.check(name, &roles()).err().map(|error| error.place);
        assert_eq!(found.as_deref(), place, "{written:?}");
    }

    // GW-030
    #[test]
    fn what_is_wrong_with_an_issuer_is_told_by_its_key() {
        check("hospital", |_| (), None);
        check("Hospital", |_| (), Some("its name"));
        check("h", |issuer| issuer.issuer = "http://id.example.org".to_owned(), Some("issuer"));
        check("h", |issuer| issuer.audience.clear(), Some("audience"));
        check("h", |issuer| issuer.jwks_url = Some("x".to_owned()), Some("jwks_url"));
        for bad in [vec!["HS256"], vec!["none"], vec!["RS256", "RS512"], vec![]] {
            let bad = bad.into_iter().map(str::to_owned).collect();
            check("h", |issuer| issuer.algorithms = Some(bad), Some("algorithms"));
        }
        check("h", |issuer| issuer.leeway_seconds = Some(61), Some("leeway_seconds"));
        check("h", |issuer| issuer.leeway_seconds = Some(4), Some("leeway_seconds"));
        check("h", |issuer| issuer.fetch_seconds = Some(0), Some("fetch_seconds"));
        check("h", |issuer| issuer.clients.clear(), Some("clients"));
        check("h", |issuer| issuer.role = Some("none-such".to_owned()), Some("role"));
        let client = |role: Option<&str>, client: Option<&str>| WrittenTokenClient {
            role: role.map(str::to_owned),
            client: client.map(str::to_owned),
        };
        for (id, bad) in [
            ("x", client(None, None)),
            ("x", client(Some("reader"), Some("lab"))),
            ("x", client(Some("none-such"), None)),
            ("https://app.example.org", client(Some("reader"), None)),
            ("x", client(None, Some("-"))),
        ] {
            let place = format!("clients.{id}");
            check("h", |issuer| drop(issuer.clients.insert(id.to_owned(), bad)), Some(&place));
        }
    }
}
