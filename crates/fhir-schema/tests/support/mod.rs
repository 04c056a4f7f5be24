//! Where the data of the tests is, and packages in it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use fhir_schema::package::{Package, PackageLimits};

/// The folder of test data.
pub(crate) const TEST_DATA: &str = "HEARTHGATE_TEST_DATA";

/// A folder that the environment names, or `None` with the reason printed.
#[expect(
    clippy::disallowed_methods,
    reason = "the one thing that tests take from the environment is where their data is"
)]
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(name).map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {name} is not set");
    }
    folder
}

/// Reads a package's archive.
pub(crate) fn read(file: &Path) -> Package {
    Package::read(BufReader::new(File::open(file).unwrap()), PackageLimits::default()).unwrap()
}
