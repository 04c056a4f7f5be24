//! From what an issuer says to a caller: which client it is, for whom it asks, and what of its
//! role's rules its scopes let it do. What is missing or contradicts is refused, never guessed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use contract::{GrantFields, Instance, Instant, ResourceId};
use registry::{Client, NewClient, Registry, TokenFacts};
use smart::{
    Claims, Context, Level, Scope, Scopes, SigningKey, TranslationError, bounded_by, rules,
};

use super::Issuer;
use super::written::{TokenClient, client_id};
use crate::errors::Refusal;
use crate::roles::Roles;

/// A token that was believed, as long as it is.
#[derive(Debug)]
pub(crate) struct Believed {
    /// Who issued it.
    pub(crate) issuer: Arc<Issuer>,
    /// What its issuer says of it: read again when what follows from it is decided anew.
    pub(crate) claims: Arc<Claims>,
    /// The configuration that it was read by.
    pub(crate) generation: u64,
    /// The id of the authorization that it is.
    pub(crate) authorization: String,
    /// The client, with the patient and the person that the token names.
    pub(crate) client: Arc<Client>,
    /// The client of the registry that it was made from; another one means it is out of date.
    pub(crate) of_registry: Option<Arc<Client>>,
    pub(crate) user: Option<String>,
    issued: Option<Instant>,
    /// From when on it is not believed.
    pub(crate) until: Instant,
    /// On whose behalf it asks, for saying which scope it lacks.
    pub(crate) level: Level,
    /// By what it was believed.
    pub(crate) by: By,
}

/// By what a token was believed.
#[derive(Debug)]
pub(crate) enum By {
    /// Its signature, with this key.
    Key(SigningKey),
    /// An introspection.
    Introspection {
        /// When the next is due, in microseconds since 1970.
        due: AtomicI64,
        /// What is asked about, for work that goes on without its sender.
        text: TokenText,
    },
}

impl Clone for By {
    fn clone(&self) -> Self {
        match self {
            Self::Key(key) => Self::Key(key.clone()),
            Self::Introspection { due, text } => {
                let due = AtomicI64::new(due.load(Ordering::Relaxed));
                Self::Introspection { due, text: text.clone() }
            }
        }
    }
}

/// A token, which is never shown.
#[derive(Clone)]
pub(crate) struct TokenText(Arc<str>);

impl TokenText {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for TokenText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenText")
    }
}

impl Believed {
    pub(crate) fn facts(&self) -> TokenFacts<'_> {
        TokenFacts {
            authorization: &self.authorization,
            client: self.client.id.as_str(),
            user: self.user.as_deref(),
            issued: self.issued,
        }
    }

    /// The token, where only its issuer can say what it is worth.
    pub(crate) fn text(&self) -> Option<&TokenText> {
        match &self.by {
            By::Key(_) => None,
            By::Introspection { text, .. } => Some(text),
        }
    }

    /// Puts the next introspection off.
    pub(crate) fn ask_again_at(&self, at: Instant) {
        if let By::Introspection { due, .. } = &self.by {
            due.store(at.as_micros(), Ordering::Relaxed);
        }
    }

    /// Whether an introspection is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        match &self.by {
            By::Key(_) => false,
            By::Introspection { due, .. } => now.as_micros() >= due.load(Ordering::Relaxed),
        }
    }
}

/// What claims are read with.
pub(crate) struct Reading<'a> {
    pub(crate) issuer: &'a Arc<Issuer>,
    pub(crate) generation: u64,
    pub(crate) registry: &'a Registry,
    pub(crate) roles: &'a Roles,
    /// The FHIR base as clients see it: what resources are named below.
    pub(crate) public_base: &'a str,
    pub(crate) default_budget: u64,
}

/// The authorization that a token is, what it says, until when it is believed, and by what.
pub(crate) struct Said {
    pub(crate) authorization: String,
    pub(crate) claims: Arc<Claims>,
    pub(crate) until: Instant,
    pub(crate) by: By,
}

const fn denied(reason: &'static str) -> Refusal {
    Refusal::Denied { reason }
}

