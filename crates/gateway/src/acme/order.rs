//! One account at an authority, and orders of certificates.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::Request;
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, HttpClient,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, KeyPair};

use super::challenges::Challenges;
use super::files::{self, Held};
use super::{Acme, AcmeChallenge, AcmeError};
use crate::fetch::Fetcher;

/// The longest answer of an authority.
const LONGEST_ANSWER: usize = 256 * 1024;
/// How long an authority may take to find names proven, and to issue.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().timeout(std::time::Duration::from_secs(120)).backoff(1.5);

/// An account, ready to order.
pub(super) struct Client(Account);

/// Asks an authority.
struct Asking(Fetcher);

impl HttpClient for Asking {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let fetcher = self.0.clone();
        Box::pin(async move {
            let answered = fetcher.send(request, LONGEST_ANSWER).await;
            let answer = answered.map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            let (parts, body) = answer.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

/// Shows nothing any more once an order ends, however it does.
struct Shown<'a>(&'a Challenges);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Client {
    /// The account that is kept, or a new one.
    pub(super) async fn open(acme: &Acme) -> Result<Self, AcmeError> {
        let http = Box::new(Asking(Fetcher::new(acme.authority_file.as_deref())?));
        let builder = Account::builder_with_http(http);
        if let Some(credentials) = files::read_account(acme)? {
            return Ok(Self(builder.from_credentials(credentials).await?));
        }
        let contacts: Vec<&str> = acme.contacts.iter().map(String::as_str).collect();
        let account = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) =
            builder.create(&account, acme.directory.as_str().to_owned(), None).await?;
        files::write_account(acme, credentials)?;
        Ok(Self(account))
    }

    /// When a certificate is to be renewed, in seconds since 1970: within the window that its
    /// authority suggests (RFC 9773), where it suggests one, and never later than without.
    pub(super) async fn renew_at(&self, held: &Held) -> i64 {
        let latest = held.renew_at();
        let Some(identifier) = held.identifier() else { return latest };
        match self.0.renewal_info(identifier).await {
            Ok((info, _)) => {
                let window = info.suggested_window;
                let (start, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
                // Not all at once: each certificate has a place of its own in the window.
                let place = crate::upstreams::hash(identifier.serial.as_bytes()) % 1000;
                let place = i64::try_from(place).unwrap_or(0);
                let at = start.saturating_add(end.saturating_sub(start).max(0) / 1000 * place);
                at.min(latest)
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the authority does not say when to renew");
                latest
            }
        }
    }

    /// Orders a certificate: its chain and its key, in PEM.
    pub(super) async fn order(
        &self,
        acme: &Acme,
        replaced: Option<&Held>,
        challenges: &Challenges,
    ) -> Result<String, AcmeError> {
        let names: Vec<_> = acme.names.iter().cloned().map(Identifier::Dns).collect();
        let new = NewOrder::new(&names);
        let mut order = match replaced.and_then(Held::identifier) {
            // An authority may not take that it replaces one, and issues it all the same.
            Some(one) => match self.0.new_order(&NewOrder::new(&names).replaces(one.clone())).await
            {
                Ok(order) => order,
                Err(_) => self.0.new_order(&new).await?,
            },
            None => self.0.new_order(&new).await?,
        };
        let _shown = Shown(challenges);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => return Err(AcmeError::NotProven(name)),
            }
            let (kind, word) = match acme.challenge {
                AcmeChallenge::Http01 => (ChallengeType::Http01, "http-01"),
                AcmeChallenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            };
            let challenge = authorization.challenge(kind);
            let mut challenge = challenge.ok_or(AcmeError::NoSuchChallenge(word, name.clone()))?;
            let proof = challenge.key_authorization();
            match acme.challenge {
                AcmeChallenge::Http01 => challenges.show_text(&challenge.token, proof.as_str()),
                AcmeChallenge::TlsAlpn01 => challenges
                    .show_certificate(&name, proof.digest().as_ref())
                    .map_err(AcmeError::Request)?,
            }
            challenge.set_ready().await?;
        }
        if order.poll_ready(&PATIENCE).await? != OrderStatus::Ready {
            return Err(AcmeError::NotProven(acme.names.join(" ")));
        }
        let key = KeyPair::generate().map_err(AcmeError::Request)?;
        let wanted = CertificateParams::new(acme.names.clone()).map_err(AcmeError::Request)?;
        let request = wanted.serialize_request(&key).map_err(AcmeError::Request)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        Ok(format!("{}\n{}", chain.trim_end(), key.serialize_pem()))
    }
}
