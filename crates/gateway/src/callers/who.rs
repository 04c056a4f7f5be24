//! Whoever sent a request, and what is the same for every request of theirs.

use std::sync::Arc;

use http::HeaderValue;
use registry::{Caller, Client, KeyId};

use crate::grant_template::GrantTemplate;
use crate::limiter::{Bucket, Rate};
use crate::tokens::Believed;

/// Whoever sent a request.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// A client of the registry.
    Client(Arc<Known>),
    /// Nobody who says so.
    Public(Arc<Known>),
}

/// What is the same for every request of a caller.
#[derive(Debug)]
pub(crate) struct Known {
    /// The client it was made from; another one means it is out of date.
    pub(super) client: Option<Arc<Client>>,
    pub(crate) template: GrantTemplate,
    pub(super) limit: Option<Limit>,
    /// The pseudonym of whom it asks for.
    pub(super) subject: Option<Box<str>>,
    /// The token that says who it is, where no key does.
    pub(crate) token: Option<Believed>,
}

/// A limit with its bucket and what the answers say about it.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub(super) rate: Rate,
    pub(super) bucket: Arc<Bucket>,
    pub(super) policy: HeaderValue,
}

/// What a limited answer says about the limit.
#[derive(Debug, Clone)]
pub(crate) struct LimitState {
    pub(crate) policy: HeaderValue,
    pub(crate) state: HeaderValue,
}

impl Who {
    pub(crate) fn known(&self) -> &Known {
        match self {
            Self::Client(known) | Self::Public(known) => known,
        }
    }

    /// The client's id, for the log.
    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Client(known) => known.client.as_ref().map(|client| client.id.as_str()),
            Self::Public(_) => None,
        }
    }

    /// The pseudonym of whom it asks for, for the log.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.known().subject.as_deref()
    }

    /// The token that says who it is, where one does.
    pub(crate) fn token(&self) -> Option<&Believed> {
        self.known().token.as_ref()
    }

    pub(crate) fn is_public(&self) -> bool {
        matches!(self, Self::Public(_))
    }

    /// The client, where there is one.
    pub(crate) fn client(&self) -> Option<&Arc<Client>> {
        self.known().client.as_ref()
    }

    /// The client and its key, as the registry knows them.
    pub(crate) fn caller(&self) -> Option<Caller> {
        let client = self.client()?.clone();
        let authorization = self.known().template.grant().authorization.clone()?;
        let key = KeyId::from_authorization(&authorization)?;
        Some(Caller { client, key, authorization })
    }

    /// Whether the limit that counts is the client's own.
    pub(crate) fn has_own_limit(&self) -> bool {
        self.client().is_some_and(|client| client.limit.is_some())
    }
}
