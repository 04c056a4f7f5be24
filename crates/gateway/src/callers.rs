//! Who is calling, and what of the answer to that is the same for every request.
//!
//! The registry says whom a key stands for on every request, so that a revoked key is refused at
//! once; what follows from it (the grant's rules, the limit) is kept until the client changes.

mod by_certificate;
mod by_token;
mod client_buckets;
mod public_requests;
mod who;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    GrantError, GrantFields, Ids, Instant, Interaction, Nonce, ResourceId, TenantName, digest,
};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use parking_lot::RwLock;
use registry::{Caller, Client, KeyId, Registry, Renewed};

use crate::break_glass;
use crate::certificates::{CertificateClients, PeerCertificate};
use crate::config::{GatewayConfig, Limits};
use crate::errors::{GatewayError, Refusal};
use crate::grant_template::GrantTemplate;
use crate::guard::{Account, Guard, Patience};
use crate::limiter::{Rate, Taken};
use crate::roles::{RoleProblem, Roles};
use crate::subject::SubjectKey;
use crate::tokens::{Believed, Cache, Tokens};
use client_buckets::ClientBuckets;
use public_requests::{Counted, PublicRequests};
use who::Limit;

pub(crate) use who::{Known, LimitState, Who};

/// Keys whose callers are kept at a time; more only cost time.
const MOST_CALLERS: usize = 16 * 1024;

/// Finds out who is calling and counts what they ask.
pub(crate) struct Callers {
    registry: Arc<Registry>,
    roles: Arc<Roles>,
    tokens: Arc<Tokens>,
    certificates: CertificateClients,
    certified: Cache<Option<Arc<Known>>>,
    ids: Arc<dyn Ids>,
    subject_key: Option<SubjectKey>,
    tenant: TenantName,
    default_budget: u64,
    default_rate: Option<Rate>,
    public: Arc<Known>,
    public_requests: Arc<PublicRequests>,
    guard: Arc<Guard>,
    patience: Patience,
    known: RwLock<HashMap<KeyId, Arc<Known>>>,
    buckets: Arc<ClientBuckets>,
}

impl Callers {
    pub(crate) fn new(
        registry: Arc<Registry>,
        ids: Arc<dyn Ids>,
        config: &GatewayConfig,
        tokens: Arc<Tokens>,
        guard: Arc<Guard>,
    ) -> Result<Self, GrantError> {
        let limits: &Limits = &config.limits;
        let tenant = config.tenant.clone();
        let public = Known {
            client: None,
            template: GrantTemplate::new(blank(&tenant, ids.as_ref()), ids.as_ref())?,
            limit: None,
            subject: None,
            token: None,
        };
        Ok(Self {
            public: Arc::new(public),
            public_requests: Arc::new(PublicRequests::new(limits.public)),
            guard,
            patience: Patience::of(limits),
            known: RwLock::default(),
            buckets: Arc::default(),
            default_rate: limits.client,
            registry,
            tokens,
            certificates: config.certificates.clone(),
            certified: Cache::new(MOST_CALLERS),
            roles: config.roles.clone(),
            ids,
            subject_key: config.subject_key.clone(),
            tenant,
            default_budget: config.default_budget,
        })
    }

    /// The same by another configuration: what was taken of limits that stay is still taken.
    pub(crate) fn renewed(&self, config: &GatewayConfig) -> Result<Self, GatewayError> {
        let tokens = match self.tokens.stay(config) && self.default_rate == config.limits.client {
            true => self.tokens.clone(),
            false => Arc::new(self.tokens.renewed(config)?),
        };
        let (registry, ids) = (self.registry.clone(), self.ids.clone());
        let new = Self::new(registry, ids, config, tokens, self.guard.clone())
            .map_err(GatewayError::PublicGrant)?;
        let public_requests = match self.public_requests.rate() == new.public_requests.rate() {
            true => self.public_requests.clone(),
            false => new.public_requests,
        };
        let (buckets, subject_key) = (self.buckets.clone(), self.subject_key.clone());
        Ok(Self { public_requests, buckets, subject_key, ..new })
    }

