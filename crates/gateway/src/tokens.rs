//! Tokens of issuers: believed once, kept by their digest until they expire, are revoked, or what
//! they were believed by is no more.
//!
//! A token is checked with its issuer's keys; one that is no signed token of an issuer with keys
//! is asked about at the issuer that has an introspection. While an issuer cannot be reached,
//! what was believed stays believed. Revocations of the registry count at the next request.

mod believed;
mod cache;
mod checking;
mod introspection;
mod keys;
mod written;

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, GrantFields, Instant};
use prometheus::{IntCounter, IntCounterVec};
use registry::{Registry, TokenIdentity, token_authorization};
use smart::{Claims, TokenProblem};

use self::believed::{By, Reading, Said};
use self::introspection::Introspection;
use self::keys::Keys;
use crate::callers::Known;
use crate::config::GatewayConfig;
use crate::errors::{GatewayError, Refusal};
use crate::guard::Account;
use crate::metrics::Metrics;
use crate::roles::Roles;
use crate::snapshot::Current;

pub(crate) use believed::Believed;
pub(crate) use cache::{Cache, TokenDigest};
pub use written::{
    IssuerError, TokenIssuer, WrittenIntrospection, WrittenIssuer, WrittenTokenClient,
};

/// How often it is looked for other issuers.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Tokens that are kept at a time.
const MOST_KEPT: usize = 32 * 1024;
/// For how long a token without an expiry is believed after an introspection that the next ones
/// could not repeat, in seconds.
const WITHOUT_EXPIRY: i64 = 3600;

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBelieved {
    Problem(TokenProblem),
    /// The registry says so.
    Revoked,
    /// Its issuer says so.
    Inactive,
}

impl NotBelieved {
    /// A label that never changes.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Problem(problem) => problem.code(),
            Self::Revoked => "token-revoked",
            Self::Inactive => "token-inactive",
        }
    }

    /// For the sender of the token.
    pub(crate) fn says(self) -> String {
        match self {
            Self::Problem(problem) => problem.to_string(),
            Self::Revoked => "it was revoked".to_owned(),
            Self::Inactive => "its issuer says that it is not active".to_owned(),
        }
    }
}

impl From<TokenProblem> for Refusal {
    fn from(problem: TokenProblem) -> Self {
        Self::TokenInvalid(NotBelieved::Problem(problem))
    }
}

/// What is known of a token without asking anybody.
pub(crate) enum Found {
    /// It is believed.
    Good(Arc<Known>),
    /// It is believed, and its issuer is to be asked again.
    Due(Arc<Known>),
    /// It is believed, and what follows from that is to be read again.
    Stale(Arc<Known>),
    /// It is to be believed anew.
    Nothing,
}

