//! Callers by token: what is kept of one is used, and what is not is made of what its issuer says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Callers, Known, blank};
use crate::errors::Refusal;
use crate::tokens::{Believed, Found, TokenDigest};

/// How long an issuer may take to answer about work that goes on: whoever does it waits.
const LONGEST_QUESTION: Duration = Duration::from_millis(1500);

impl Callers {
    /// Whom a token stands for.
    pub(super) async fn of_token(
        &self,
        text: &str,
        address: IpAddr,
        now: Duration,
    ) -> Result<Arc<Known>, Refusal> {
        let (tokens, digest) = (&self.tokens, TokenDigest::of(text));
        let request = || blank(&self.tenant, self.ids.as_ref());
        let (believed, fields) = match tokens.find(&digest) {
            Found::Good(known) => return Ok(known),
            Found::Stale(known) => match tokens.read_again(&known, request()) {
                Some(again) => again?,
                None => tokens.believe(text, &digest, request()).await?,
            },
            Found::Due(known) => {
                match tokens.believe_again(&known, text, &digest, request()).await? {
                    Some(again) => again,
                    None => return Ok(known),
                }
            }
            Found::Nothing => {
                // Looking costs, and asking the issuer costs it too: not for whoever only guesses.
                let account = tokens.account_of(text);
                let admitted = self.guard.admits(account.as_ref(), address, now);
                admitted.map_err(Refusal::TooManyFailedAuthentications)?;
                let believed = tokens.believe(text, &digest, request()).await?;
                if let Some(account) = &account {
                    self.guard.succeeded(account, address);
                }
                believed
            }
        };
        let client = believed.client.clone();
        let known = Arc::new(self.known_with(client, fields, Some(believed), now)?);
        tokens.keep(digest, known.clone());
        Ok(known)
    }

    /// The members of a grant for work that a token began, for as long as the token is believed:
    /// what follows from it now, also after a reload, and where its issuer is to be asked about it
    /// again, what that says.
    pub(crate) async fn renewed_token(
        &self,
        authorization: &str,
        now: Duration,
    ) -> Option<Arc<Known>> {
        let tokens = &self.tokens;
        let request = || blank(&self.tenant, self.ids.as_ref());
        let (kept, (believed, fields)) = match tokens.standing(authorization) {
            Found::Nothing => return None,
            Found::Good(known) => return Some(known),
            Found::Stale(known) => {
                let again = tokens.read_again(&known, request())?.ok()?;
                (known, again)
            }
            Found::Due(known) => {
                let text = known.token.as_ref().and_then(Believed::text)?.clone();
                let digest = TokenDigest::of(text.expose());
                let asking = tokens.believe_again(&known, text.expose(), &digest, request());
                match tokio::time::timeout(LONGEST_QUESTION, asking).await {
                    Ok(Ok(Some(again))) => (known, again),
                    // Nobody answers: what was believed stays so.
                    Ok(Ok(None)) | Err(_) => return Some(known),
                    Ok(Err(_)) => return None,
                }
            }
        };
        let text = kept.token.as_ref().and_then(Believed::text).cloned();
        let client = believed.client.clone();
        let known = Arc::new(self.known_with(client, fields, Some(believed), now).ok()?);
        match text {
            Some(text) => tokens.keep(TokenDigest::of(text.expose()), known.clone()),
            // Of a signed one its text is not known here; its sender brings it.
            None => tokens.keep_working(known.clone()),
        }
        Some(known)
    }
}
