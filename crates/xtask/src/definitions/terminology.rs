//! The code systems, value sets and concept maps of the package, for `fhir-terminology`.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;

use fhir_core::json::Document;
use fhir_schema::package::{PackageLimits, each_file};
use fhir_terminology::pack::{Pack, Source, encode};

/// Packs them into the file that is built in, and says what is in it.
pub(super) fn pack(package: &Path, source: &Source) -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    let archive = BufReader::new(File::open(package)?);
    each_file(archive, PackageLimits::default(), |name, bytes| {
        // What cannot be read is told when the file is packed; the index of a package is none.
        let is_terminology = Document::parse(&bytes).is_ok_and(|document| {
            let of = document.root().get_str("resourceType");
            matches!(of.as_deref(), Some("CodeSystem" | "ValueSet" | "ConceptMap"))
        });
        if is_terminology {
            files.push((name.to_owned(), bytes));
        }
        Ok(())
    })?;
    files.sort();
    let file = encode(source, &files)?;
    // What is about to be built in is opened as it will be, for as long as this command runs.
    let opened = Pack::open(Box::leak(file.clone().into_boxed_slice()))?;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhir-terminology/definitions/r4.zst");
    fs::write(&out, &file)?;
    writeln!(
        io::stdout().lock(),
        "{} {}: {} code systems, value sets and concept maps, {} bytes to {}",
        opened.source.package,
        opened.source.version,
        files.len(),
        file.len(),
        out.display(),
    )?;
    Ok(())
}
