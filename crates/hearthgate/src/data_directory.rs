//! The argument that names the data directory, for commands that read no configuration for it.

use std::path::PathBuf;

use clap::Args;

/// Which registry a command is for.
#[derive(Debug, Args)]
pub(crate) struct WhichRegistry {
    #[command(flatten)]
    pub(crate) data: DataDirectory,
    /// The configuration file, where the registry is in PostgreSQL and no gateway runs here
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Which data directory.
#[derive(Debug, Args)]
pub(crate) struct DataDirectory {
    /// The data directory
    #[arg(long = "data", value_name = "DIR", default_value = "./data")]
    pub(crate) path: PathBuf,
}
