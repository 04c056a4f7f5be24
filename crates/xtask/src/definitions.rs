//! `cargo xtask definitions`: from a FHIR core package to the file that `fhir-schema` builds in.
//! docs/definitions.md says where to get the package.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

mod terminology;

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{Schema, compile, compiled};

/// The arguments of the command.
#[derive(clap::Args)]
pub(crate) struct Definitions {
    /// The package: a .tgz file, such as hl7.fhir.r4.core.tgz.
    #[arg(long, value_name = "FILE")]
    package: PathBuf,
    /// Where the compiled definitions go [default: the file that fhir-schema builds in].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Definitions {
    /// Compiles, writes, and says what is in the file.
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let archive = File::open(&self.package)
            .map_err(|error| format!("cannot open {}: {error}", self.package.display()))?;
        let package = Package::read(BufReader::new(archive), PackageLimits::default())?;
        let definitions = compile::compile(&package)?;
        let file = compiled::encode(&definitions)?;
        // What is about to be built in is read as it will be.
        let schema = Schema::new(&compiled::decode(&file)?)?;

        if self.out.is_none() {
            terminology::pack(&self.package, &source_of(&package))?;
        }
        let out = self.out.unwrap_or_else(built_in_file);
        fs::write(&out, &file)
            .map_err(|error| format!("cannot write {}: {error}", out.display()))?;

        let source = schema.source();
        let mut stdout = io::stdout().lock();
        writeln!(
            stdout,
            "{} {} ({}): {} resource types, {} elements, {} bytes to {}",
            source.package,
            source.version,
            source.licence,
            schema.resource_types().count(),
            definitions.types.iter().map(|it| it.elements.len()).sum::<usize>(),
            file.len(),
            out.display(),
        )?;
        for unresolved in schema.unresolved_expressions() {
            writeln!(
                stdout,
                "not a plain path: {}?{}: {}",
                unresolved.resource_type, unresolved.search_param, unresolved.expression,
            )?;
        }
        Ok(())
    }
}

fn source_of(package: &Package) -> fhir_terminology::pack::Source {
    let manifest = &package.manifest;
    fhir_terminology::pack::Source {
        package: manifest.name.to_string(),
        version: manifest.version.to_string(),
        licence: manifest.license.as_deref().unwrap_or_default().to_owned(),
    }
}

fn built_in_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhir-schema/definitions/r4.zst")
}