    /// Whom the credentials in these headers stand for.
    ///
    /// Wrong ones are counted, and whoever sent too many waits ([`Guard`]).
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        certificate: Option<&PeerCertificate>,
        address: IpAddr,
        now: Duration,
    ) -> Result<Who, Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let credentials = match (given.next(), given.next()) {
            (None, _) => {
                return match certificate.and_then(|shown| self.of_certificate(shown, now)) {
                    Some(known) => known.map(Who::Client),
                    None => Ok(Who::Public(self.public.clone())),
                };
            }
            (Some(credentials), None) => credentials,
            _ => return Err(self.failed(None, address, now, Refusal::CredentialsAmbiguous)),
        };
        let Some(key) = bearer(credentials) else {
            return Err(self.failed(None, address, now, Refusal::CredentialsAmbiguous));
        };
        if !self.tokens.is_empty() && !registry::is_key(key) {
            return match self.of_token(key, address, now).await {
                Ok(known) => Ok(Who::Client(known)),
                Err(refusal) if refusal.status() == 401 => {
                    Err(self.failed(self.tokens.account_of(key), address, now, refusal))
                }
                Err(refusal) => Err(refusal),
            };
        }
        let Some(caller) = self.registry.authenticate(key) else {
            let account = self.registry.named_by(key).map(Account::Key);
            return Err(self.failed(account, address, now, Refusal::CredentialsInvalid));
        };
        let account = Account::Key(caller.key.clone());
        let admitted = self.guard.admits(Some(&account), address, now);
        admitted.map_err(Refusal::TooManyFailedAuthentications)?;
        self.guard.succeeded(&account, address);
        self.known(caller, now).map(Who::Client)
    }

    /// Nobody known, with a token for somebody else in its hands, or none. A key of ours is no
    /// such token, and never leaves.
    pub(crate) fn stranger(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
        now: Duration,
    ) -> Result<Who, Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let refused = match (given.next(), given.next()) {
            (Some(credentials), None) => match bearer(credentials) {
                Some(token) if registry::is_key(token) => Refusal::CredentialsInvalid,
                Some(_) => return Ok(Who::Public(self.public.clone())),
                None => Refusal::CredentialsAmbiguous,
            },
            (None, _) => return Ok(Who::Public(self.public.clone())),
            _ => Refusal::CredentialsAmbiguous,
        };
        Err(self.failed(None, address, now, refused))
    }

    /// Why the credentials in these headers stand for nobody, for an operator.
    pub(crate) fn why_not(&self, headers: &HeaderMap) -> Option<String> {
        Some(self.registry.why_not(bearer(headers.get(AUTHORIZATION)?)?))
    }

    /// The client of a good key whose role gives it nothing, and why, for an operator.
    pub(crate) fn role_problem(&self, headers: &HeaderMap) -> Option<(Arc<Client>, RoleProblem)> {
        let caller = self.registry.authenticate(bearer(headers.get(AUTHORIZATION)?)?)?;
        let problem = self.roles.rights_of(&caller.client).err()?;
        Some((caller.client, problem))
    }

    /// The same caller with what a break-glass adds, for the patient that it was taken for. One
    /// that is over, another's, or whose role allows it no more, adds nothing and is refused.
    pub(crate) fn with_break_glass(&self, who: &Who, id: &HeaderValue) -> Result<Who, Refusal> {
        let refused = Refusal::Denied { reason: "break-glass-invalid" };
        let known = who.known();
        let client = known.client.as_ref().ok_or(Refusal::CredentialsMissing)?;
        // It would let a token do what its scopes do not say.
        if known.token.is_some() {
            return Err(refused);
        }
        let id = id.to_str().map_err(|_| refused.clone())?;
        let given = self.registry.break_glass_in_force(id, &client.id).ok_or(refused.clone())?;
        if client.patient.as_ref().is_some_and(|own| *own != given.patient) {
            return Err(refused);
        }
        let more = self.roles.break_glass_of(client, &given.patient).ok_or(refused)?;
        let grant = known.template.grant();
        let fields = GrantFields {
            patient: Some(given.patient.clone()),
            break_glass: Some(given.id.clone()),
            purpose: Some(break_glass::PURPOSE.to_owned()),
            rules: grant.rules.iter().cloned().chain(more).collect(),
            ..(**grant).clone()
        };
        let template =
            GrantTemplate::new(fields, self.ids.as_ref()).map_err(|_| Refusal::GrantImpossible)?;
        let (client, limit) = (known.client.clone(), known.limit.clone());
        // Whoever breaks the glass asks for itself still, not for the patient.
        let subject = known.subject.clone();
        Ok(Who::Client(Arc::new(Known { client, template, limit, subject, token: None })))
    }

    /// Whoever sent no credentials.
    pub(crate) fn nobody(&self) -> Who {
        Who::Public(self.public.clone())
    }

    /// Whether the client's role allows it to break the glass for anybody.
    pub(crate) fn has_break_glass(&self, client: &Client) -> bool {
        self.roles.has_break_glass(client)
    }

    /// Whether the client's role allows it to break the glass for this patient.
    pub(crate) fn may_break_glass(&self, client: &Client, patient: &ResourceId) -> bool {
        client.patient.as_ref().is_none_or(|own| own == patient)
            && self.roles.break_glass_of(client, patient).is_some()
    }

    /// The tokens that are believed.
    pub(crate) fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// The registry's change as of which callers are identified.
    pub(crate) fn as_of(&self) -> u64 {
        self.registry.sequence()
    }

    /// Whether nothing was revoked that this caller came under. A token that only time ended stands.
    pub(crate) fn still_stands(&self, who: &Who) -> bool {
        let Known { client: Some(client), template, token, .. } = who.known() else { return true };
        let may_anything = |id| {
            let client = self.registry.client(id);
            client.is_some_and(|client| self.roles.rights_of(&client).is_ok())
        };
        if let Some(token) = token {
            return !self.registry.is_revoked(&token.facts())
                && token
                    .of_registry
                    .as_ref()
                    .is_none_or(|of_registry| may_anything(&of_registry.id));
        }
        let authorization = template.grant().authorization.as_deref().unwrap_or_default();
        let is_key = KeyId::from_authorization(authorization).is_some();
        may_anything(&client.id)
            && (!is_key || matches!(self.registry.renew(authorization), Renewed::Standing(_)))
    }

    /// The registry.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// Counts one request against its caller's limit.
    pub(crate) fn admit(
        &self,
        who: &Who,
        address: IpAddr,
        now: Duration,
    ) -> Result<Option<LimitState>, (Refusal, LimitState)> {
        let (name, policy, taken) = match who {
            Who::Public(_) => {
                let Counted { name, policy, taken } = self.public_requests.take(address, now);
                (name, policy, taken)
            }
            Who::Client(known) => {
                let Some(limit) = &known.limit else {
                    return Ok(None);
                };
                ("client", &limit.policy, limit.bucket.take(limit.rate, now))
            }
        };
        let state = |remaining, seconds| LimitState {
            policy: policy.clone(),
            state: ascii(format!("\"{name}\";r={remaining};t={seconds}")),
        };
        match taken {
            Taken::Admitted { remaining, full_in } => Ok(Some(state(remaining, full_in))),
            Taken::Refused { retry_after } => {
                Err((Refusal::RateLimited { retry_after }, state(0, retry_after)))
            }
        }
    }

    /// Gives one back that was counted of a request that its plan does not admit.
    pub(crate) fn give_back(&self, who: &Who, address: IpAddr) {
        match who {
            Who::Public(_) => self.public_requests.give_back(address),
            Who::Client(known) => {
                if let Some(limit) = &known.limit {
                    limit.bucket.give_back(limit.rate);
                }
            }
        }
    }

    fn failed(
        &self,
        account: Option<Account>,
        address: IpAddr,
        now: Duration,
        refusal: Refusal,
    ) -> Refusal {
        let lockout = self.guard.failed(account, address, &self.patience, now);
        lockout.map_or(refusal, Refusal::TooManyFailedAuthentications)
    }

    fn known(&self, caller: Caller, now: Duration) -> Result<Arc<Known>, Refusal> {
        if let Some(known) = self.known.read().get(&caller.key)
            && known.client.as_ref().is_some_and(|client| Arc::ptr_eq(client, &caller.client))
        {
            return Ok(known.clone());
        }
        let known = Arc::new(self.learn(&caller.client, &caller.authorization, now)?);
        let mut all = self.known.write();
        if all.len() >= MOST_CALLERS {
            all.clear();
        }
        all.insert(caller.key, known.clone());
        Ok(known)
    }

    fn learn(
        &self,
        client: &Arc<Client>,
        authorization: &str,
        now: Duration,
    ) -> Result<Known, Refusal> {
        let request = blank(&self.tenant, self.ids.as_ref());
        let fields = fields_for(client, authorization, &self.roles, self.default_budget, request);
        let fields = fields.map_err(|problem| {
            tracing::warn!(
                client = client.id.as_str(),
                error = &problem as &dyn std::error::Error,
                "the client's role gives it nothing"
            );
            Refusal::Denied { reason: problem.code() }
        })?;
        self.known_with(client.clone(), fields, None, now)
    }

    /// A caller with these members of a grant, and the client's limit.
    fn known_with(
        &self,
        client: Arc<Client>,
        fields: GrantFields,
        token: Option<Believed>,
        now: Duration,
    ) -> Result<Known, Refusal> {
        let subject = self.subject_key.as_ref().and_then(|key| key.of(&fields));
        let template = GrantTemplate::new(fields, self.ids.as_ref()).map_err(|error| {
            tracing::error!(
                client = client.id.as_str(),
                error = &error as &dyn std::error::Error,
                "no grant can be made for the client"
            );
            Refusal::GrantImpossible
        })?;
        let rate = client
            .limit
            .and_then(|limit| Rate::new(limit.per_second, limit.burst))
            .or(self.default_rate);
        let limit = rate.map(|rate| Limit {
            rate,
            policy: policy("client", rate),
            bucket: self.buckets.of(&client.id, rate, now),
        });
        Ok(Known { client: Some(client), template, limit, subject, token })
    }
}

