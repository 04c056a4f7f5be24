//! `hearthgate limits` and `hearthgate clients`: how a client's limits stand, and which plan it has.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use gateway::LimitsShown;

use crate::command::{CommandError, columns};
use crate::config::{self, Config};
use crate::control::{Answer, Request};
use crate::data_directory::DataDirectory;
use crate::keys;

/// Whose limits, and what of them.
#[derive(Debug, Subcommand)]
pub enum LimitsCommand {
    /// How much a client may still ask
    Show(ShowLimits),
}

/// `hearthgate limits show`.
#[derive(Debug, Args)]
pub struct ShowLimits {
    #[command(flatten)]
    data: DataDirectory,
    /// The client's id
    client: String,
}

/// What is done with clients.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Give a client a plan: how much it may ask
    SetPlan(SetPlan),
    /// Grant nothing of a client any more, whatever it comes with
    Disable(OneClient),
    /// Grant a disabled client again what it could before
    Enable(OneClient),
}

/// `hearthgate clients disable` and `enable`.
#[derive(Debug, Args)]
pub struct OneClient {
    #[command(flatten)]
    data: DataDirectory,
    /// The client's id
    client: String,
}

/// `hearthgate clients set-plan`.
#[derive(Debug, Args)]
pub struct SetPlan {
    #[command(flatten)]
    data: DataDirectory,
    /// The client's id
    client: String,
    /// The plan, a section [plans.NAME] of the configuration
    #[arg(required_unless_present = "none", conflicts_with = "none")]
    plan: Option<String>,
    /// Take the client's own plan away: its role's or the default one holds then
    #[arg(long)]
    none: bool,
    /// The configuration that defines the plan, or where the registry is, where no gateway runs
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl LimitsCommand {
    /// Carries it out, and says what to print.
    ///
    /// # Errors
    /// [`CommandError`], to be said in one line.
    pub async fn run(self) -> Result<String, CommandError> {
        let Self::Show(asked) = self;
        let request = Request::ShowLimits(asked.client.clone());
        match keys::run(&asked.data.path, request, Arc::default(), Arc::default()).await? {
            Answer::Limits(shown) => Ok(in_words(&asked.client, &shown)),
            other => Err(keys::unexpected(&other).into()),
        }
    }
}

impl ClientsCommand {
    /// Carries it out, and says what to print.
    ///
    /// # Errors
    /// [`CommandError`], to be said in one line.
    pub async fn run(self) -> Result<String, CommandError> {
        let (OneClient { data, client }, request, says): (_, fn(String) -> Request, _) = match self
        {
            Self::SetPlan(asked) => return asked.run().await,
            Self::Disable(one) => (one, Request::DisableClient, "is disabled"),
            Self::Enable(one) => (one, Request::EnableClient, "is not disabled any more"),
        };
        let request = request(client.clone());
        match keys::run(&data.path, request, Arc::default(), Arc::default()).await? {
            Answer::ClientSet => Ok(format!("The client {client} {says}.\n")),
            other => Err(keys::unexpected(&other).into()),
        }
    }
}

impl SetPlan {
    async fn run(self) -> Result<String, CommandError> {
        let asked = self;
        let file = asked.config.as_deref();
        let flags = config::Flags { config: asked.config.clone(), ..config::Flags::default() };
        let plans = Arc::new(Config::resolve(&flags)?.plans());
        let (client, plan) = (asked.client, asked.plan);
        let request = Request::SetPlan { client: client.clone(), plan: plan.clone() };
        match keys::run_with(&asked.data.path, file, request, Arc::default(), plans).await? {
            Answer::PlanSet => Ok(match plan {
                Some(plan) => format!("The client {client} has the plan {plan} from now on.\n"),
                None => format!("The client {client} has no plan of its own any more.\n"),
            }),
            other => Err(keys::unexpected(&other).into()),
        }
    }
}

fn in_words(client: &str, shown: &LimitsShown) -> String {
    let mut text = match &shown.plan {
        Some(plan) => format!("Client {client}, plan {plan}.\n"),
        None => format!("Client {client} has no plan: only what `[gateway]` says limits it.\n"),
    };
    // A String takes every text.
    if let Some(unknown) = &shown.unknown_plan {
        let _ = writeln!(
            text,
            "Its own plan is {unknown}, which the configuration does not define; define it, or give it another."
        );
    }
    let counted = match shown.counting.as_str() {
        "shared" => "Counted together with the other gateways.\n",
        "local-shares" => {
            "Counted by this gateway's share alone: the store of shared counters does not answer.\n"
        }
        _ => "",
    };
    text.push_str(counted);
    let rows: Vec<[String; 4]> = shown
        .limits
        .iter()
        .map(|limit| {
            let number =
                |number: Option<u64>| number.map_or_else(|| "all".to_owned(), |n| n.to_string());
            let seconds = limit.seconds.map_or_else(String::new, |seconds| format!("{seconds} s"));
            [number(limit.remaining), seconds, limit.limit.clone(), limit.of.clone()]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&columns(&["LEFT", "MORE IN", "LIMIT", "OF"], &rows));
    }
    text
}
