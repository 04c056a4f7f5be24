//! Checking a token: with the keys of the issuer that it says to be signed by, or by asking the
//! issuer that is asked about tokens that say nothing by themselves.

use std::sync::Arc;

use contract::GrantFields;
use smart::{Algorithm, Claims, KeySet, SigningKey, TokenProblem, UnverifiedToken};

use super::believed::{Believed, By, TokenText};
use super::keys::Asked;
use super::{Issuer, NotBelieved, TokenDigest, Tokens};
use crate::errors::Refusal;

impl Tokens {
    fn introspecting(&self) -> Option<usize> {
        self.issuers.iter().position(|issuer| issuer.introspection.is_some())
    }

    /// Which issuer a token says to be signed by, if by one of these.
    pub(super) fn signed_by(&self, text: &str) -> Result<Option<usize>, TokenProblem> {
        match UnverifiedToken::read(text) {
            Ok(token) => Ok(self
                .issuers
                .iter()
                .position(|issuer| token.issuer() == Some(issuer.config.expected.issuer.as_str()))),
            // What is no signed token may say nothing by itself.
            Err(TokenProblem::Malformed) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    pub(super) async fn try_believe(
        &self,
        text: &str,
        digest: &TokenDigest,
        request: GrantFields,
    ) -> Result<(Believed, GrantFields), Refusal> {
        let Some(number) = self.signed_by(text)? else {
            let Some(number) = self.introspecting() else {
                let problem = UnverifiedToken::read(text).err();
                return Err(problem.unwrap_or(TokenProblem::Issuer).into());
            };
            return self.introspected(&self.issuers[number], text, digest, request).await;
        };
        let issuer = &self.issuers[number];
        let (claims, key) = self.verified(issuer, text).await?;
        self.read(issuer, text, claims, By::Key(key), request)
    }

    /// What a signed token says, and the key that it was checked with.
    async fn verified(&self, issuer: &Issuer, text: &str) -> Result<(Claims, SigningKey), Refusal> {
        let mut keys = issuer.keys.current();
        loop {
            let problem = match &keys {
                None => TokenProblem::KeyUnknown,
                Some(known) => match self.verify(issuer, text, known).await {
                    Ok(verified) => return Ok(verified),
                    Err(problem) => problem,
                },
            };
            if problem != TokenProblem::KeyUnknown {
                return Err(problem.into());
            }
            match issuer.keys.other_than(keys.as_ref()).await {
                Asked::Changed => keys = issuer.keys.current(),
                Asked::Same => return Err(problem.into()),
                Asked::Unreachable => return Err(Refusal::IssuerUnreachable),
            }
        }
    }

    async fn verify(
        &self,
        issuer: &Issuer,
        text: &str,
        keys: &Arc<KeySet>,
    ) -> Result<(Claims, SigningKey), TokenProblem> {
        let now = self.clock.now().as_seconds();
        let token = UnverifiedToken::read(text)?;
        let key = token.key_among(keys);
        if token.algorithm() != Algorithm::Es384 {
            let claims = token.verify(keys, &issuer.config.expected, now)?;
            return Ok((claims, key.ok_or(TokenProblem::KeyUnknown)?));
        }
        // It takes a millisecond and more, which others would wait for.
        let (text, keys) = (text.to_owned(), keys.clone());
        let expected = issuer.config.expected.clone();
        let verify = move || UnverifiedToken::read(&text)?.verify(&keys, &expected, now);
        let claims = tokio::task::spawn_blocking(verify).await;
        let claims = claims.unwrap_or(Err(TokenProblem::Signature))?;
        Ok((claims, key.ok_or(TokenProblem::KeyUnknown)?))
    }

    /// What the issuer says of a token that says nothing by itself.
    pub(super) async fn introspected(
        &self,
        issuer: &Arc<Issuer>,
        text: &str,
        digest: &TokenDigest,
        request: GrantFields,
    ) -> Result<(Believed, GrantFields), Refusal> {
        let introspection = issuer.introspection.as_ref().ok_or(Refusal::Internal)?;
        let claims = introspection.ask(text, digest).await.map_err(|error| {
            tracing::warn!(
                issuer = issuer.config.name,
                error = &error as &dyn std::error::Error,
                "the issuer cannot be asked about a token"
            );
            Refusal::IssuerUnreachable
        })?;
        let claims = claims.ok_or(Refusal::TokenInvalid(NotBelieved::Inactive))?;
        let expected = &issuer.config.expected;
        // Whom it is for the issuer knows; what it says of that must be so.
        if claims.text("iss").is_some_and(|iss| iss != expected.issuer) {
            return Err(TokenProblem::Issuer.into());
        }
        let mut audiences = claims.texts("aud").peekable();
        if audiences.peek().is_some() && !audiences.any(|aud| aud == expected.audience) {
            return Err(TokenProblem::Audience.into());
        }
        drop(audiences);
        claims.check_bearer()?;
        match claims.check_time(expected.leeway, self.clock.now().as_seconds()) {
            Ok(()) | Err(TokenProblem::ExpiryMissing) => {}
            Err(problem) => return Err(problem.into()),
        }
        let due = introspection.again().as_micros().into();
        let by = By::Introspection { due, text: TokenText::new(text) };
        self.read(issuer, text, claims, by, request)
    }
}
