//! Callers by token: what is kept of one is used, and what is not is made of what its issuer says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Callers, Known, blank};
use crate::errors::Refusal;
use crate::network::network;
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
                // Asking costs the issuer something: not for whoever only guesses.
                let empty_for = self.failures.empty_for(&network(address), now);
                if let Some(retry_after) = empty_for.filter(|_| tokens.asks_about(text)) {
                    return Err(Refusal::TooManyFailedAuthentications { retry_after });
                }
                tokens.believe(text, &digest, request()).await?
            }
        };
        let client = believed.client.clone();
        let known = Arc::new(self.known_with(client, fields, Some(believed), now)?);
        tokens.keep(digest, known.clone());
        Ok(known)
    }
}
