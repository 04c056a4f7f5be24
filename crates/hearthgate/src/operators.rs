//! `hearthgate operators`: who may use the admin API.

use std::sync::Arc;

use clap::{Args, Subcommand};
use registry::{
    Actor, CertificateDigest, ChangeError, Credential, DrawnToken, InvalidCertificateDigest,
    InvalidOperatorName, KnownBy, Operator, OperatorName, OperatorRole, Registry,
};
use serde::{Deserialize, Serialize};

use crate::command::{CommandError, columns, seconds};
use crate::control::{Answer, Request};
use crate::data_directory::DataDirectory;
use crate::keys;

/// What is done with operators.
#[derive(Debug, Subcommand)]
pub enum OperatorsCommand {
    /// Make an operator; its token is shown once
    Create(Create),
    /// List the operators; never their tokens
    List(ListOperators),
    /// Revoke an operator, for good
    Revoke(Named),
    /// Give an operator another credential; the one of before is worth nothing
    Rotate(Rotate),
    /// Make an operator good again that a restore made stand still
    Confirm(Named),
}

/// `hearthgate operators create`.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    named: Named,
    /// What it may do
    #[arg(long, value_name = "ROLE")]
    role: RoleWord,
    #[command(flatten)]
    shown: Shown,
}

/// `hearthgate operators rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    shown: Shown,
}

/// `hearthgate operators list`.
#[derive(Debug, Args)]
pub struct ListOperators {
    #[command(flatten)]
    data: DataDirectory,
}

/// An operator of a data directory.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    data: DataDirectory,
    /// The operator's name
    name: String,
}

#[derive(Debug, Args)]
struct Shown {
    /// Know it by the certificate of this SHA-256 fingerprint, in the place of a token
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "print_token")]
    certificate: Option<String>,
    /// Print the token alone on the last line of stdout, for scripts
    #[arg(long)]
    print_token: bool,
}

/// A role by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleWord {
    /// See how things stand
    Viewer,
    /// Change clients, keys, plans and revocations too
    Operator,
    /// Everything: operators and the configuration too
    Administrator,
}

/// What is asked about operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum OperatorRequest {
    /// List them.
    List,
    /// Make one.
    Create {
        /// Its name.
        name: String,
        /// What it may do.
        role: OperatorRole,
        /// The fingerprint of its certificate; a token is drawn where there is none.
        certificate: Option<String>,
    },
    /// Give one another credential.
    Rotate {
        /// Its name.
        name: String,
        /// As at [`Self::Create`].
        certificate: Option<String>,
    },
    /// Revoke the one of this name.
    Revoke(String),
    /// Confirm the one of this name, which a restore suspended.
    Confirm(String),
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OperatorAnswer {
    /// The operators, by name.
    Listed(Vec<ListedOperator>),
    /// The credential is in force; the token's text, where there is one, is in this answer alone.
    Credential(Option<String>),
    /// It is done.
    Done,
}

