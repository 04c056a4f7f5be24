//! `hearthgate validate`: says what is wrong with files of FHIR resources, by R4 and by the
//! profiles of packages. It needs no server, no configuration and no network.
//!
//! Files are read as a stream, some resources at a time, so that memory does not grow with them;
//! several threads validate, and what they find is told in the order of the files. A file that is
//! broken is told like anything else that is wrong, and ends nothing. What validation asks is in
//! `fhir-validation`; packages are given, never fetched.

mod check;
mod inputs;
mod packages;
mod reading;
mod report;
mod work;

use std::io;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use contract::Clock;
use fhir_schema::SchemaError;
use fhir_validation::Depth;

use crate::doors::SystemClock;
use crate::progress::Progress;
use check::Checker;
use inputs::Inputs;
use packages::Packages;
use report::Report;

/// What to validate, and against what.
#[derive(Debug, Clone, clap::Args)]
pub struct Validate {
    /// Files or folders (with what is below them) of .json, .xml, .ndjson, each also as .zst or
    /// .gz; - is the standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A FHIR package: its archive, its unpacked folder, or a folder of packages; give several to
    /// give what they depend on
    #[arg(long = "package", value_name = "FILE.tgz|DIR")]
    pub packages: Vec<PathBuf>,
    /// A profile that each resource of its type must meet, besides those it claims
    #[arg(long = "profile", value_name = "CANONICAL")]
    pub profiles: Vec<String>,
    /// How much is asked; each has those before it
    #[arg(long, value_enum, default_value_t = DepthName::Terminology)]
    pub depth: DepthName,
    /// How what is found is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What makes the exit status 1
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,
    /// Write only what makes the exit status 1: no counts, notes or progress
    #[arg(long)]
    pub quiet: bool,
    /// Threads that validate; as many as there are processors if not given
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroU16>,
}

/// How much is asked, by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DepthName {
    /// Elements, types, cardinalities
    Base,
    /// The types' invariants
    Invariants,
    /// Profiles and known extensions
    Profiles,
    /// Bindings to value sets
    Terminology,
}

impl From<DepthName> for Depth {
    fn from(name: DepthName) -> Self {
        match name {
            DepthName::Base => Self::Base,
            DepthName::Invariants => Self::Invariants,
            DepthName::Profiles => Self::Profiles,
            DepthName::Terminology => Self::Terminology,
        }
    }
}

/// How what is found is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Rows for people; of many that are alike the first, and how many there are
    Text,
    /// One JSON object with everything
    Json,
    /// One OperationOutcome a line for each resource
    Outcome,
}

/// What makes the exit status 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Errors
    Error,
    /// Warnings as well
    Warning,
}

/// Why nothing could be validated, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// A file or folder that was named.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Nothing in a folder looks like FHIR.
    #[error(
        "there is no .json, .xml or .ndjson file in {}; name one, or another folder",
        path.display()
    )]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// A package that is none, or a dangerous one.
    #[error("cannot use the package {}", path.display())]
    Package {
        /// The archive or folder.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<SchemaError>,
    },
    /// A folder without a package in it.
    #[error(
        "there is no package in {}; name a .tgz, a folder with package.json in it, or a folder of \
         such",
        path.display()
    )]
    NoPackage {
        /// The folder.
        path: PathBuf,
    },
    /// Packages that do not go together.
    #[error("the packages cannot be used together")]
    Packages(#[source] Box<SchemaError>),
    /// A profile that nothing defines.
    #[error("no definition has the canonical {canonical}; {mend}")]
    UnknownProfile {
        /// The canonical that was asked for.
        canonical: String,
        /// What to do, as the rest of a sentence.
        mend: String,
    },
    /// A thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A thread that ended before its work did.
    #[error("validating broke off; this is a fault of the program")]
    Broken,
    /// What was found could not be written.
    #[error("cannot write what was found")]
    Print(#[source] io::Error),
}

impl Validate {
    /// Validates everything, writes what is found, and says whether nothing makes the exit status
    /// 1.
    ///
    /// # Errors
    /// [`ValidateError`] when it could not begin, or ended early.
    pub fn run(&self) -> Result<bool, ValidateError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let inputs = Inputs::find(&self.paths)?;
        let packages = Packages::load(&self.packages)?;
        if !self.quiet {
            for note in packages.notes() {
                report::note(note);
            }
        }
        let checker = Checker::new(packages, &self.profiles, self.depth.into(), clock.now())?;
        let progress = match self.quiet {
            true => Progress::hidden(),
            false => Progress::show(inputs.bytes(), Arc::clone(&clock)),
        };
        let jobs = self.jobs.map_or_else(work::processors, |jobs| usize::from(jobs.get()));
        let mut report = Report::new(io::stdout().lock(), self.format, self.fail_on, self.quiet);
        report.begin().map_err(ValidateError::Print)?;
        let mut done = 0;
        work::run(&inputs, &checker, jobs, &progress, &mut |checked| {
            let added = match checked.issues.is_empty() {
                true => report.add(&checked),
                false => progress.aside(|| report.add(&checked)),
            };
            added.map_err(ValidateError::Print)?;
            done += 1;
            progress.resources(done);
            Ok(())
        })?;
        progress.clear();
        if !self.quiet {
            for note in checker.notes() {
                report::note(&note);
            }
        }
        report.finish(inputs.skipped()).map_err(ValidateError::Print)
    }
}