/// One issuer at work.
pub(crate) struct Issuer {
    name: Arc<str>,
    config: TokenIssuer,
    keys: Keys,
    introspection: Option<Introspection>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// All issuers, and what was believed.
pub(crate) struct Tokens {
    issuers: Vec<Arc<Issuer>>,
    /// By the token. Kept over reloads: what follows from a token is then read again.
    kept: Arc<Cache<Arc<Known>>>,
    /// By the authorization, for work that goes on: it stays for as long as it is asked about.
    working: Arc<Cache<Arc<Known>>>,
    /// Grows with each configuration.
    generation: u64,
    registry: Arc<Registry>,
    roles: Arc<Roles>,
    clock: Arc<dyn Clock>,
    public_base: String,
    default_budget: u64,
    /// How often what was kept did, apart from the other results: it counts most.
    found: IntCounter,
    checks: IntCounterVec,
    fetches: IntCounterVec,
}

/// Fetches the keys of the issuers that are in force, for as long as it is polled.
pub(crate) async fn keep_current(current: &Current) {
    loop {
        let tokens = current.take().callers.tokens().clone();
        let replaced = async {
            while Arc::ptr_eq(current.take().callers.tokens(), &tokens) {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        tokio::select! {
            () = tokens.keep_current() => {}
            () = replaced => {}
        }
    }
}

impl Tokens {
    /// The issuers of the configuration.
    pub(crate) fn open(
        config: &GatewayConfig,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, GatewayError> {
        let none = Self {
            issuers: Vec::new(),
            kept: Arc::new(Cache::new(MOST_KEPT)),
            working: Arc::new(Cache::new(MOST_KEPT)),
            generation: 0,
            registry,
            roles: config.roles.clone(),
            clock,
            public_base: config.public_base.clone(),
            default_budget: config.default_budget,
            found: metrics.token_checks.with_label_values(&["kept"]),
            checks: metrics.token_checks.clone(),
            fetches: metrics.issuer_key_fetches.clone(),
        };
        none.renewed(config)
    }

    /// Whether what is believed is to be believed by another configuration too.
    pub(crate) fn stay(&self, config: &GatewayConfig) -> bool {
        let issuers = self.issuers.iter().map(|issuer| &issuer.config);
        issuers.eq(&config.issuers)
            && *self.roles == *config.roles
            && self.public_base == config.public_base
            && self.default_budget == config.default_budget
    }

    /// The issuers of another configuration. Those that it has too keep their keys; what
    /// was believed is believed still, and what follows from it is read again.
    pub(crate) fn renewed(&self, config: &GatewayConfig) -> Result<Self, GatewayError> {
        let mut issuers = Vec::with_capacity(config.issuers.len());
        for issuer in &config.issuers {
            let known = self.issuers.iter().find(|known| known.config == *issuer);
            issuers.push(match known {
                Some(known) => known.clone(),
                None => Arc::new(self.opened(issuer, config)?),
            });
        }
        Ok(Self {
            issuers,
            kept: self.kept.clone(),
            working: self.working.clone(),
            generation: self.generation + 1,
            registry: self.registry.clone(),
            roles: config.roles.clone(),
            clock: self.clock.clone(),
            public_base: config.public_base.clone(),
            default_budget: config.default_budget,
            found: self.found.clone(),
            checks: self.checks.clone(),
            fetches: self.fetches.clone(),
        })
    }

    fn opened(&self, issuer: &TokenIssuer, config: &GatewayConfig) -> Result<Issuer, GatewayError> {
        let (clock, fetches) = (self.clock.clone(), self.fetches.clone());
        let keys = Keys::open(issuer, &config.issuer_keys, clock, fetches)?;
        let introspection = issuer
            .introspection
            .as_ref()
            .map(|at| Introspection::new(at, keys.fetcher().clone(), self.clock.clone()));
        let name = issuer.name.as_str().into();
        Ok(Issuer { name, config: issuer.clone(), keys, introspection })
    }

    /// Whether tokens of no issuer are accepted.
    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Fetches the keys of all issuers now and then, for as long as it is polled.
    async fn keep_current(&self) {
        let all = self.issuers.iter().map(|issuer| issuer.keys.keep_current());
        let mut all: Vec<_> = all.map(Box::pin).collect();
        std::future::poll_fn(|context| {
            for one in &mut all {
                let _ = one.as_mut().poll(context);
            }
            std::task::Poll::<()>::Pending
        })
        .await;
    }

    /// What is known of a token.
    pub(crate) fn find(&self, digest: &TokenDigest) -> Found {
        let Some(kept) = self.kept.get(digest) else { return Found::Nothing };
        let found = self.judged(kept);
        if !matches!(found, Found::Nothing) {
            self.found.inc();
        }
        found
    }

    /// The same of an authorization, whose work goes on.
    pub(crate) fn standing(&self, authorization: &str) -> Found {
        let kept = self.working.get(&TokenDigest::of(authorization));
        kept.map_or(Found::Nothing, |kept| self.judged(kept))
    }

    fn judged(&self, kept: Arc<Known>) -> Found {
        match kept.token.as_ref() {
            Some(believed) if !self.stands(believed) => Found::Nothing,
            Some(believed) if !self.is_current(believed) => Found::Stale(kept),
            Some(believed) if believed.is_due(self.clock.now()) => Found::Due(kept),
            Some(_) => Found::Good(kept),
            None => Found::Nothing,
        }
    }

    /// Keeps what was read again of a token whose work goes on.
    pub(crate) fn keep_working(&self, kept: Arc<Known>) {
        if let Some(believed) = &kept.token {
            let digest = TokenDigest::of(&believed.authorization);
            self.working.put(digest, kept);
        }
    }

    /// Keeps what was made of a token that was believed.
    pub(crate) fn keep(&self, digest: TokenDigest, kept: Arc<Known>) {
        self.keep_working(kept.clone());
        self.kept.put(digest, kept);
    }

    /// Whether what was believed once is to be believed still.
    fn stands(&self, believed: &Believed) -> bool {
        let shown = |issuer: &Arc<Issuer>| match &believed.by {
            By::Key(key) => issuer.keys.current().is_none_or(|keys| keys.shows(key)),
            By::Introspection { .. } => issuer.introspection.is_some(),
        };
        self.clock.now() < believed.until
            && self.issuer_of(believed).is_some_and(shown)
            && !self.registry.is_revoked(&believed.facts())
    }

    /// Whether what was read of it is what would be read now.
    fn is_current(&self, believed: &Believed) -> bool {
        believed.generation == self.generation
            && believed.of_registry.as_ref().is_none_or(|of_registry| {
                let now = self.registry.client(&of_registry.id);
                now.is_some_and(|now| Arc::ptr_eq(&now, of_registry))
            })
    }

    /// Who issued it, where that is an issuer still, for the same audience.
    fn issuer_of(&self, believed: &Believed) -> Option<&Arc<Issuer>> {
        let same = |issuer: &&Arc<Issuer>| Arc::ptr_eq(issuer, &believed.issuer);
        let alike = |issuer: &&Arc<Issuer>| {
            issuer.name == believed.issuer.name
                && issuer.config.expected == believed.issuer.config.expected
        };
        self.issuers.iter().find(same).or_else(|| self.issuers.iter().find(alike))
    }

    /// Reads a token that is believed again, by what is decided now; `None` where it is to be
    /// believed anew.
    pub(crate) fn read_again(
        &self,
        kept: &Known,
        request: GrantFields,
    ) -> Option<Result<(Believed, GrantFields), Refusal>> {
        let believed = kept.token.as_ref()?;
        let issuer = self.issuer_of(believed)?;
        let said = Said {
            authorization: believed.authorization.clone(),
            claims: believed.claims.clone(),
            until: believed.until,
            by: believed.by.clone(),
        };
        Some(self.reading(issuer).read(said, request))
    }

    /// Believes a token, or says why not: the caller that it says, and its members of a grant.
    pub(crate) async fn believe(
        &self,
        text: &str,
        digest: &TokenDigest,
        request: GrantFields,
    ) -> Result<(Believed, GrantFields), Refusal> {
        let believed = self.try_believe(text, digest, request).await;
        self.count(match &believed {
            Ok((Believed { by: By::Key(_), .. }, _)) => "verified",
            Ok(_) => "introspected",
            Err(Refusal::IssuerUnreachable) => "issuer-unreachable",
            Err(_) => "refused",
        });
        believed
    }

    /// The issuer that a token says to be signed by, where its tokens are accepted. Of a token that
    /// says nothing by itself there is none.
    pub(crate) fn account_of(&self, text: &str) -> Option<Account> {
        let number = self.signed_by(text).ok()??;
        Some(Account::Issuer(self.issuers[number].name.clone()))
    }

    /// Asks again about a token that is believed. Where that fails, it stays believed.
    pub(crate) async fn believe_again(
        &self,
        kept: &Known,
        text: &str,
        digest: &TokenDigest,
        request: GrantFields,
    ) -> Result<Option<(Believed, GrantFields)>, Refusal> {
        let Some(believed) = kept.token.as_ref() else { return Ok(None) };
        let Some(issuer) = self.issuer_of(believed) else { return Ok(None) };
        if let Some(introspection) = &issuer.introspection {
            // Others that come meanwhile do not ask too.
            believed.ask_again_at(introspection.again());
        }
        match self.introspected(issuer, text, digest, request).await {
            Ok(again) => {
                self.count("introspected");
                Ok(Some(again))
            }
            Err(Refusal::IssuerUnreachable) => {
                self.count("issuer-unreachable");
                Ok(None)
            }
            Err(refusal) => {
                self.count("refused");
                self.kept.remove(digest);
                self.working.remove(&TokenDigest::of(&believed.authorization));
                Err(refusal)
            }
        }
    }

    fn reading<'a>(&'a self, issuer: &'a Arc<Issuer>) -> Reading<'a> {
        Reading {
            issuer,
            generation: self.generation,
            registry: &self.registry,
            roles: &self.roles,
            public_base: &self.public_base,
            default_budget: self.default_budget,
        }
    }

    fn read(
        &self,
        issuer: &Arc<Issuer>,
        text: &str,
        claims: Claims,
        by: By,
        request: GrantFields,
    ) -> Result<(Believed, GrantFields), Refusal> {
        let until = match claims.seconds("exp") {
            Some(expires) => expires.saturating_add(issuer.config.expected.leeway.into()),
            None => self.clock.now().as_seconds().saturating_add(WITHOUT_EXPIRY),
        };
        let until = Instant::from_micros(until.saturating_mul(1_000_000));
        let identity = claims.text("jti").map_or(TokenIdentity::Text(text), TokenIdentity::Jti);
        let authorization = token_authorization(&issuer.name, identity);
        let said = Said { authorization, claims: Arc::new(claims), until, by };
        let (believed, fields) = self.reading(issuer).read(said, request)?;
        if self.registry.is_revoked(&believed.facts()) {
            return Err(Refusal::TokenInvalid(NotBelieved::Revoked));
        }
        Ok((believed, fields))
    }

    fn count(&self, result: &str) {
        self.checks.with_label_values(&[result]).inc();
    }
}
