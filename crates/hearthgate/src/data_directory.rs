//! The argument that names the data directory, for commands that read no configuration for it.

use std::path::PathBuf;

use clap::Args;

/// Which data directory.
#[derive(Debug, Args)]
pub(crate) struct DataDirectory {
    /// The data directory
    #[arg(long = "data", value_name = "DIR", default_value = "./data")]
    pub(crate) path: PathBuf,
}
