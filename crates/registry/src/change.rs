//! What can change: the JSON in each frame of the log.
//!
//! A kind of change or a field that this release does not know is an error, never skipped: the
//! state rebuilt without it could let someone in.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::break_glass::NewBreakGlass;
use crate::client::{ClientId, NewClient, is_plain_text};
use crate::key::{KeyId, SecretHash};
use crate::operator::{Kept, NewOperator, OperatorName};
use crate::plan::PlanName;
use crate::put_clients::{self, PutClient};
use crate::tokens::WhichTokens;

/// One change of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", deny_unknown_fields, rename_all = "camelCase")]
pub(crate) enum Change {
    /// The owner's client and key, together: a crash leaves both or none.
    FirstStart {
        client: NewClient,
        key: NewKey,
    },
    CreateClient {
        client: NewClient,
    },
    CreateKey {
        key: NewKey,
    },
    RevokeKey {
        key: KeyId,
        client: ClientId,
    },
    /// The registry came out of a backup: of what was revoked since, it knows nothing, so every
    /// key of it stands still until it is confirmed.
    SuspendKeys {},
    /// A key that stood still is good again.
    ConfirmKey {
        key: KeyId,
        client: ClientId,
    },
    /// A key takes the place of another of its client, which is good for some hours more.
    RotateKey {
        key: NewKey,
        old: KeyId,
        hours: u32,
    },
    /// Tokens of issuers are believed no more.
    RevokeTokens {
        tokens: WhichTokens,
    },
    /// How much a client may ask: as this plan says, or as its role's or the default one.
    SetPlan {
        client: ClientId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<PlanName>,
    },
    /// Clients as somebody keeps them in files, all in one: a crash leaves all of it or nothing.
    PutClients {
        /// Made where there is none of that id, else put in its place.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        put: Vec<PutClient>,
        /// Nothing of these is granted any more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        disable: Vec<ClientId>,
    },
    /// Nothing of a client is granted any more, whatever it comes with.
    DisableClient {
        client: ClientId,
    },
    /// A disabled client may what it could before.
    EnableClient {
        client: ClientId,
    },
    /// Somebody may use the admin API.
    CreateOperator {
        operator: NewOperator,
    },
    /// An operator is known by another credential, and not by the one of before.
    RotateOperator {
        operator: OperatorName,
        credential: Kept,
    },
    /// An operator is none any more.
    RevokeOperator {
        operator: OperatorName,
    },
    /// An operator that stood still is good again.
    ConfirmOperator {
        operator: OperatorName,
    },
    /// A client took wider rights for some minutes.
    BreakGlass {
        taken: NewBreakGlass,
    },
}

/// A key to be made, with what is kept of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NewKey {
    pub(crate) id: KeyId,
    pub(crate) client: ClientId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) label: String,
    pub(crate) hash: SecretHash,
}

/// Who made a change, as the audit names them: 1 to 200 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    text: String,
    /// The change that theirs has to follow at once, where they say so.
    follows: Option<u64>,
}

/// The text names no actor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an actor has 1 to 200 bytes without control characters")]
pub struct InvalidActor;

impl Actor {
    /// Reads an actor.
    ///
    /// # Errors
    /// [`InvalidActor`] when the text is empty, too long, or has control characters.
    pub fn new(text: &str) -> Result<Self, InvalidActor> {
        if is_plain_text(text) { Ok(Self::of(text.to_owned())) } else { Err(InvalidActor) }
    }

    /// The account on this machine that gave the command.
    #[must_use]
    pub fn local_user(uid: u32) -> Self {
        Self::of(format!("uid {uid}"))
    }

    /// The program itself at its first start.
    #[must_use]
    pub fn first_start() -> Self {
        Self::of("first start".to_owned())
    }

    /// An operator, by the admin API.
    #[must_use]
    pub fn operator(name: &OperatorName) -> Self {
        Self::of(format!("operator {name}"))
    }

    /// Whoever holds the key.
    #[must_use]
    pub fn key(key: &KeyId) -> Self {
        Self::of(key.authorization())
    }

