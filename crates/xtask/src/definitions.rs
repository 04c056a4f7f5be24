//! `cargo xtask definitions`: from a FHIR core package to the files that `fhir-schema` builds in.
//! docs/definitions.md says where to get the package.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

mod terminology;

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema, compile, compiled, structures_file};

/// The arguments of the command.
#[derive(clap::Args)]
pub(crate) struct Definitions {
    /// The package: a .tgz file, such as hl7.fhir.r4.core.tgz.
    #[arg(long, value_name = "FILE")]
    package: PathBuf,
    /// Where the compiled base types go [default: the file that fhir-schema builds in].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where all definitions go, whole [default: the file that fhir-schema builds in].
    #[arg(long, value_name = "FILE")]
    structures_out: Option<PathBuf>,
}

impl Definitions {
    /// Compiles, writes, and says what is in the file.
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let archive = File::open(&self.package)
            .map_err(|error| format!("cannot open {}: {error}", self.package.display()))?;
        let package = Package::read(BufReader::new(archive), PackageLimits::default())?;
        let source_of_terminology = source_of(&package);
        let structures = compile::structures(package)?;
        let structures_file = structures_file::encode(&structures)?;
        let set = DefinitionSet::new(structures_file::decode(&structures_file)?);
        let definitions = compile::compile(&structures)?;
        let file = compiled::encode(&definitions)?;
        // What is about to be built in is read as it will be.
        let schema = Schema::new(&compiled::decode(&file)?)?;

        if self.out.is_none() {
            terminology::pack(&self.package, &source_of_terminology)?;
        }
        let out = self.out.unwrap_or_else(|| built_in_file("r4.zst"));
        write_file(&out, &file)?;
        let structures_out =
            self.structures_out.unwrap_or_else(|| built_in_file("r4-structures.zst"));
        write_file(&structures_out, &structures_file)?;

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
        writeln!(
            stdout,
            "{} structure definitions, {} search parameters, {} operations, {} bytes to {}",
            set.structures().count(),
            set.search_parameters().count(),
            set.operations().count(),
            structures_file.len(),
            structures_out.display(),
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

fn write_file(file: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    fs::write(file, bytes)
        .map_err(|error| format!("cannot write {}: {error}", file.display()).into())
}

fn built_in_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhir-schema/definitions").join(name)
}
