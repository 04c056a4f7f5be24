//! Callers by token: what is kept of one is used, and what is not is made of what its issuer says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Callers, Known, blank};
use crate::errors::Refusal;
use crate::tokens::{Found, TokenDigest};

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
}