    /// The same, who changes something only as long as the registry's last change is the one of
    /// this number: somebody looked at what stood after it.
    #[must_use]
    pub fn only_after(self, sequence: u64) -> Self {
        Self { follows: Some(sequence), ..self }
    }

    /// The change that theirs has to follow at once.
    pub(crate) fn follows(&self) -> Option<u64> {
        self.follows
    }

    fn of(text: String) -> Self {
        Self { text, follows: None }
    }

    /// The actor as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// What a change is about: by this the audit is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A client, its keys included.
    Client(ClientId),
    /// A key.
    Key(KeyId),
    /// Wider rights that were taken, whoever took them.
    BreakGlass,
}

impl Change {
    /// Whom the change is about.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        match self {
            Self::FirstStart { client, key } => {
                vec![Subject::Client(client.id.clone()), Subject::Key(key.id.clone())]
            }
            Self::CreateClient { client } => vec![Subject::Client(client.id.clone())],
            Self::CreateKey { key } => {
                vec![Subject::Client(key.client.clone()), Subject::Key(key.id.clone())]
            }
            Self::RotateKey { key, old, .. } => vec![
                Subject::Client(key.client.clone()),
                Subject::Key(key.id.clone()),
                Subject::Key(old.clone()),
            ],
            Self::RevokeTokens { tokens: WhichTokens::Client(id) } => {
                ClientId::new(id).map(Subject::Client).into_iter().collect()
            }
            Self::SetPlan { client, .. }
            | Self::DisableClient { client }
            | Self::EnableClient { client } => vec![Subject::Client(client.clone())],
            Self::PutClients { put, disable } => {
                let put = put.iter().map(|put| &put.client.id);
                put.chain(disable).cloned().map(Subject::Client).collect()
            }
            Self::SuspendKeys {}
            | Self::RevokeTokens { .. }
            | Self::CreateOperator { .. }
            | Self::RotateOperator { .. }
            | Self::RevokeOperator { .. }
            | Self::ConfirmOperator { .. } => Vec::new(),
            Self::BreakGlass { taken } => vec![
                Subject::Client(taken.client.clone()),
                Subject::Key(taken.key.clone()),
                Subject::BreakGlass,
            ],
            Self::RevokeKey { key, client } | Self::ConfirmKey { key, client } => {
                vec![Subject::Client(client.clone()), Subject::Key(key.clone())]
            }
        }
    }
}

/// The change in one line, for the audit.
impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStart { client, key } => {
                write!(formatter, "first start: client {} and its key {}", client.id, key.id)
            }
            Self::CreateClient { client } => write!(formatter, "create client {}", client.id),
            Self::CreateKey { key } => {
                write!(formatter, "create key {} for client {}", key.id, key.client)
            }
            Self::RevokeKey { key, client } => {
                write!(formatter, "revoke key {key} of client {client}")
            }
            Self::RotateKey { key, old, hours } => write!(
                formatter,
                "create key {} for client {} in place of {old}, which is good for {hours} h more",
                key.id, key.client
            ),
            Self::RevokeTokens { tokens } => tokens.fmt(formatter),
            Self::SuspendKeys {} => formatter.write_str("suspend every key, after a restore"),
            Self::SetPlan { client, plan: Some(plan) } => {
                write!(formatter, "give client {client} the plan {plan}")
            }
            Self::SetPlan { client, plan: None } => {
                write!(formatter, "take the client {client}'s plan away")
            }
            Self::PutClients { put, disable } => put_clients::told(put, disable, formatter),
            Self::DisableClient { client } => write!(formatter, "disable client {client}"),
            Self::EnableClient { client } => write!(formatter, "enable client {client}"),
            Self::CreateOperator { operator } => {
                write!(formatter, "create operator {}, {}", operator.name, operator.role)
            }
            Self::RotateOperator { operator, .. } => {
                write!(formatter, "give operator {operator} another credential")
            }
            Self::RevokeOperator { operator } => write!(formatter, "revoke operator {operator}"),
            Self::ConfirmOperator { operator } => write!(formatter, "confirm operator {operator}"),
            Self::BreakGlass { taken } => taken.fmt(formatter),
            Self::ConfirmKey { key, client } => {
                write!(formatter, "confirm key {key} of client {client}")
            }
        }
    }
}
