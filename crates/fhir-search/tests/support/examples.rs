//! R4's own examples, where the folder of packages is there.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use fhir_core::json::Document;

/// The package of R4's examples, or a line that says why the test is skipped.
fn package() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where tests learn where their data is")]
    let folder = std::env::var_os("HEARTHGATE_FHIR_PACKAGES").filter(|it| !it.is_empty());
    if folder.is_none() {
        println!("skipped: HEARTHGATE_FHIR_PACKAGES names no folder of packages");
    }
    folder.map(|it| PathBuf::from(it).join("hl7.fhir.r4.examples-4.0.1.tgz"))
}

/// Hands each example of R4 to `take`; whether there are any.
pub(crate) fn each_example(mut take: impl FnMut(&Document<'_>)) -> bool {
    let Some(package) = package() else { return false };
    let file = File::open(&package).unwrap_or_else(|error| panic!("{package:?}: {error}"));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let is_resource = path.extension().is_some_and(|it| it == "json");
        if is_resource && path.iter().count() == 2 {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let document = Document::parse(&bytes);
            if let Ok(document) = document.as_ref()
                && document.root().get("resourceType").is_some()
            {
                take(document);
            }
        }
    }
    true
}