impl Reading<'_> {
    /// The caller that the claims say, and its members of a grant; the request's are taken from
    /// `request`.
    pub(crate) fn read(
        &self,
        said: Said,
        request: GrantFields,
    ) -> Result<(Believed, GrantFields), Refusal> {
        let (claims, names) = (&*said.claims, &self.issuer.config.claims);
        let id = names.client.iter().find_map(|name| claims.text(name));
        let id = id.ok_or(denied("token-client-unknown"))?;
        let (client, of_registry) = self.client(id)?;
        let client = self.with_context(client, claims)?;
        let subject = claims.text(&names.user).filter(|subject| *subject != id);
        let user = subject.map(|subject| format!("{}/{subject}", self.issuer.name));
        let rights = self.roles.rights_of(&client).map_err(|problem| {
            tracing::warn!(
                client = client.id.as_str(),
                error = &problem as &dyn std::error::Error,
                "the role of a token's client gives it nothing"
            );
            denied(problem.code())
        })?;
        let scopes: Vec<&str> = claims.texts(&names.scope).collect();
        // What this place does not know it leaves out: it lets nothing be done.
        let (scopes, _) = Scopes::parse_known(&scopes.join(" "));
        let role = client.role.as_ref().and_then(|role| self.roles.get(role));
        let context = Context {
            patient: client.patient.as_ref(),
            user: user.is_some().then_some(rights.rules.as_slice()),
            shared: role.map(|role| role.shared()),
        };
        let said_by_scopes = rules(&scopes, &context).map_err(|error| match error {
            TranslationError::PatientMissing => denied("scope-without-patient"),
            TranslationError::UserMissing => denied("scope-without-user"),
        })?;
        let authorization = said.authorization;
        let fields = GrantFields {
            client: Some(client.id.as_str().to_owned()),
            user: user.clone(),
            authorization: Some(authorization.clone()),
            patient: client.patient.clone(),
            fhir_user: client.fhir_user.clone(),
            rules: bounded_by(said_by_scopes, &rights.rules),
            lane: rights.lane,
            budget: rights.budget.unwrap_or(self.default_budget),
            ..request
        };
        let issued = claims.seconds("iat");
        let believed = Believed {
            issuer: self.issuer.clone(),
            generation: self.generation,
            authorization,
            client: Arc::new(client),
            of_registry,
            level: level_of(&scopes, user.is_some()),
            user,
            issued: issued.map(|seconds| Instant::from_micros(seconds.saturating_mul(1_000_000))),
            until: said.until,
            by: said.by,
            claims: said.claims,
        };
        Ok((believed, fields))
    }

    /// The client by the issuer's id of it.
    fn client(&self, id: &str) -> Result<(Client, Option<Arc<Client>>), Refusal> {
        let unknown = denied("token-client-unknown");
        let role = match (self.issuer.config.clients.get(id), &self.issuer.config.others) {
            (Some(TokenClient::OfRegistry(client)), _) => {
                let client = self.registry.client(client).ok_or(unknown)?;
                return Ok(((*client).clone(), Some(client)));
            }
            (Some(TokenClient::Role(role)), _) | (None, Some(role)) => role.clone(),
            (None, None) => return Err(unknown),
        };
        let named = client_id(&self.issuer.name, id).map_err(|_| unknown)?;
        let name = named.to_string();
        Ok((NewClient::of_role(named, &name, role).into_client(Instant::MIN), None))
    }

    /// The client for the patient and the person that the claims name.
    fn with_context(&self, client: Client, claims: &Claims) -> Result<Client, Refusal> {
        let names = &self.issuer.config.claims;
        let patient = match claims.text(&names.patient) {
            None => client.patient.clone(),
            Some(text) => {
                let id = text.strip_prefix("Patient/").unwrap_or(text);
                Some(ResourceId::new(id).map_err(|_| denied("token-patient-malformed"))?)
            }
        };
        // A person of another server is none of ours.
        let named = claims.text(&names.fhir_user).and_then(|text| self.instance(text));
        let fhir_user = named.or_else(|| client.fhir_user.clone());
        let differs = |own: bool| own.then_some(()).ok_or(denied("token-for-another"));
        differs(client.patient.is_none() || client.patient == patient)?;
        differs(client.fhir_user.is_none() || client.fhir_user == fhir_user)?;
        Ok(Client { patient, fhir_user, ..client })
    }

    /// A resource of this place, named relative or below the base.
    fn instance(&self, text: &str) -> Option<Instance> {
        let below = text.strip_prefix(self.public_base).and_then(|rest| rest.strip_prefix('/'));
        below.unwrap_or(text).parse().ok()
    }
}

/// On whose behalf a token asks, by its scopes.
fn level_of(scopes: &Scopes, has_user: bool) -> Level {
    let said = scopes.iter().find_map(|scope| match scope {
        Scope::Resource(scope) => Some(scope.level),
        _ => None,
    });
    said.unwrap_or(if has_user { Level::User } else { Level::System })
}
