//! The developer's commands, run as `cargo xtask`.

mod bench;
mod conformance;
mod definitions;
mod dictionaries;
mod elements;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As in the product's binary: what is measured here is measured with its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Compile which elements the published FHIR versions have into the file that `fhir-schema`
    /// builds in.
    Elements(elements::Elements),
    /// Train the compression dictionaries that `database` builds in, or measure them.
    Dictionaries(dictionaries::Dictionaries),
    /// Do for long what the black-box tests do for seconds.
    #[command(subcommand)]
    Soak(soak::Soak),
    /// Run official suites and say where we differ, and why.
    #[command(subcommand)]
    Conformance(conformance::Conformance),
    /// Measure the product against peers that do the least that could do, started beside it.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse().command {
        Command::Definitions(command) => command.run(),
        Command::Elements(command) => command.run(),
        Command::Dictionaries(command) => command.run(),
        Command::Soak(command) => command.run(),
        Command::Conformance(command) => command.run(),
        Command::Bench(command) => command.run(),
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
#[expect(clippy::print_stderr, reason = "this is a command line program speaking to its user")]
fn report(error: &dyn std::error::Error) {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    eprintln!("error: {line}");
}
