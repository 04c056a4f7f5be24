//! `hearthgate tokens revoke`: ends tokens of issuers before they expire.

use std::sync::Arc;

use crate::control::{Answer, Request, Tokens};
use crate::data_directory::WhichRegistry;
use crate::keys::{self, KeysError};

/// What can be done with tokens of issuers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokensCommand {
    /// Revoke a token by its id, or all of a client or a user that were issued up to now
    Revoke(Revoke),
}

/// Which tokens are revoked.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    registry: WhichRegistry,
    #[command(flatten)]
    which: Which,
    /// The issuer's name in the configuration, with --jti and --subject
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The token's jti
    #[arg(long, value_name = "ID", requires = "issuer", allow_hyphen_values = true)]
    jti: Option<String>,
    /// The token's authorization id, as `denials show` has it: token:...
    #[arg(long, value_name = "ID")]
    authorization: Option<String>,
    /// The client, as the access log names it
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    client: Option<String>,
    /// The user's subject at the issuer
    #[arg(long, value_name = "SUB", requires = "issuer", allow_hyphen_values = true)]
    subject: Option<String>,
}

impl TokensCommand {
    /// Carries it out; what to print.
    pub(crate) async fn run(self) -> Result<String, KeysError> {
        let Self::Revoke(revoke) = self;
        let Which { jti, authorization, client, subject } = revoke.which;
        let issuer = revoke.issuer.unwrap_or_default();
        let tokens = match (jti, authorization, client, subject) {
            (Some(jti), ..) => Tokens::Jti { issuer, jti },
            (_, Some(id), ..) => Tokens::Authorization(id),
            (_, _, Some(id), _) => Tokens::Client(id),
            (.., subject) => Tokens::User(format!("{issuer}/{}", subject.unwrap_or_default())),
        };
        let request = Request::RevokeTokens(tokens);
        let WhichRegistry { data, config } = &revoke.registry;
        let (none, config) = (Arc::default(), config.as_deref());
        match keys::run_with(&data.path, config, request, none, Arc::default()).await? {
            Answer::Revoked => Ok("Revoked: refused from now on.\n".to_owned()),
            other => Err(KeysError::Refused(format!(
                "the running process answered something else ({other:?}); use its own release of \
                 this command"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: TokensCommand,
    }

    // Issuers make ids of base64url, which has the hyphen in it.
    #[test]
    fn what_issuers_name_may_begin_with_a_hyphen() {
        for name in ["--jti", "--subject", "--client"] {
            let line = ["tokens", "revoke", "--issuer", "hospital", name, "-Ph1e_Fl8"];
            let TokensCommand::Revoke(revoke) = Line::try_parse_from(line).unwrap().command;
            let Which { jti, client, subject, .. } = revoke.which;
            assert_eq!(jti.or(client).or(subject).as_deref(), Some("-Ph1e_Fl8"), "{name}");
        }
    }
}