/// A caller's members of a grant, the request's taken from `request`.
pub(crate) fn fields_of(
    caller: &Caller,
    roles: &Roles,
    default_budget: u64,
    request: GrantFields,
) -> Result<GrantFields, RoleProblem> {
    fields_for(&caller.client, &caller.authorization, roles, default_budget, request)
}

/// The same of a client by whatever it came with.
fn fields_for(
    client: &Client,
    authorization: &str,
    roles: &Roles,
    default_budget: u64,
    request: GrantFields,
) -> Result<GrantFields, RoleProblem> {
    let rights = roles.rights_of(client)?;
    Ok(GrantFields {
        client: Some(client.id.as_str().to_owned()),
        role: client.role.as_ref().map(ToString::to_string),
        authorization: Some(authorization.to_owned()),
        patient: client.patient.clone(),
        fhir_user: client.fhir_user.clone(),
        rules: rights.rules,
        powers: rights.powers,
        lane: rights.lane,
        budget: rights.budget.unwrap_or(default_budget),
        ..request
    })
}

/// The members of a request that does not exist: for templates alone.
fn blank(tenant: &TenantName, ids: &dyn Ids) -> GrantFields {
    GrantFields::of_request(
        tenant.clone(),
        &Interaction::Capabilities,
        digest("", "", None),
        Nonce::generate(ids),
        Instant::from_micros(0),
    )
}

/// The key in `Bearer KEY` (RFC 6750, section 2.1).
fn bearer(credentials: &HeaderValue) -> Option<&str> {
    let (scheme, key) = credentials.to_str().ok()?.split_once(' ')?;
    let key = key.trim_matches(' ');
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && plain).then_some(key)
}

/// `RateLimit-Policy`, as the IETF's draft on RateLimit headers has it.
fn policy(name: &str, rate: Rate) -> HeaderValue {
    ascii(format!("\"{name}\";q={};w={}", rate.burst, rate.window_seconds()))
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names and numbers are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bearer(credentials: &str, expected: Option<&str>) {
        let value = HeaderValue::from_bytes(credentials.as_bytes()).expect("a value");
        assert_eq!(bearer(&value), expected, "{credentials}");
    }

    #[test]
    fn bearer_is_read_in_any_case_and_nothing_else_is() {
        check_bearer("Bearer abc", Some("abc"));
        check_bearer("bEARER  abc", Some("abc"));
        check_bearer("Bearer", None);
        check_bearer("Bearer ", None);
        check_bearer("Bearer a b", None);
        check_bearer("Basic abc", None);
        check_bearer("Bearer\u{e9} abc", None);
    }
}
