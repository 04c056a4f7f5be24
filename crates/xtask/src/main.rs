//! The developer's commands, run as `cargo xtask`.

mod definitions;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The developer's commands of Hearthgate.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile a FHIR core package into the file that `fhir-schema` builds in.
    Definitions(definitions::Definitions),
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse().command {
        Command::Definitions(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

/// The error and what caused it, on one line.
#[expect(
    clippy::print_stderr,
    reason = "this is a command line program speaking to its user"
)]
fn report(error: &dyn std::error::Error) {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    eprintln!("error: {line}");
}