/// An operator in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedOperator {
    name: String,
    role: String,
    known_by: String,
    created: String,
    revoked: Option<String>,
    suspended: Option<String>,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorRefusal {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidOperatorName),
    /// The fingerprint is none.
    #[error(transparent)]
    Certificate(#[from] InvalidCertificateDigest),
    /// The registry refuses.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// What a command prints.
#[derive(Debug)]
pub struct OperatorOutput {
    pub(crate) note: String,
    pub(crate) token: Option<String>,
    /// The token alone is for stdout.
    pub(crate) alone: bool,
}

/// Does what is asked about operators.
///
/// # Errors
/// [`OperatorRefusal`]; nothing has changed then, unless a change could not be made durable.
pub(crate) fn execute(
    registry: &Registry,
    request: OperatorRequest,
    by: &Actor,
) -> Result<OperatorAnswer, OperatorRefusal> {
    let text = |drawn: Option<DrawnToken>| drawn.map(|drawn| drawn.secret.into_inner());
    Ok(match request {
        OperatorRequest::List => {
            OperatorAnswer::Listed(registry.operators().iter().map(ListedOperator::of).collect())
        }
        OperatorRequest::Create { name, role, certificate } => {
            let name = OperatorName::new(&name)?;
            let drawn = registry.create_operator(&name, role, credential(certificate)?, by)?;
            OperatorAnswer::Credential(text(drawn))
        }
        OperatorRequest::Rotate { name, certificate } => {
            let name = OperatorName::new(&name)?;
            let drawn = registry.rotate_operator(&name, credential(certificate)?, by)?;
            OperatorAnswer::Credential(text(drawn))
        }
        OperatorRequest::Revoke(name) => {
            registry.revoke_operator(&OperatorName::new(&name)?, by)?;
            OperatorAnswer::Done
        }
        OperatorRequest::Confirm(name) => {
            registry.confirm_operator(&OperatorName::new(&name)?, by)?;
            OperatorAnswer::Done
        }
    })
}

fn credential(certificate: Option<String>) -> Result<Credential, InvalidCertificateDigest> {
    match certificate {
        None => Ok(Credential::Token),
        Some(text) => text.parse::<CertificateDigest>().map(Credential::Certificate),
    }
}

impl OperatorsCommand {
    /// Carries it out, and says what to print.
    ///
    /// # Errors
    /// [`CommandError`], to be said in one line.
    pub async fn run(self) -> Result<OperatorOutput, CommandError> {
        let (data, request, name, alone) = match self {
            Self::Create(Create { named: Named { data, name }, role, shown }) => {
                let (role, certificate) = (role.role(), shown.certificate);
                let request = OperatorRequest::Create { name: name.clone(), role, certificate };
                (data, request, name, shown.print_token)
            }
            Self::Rotate(Rotate { named: Named { data, name }, shown }) => {
                let certificate = shown.certificate;
                let request = OperatorRequest::Rotate { name: name.clone(), certificate };
                (data, request, name, shown.print_token)
            }
            Self::List(ListOperators { data }) => {
                (data, OperatorRequest::List, String::new(), false)
            }
            Self::Revoke(Named { data, name }) => {
                (data, OperatorRequest::Revoke(name.clone()), format!("{name} is revoked"), false)
            }
            Self::Confirm(Named { data, name }) => (
                data,
                OperatorRequest::Confirm(name.clone()),
                format!("{name} is good again"),
                false,
            ),
        };
        let request = Request::Operators(request);
        match keys::run(&data.path, request, Arc::default(), Arc::default()).await? {
            Answer::Operators(OperatorAnswer::Listed(operators)) => {
                Ok(OperatorOutput { note: table_of(&operators), token: None, alone })
            }
            Answer::Operators(OperatorAnswer::Credential(Some(token))) => {
                let note = format!("The token of the operator {name}. It is shown this once:\n");
                Ok(OperatorOutput { note, token: Some(token), alone })
            }
            Answer::Operators(OperatorAnswer::Credential(None)) => {
                let note = format!("The operator {name} is known by that certificate.\n");
                Ok(OperatorOutput { note, token: None, alone })
            }
            Answer::Operators(OperatorAnswer::Done) => {
                Ok(OperatorOutput { note: format!("The operator {name}.\n"), token: None, alone })
            }
            other => Err(keys::unexpected(&other).into()),
        }
    }
}

impl RoleWord {
    const fn role(self) -> OperatorRole {
        match self {
            Self::Viewer => OperatorRole::Viewer,
            Self::Operator => OperatorRole::Operator,
            Self::Administrator => OperatorRole::Administrator,
        }
    }
}

impl ListedOperator {
    fn of(operator: &Operator) -> Self {
        Self {
            name: operator.name.to_string(),
            role: operator.role.to_string(),
            known_by: match &operator.known_by {
                KnownBy::Token(id) => format!("token {id}"),
                KnownBy::Certificate(own) => format!("certificate {own}"),
            },
            created: operator.created.to_string(),
            revoked: operator.revoked.map(|at| at.to_string()),
            suspended: operator.suspended.map(|at| at.to_string()),
        }
    }
}

fn table_of(operators: &[ListedOperator]) -> String {
    let state = |operator: &ListedOperator| match (&operator.revoked, &operator.suspended) {
        (Some(revoked), _) => format!("revoked {}", seconds(revoked)),
        (None, Some(since)) => format!("suspended {}", seconds(since)),
        (None, None) => "good".to_owned(),
    };
    let rows: Vec<[String; 5]> = operators
        .iter()
        .map(|operator| {
            [
                operator.name.clone(),
                operator.role.clone(),
                operator.known_by.clone(),
                seconds(&operator.created),
                state(operator),
            ]
        })
        .collect();
    columns(&["NAME", "ROLE", "KNOWN BY", "CREATED", "STATE"], &rows)
}

/// A token's text is not for a log.
impl std::fmt::Debug for OperatorAnswer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listed(operators) => write!(formatter, "Listed({})", operators.len()),
            Self::Credential(_) => formatter.write_str("Credential"),
            Self::Done => formatter.write_str("Done"),
        }
    }
}
