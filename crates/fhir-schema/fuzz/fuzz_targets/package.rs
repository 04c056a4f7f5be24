//! Any bytes as an archive, as a compiled file, and as the one resource of a package: refused, or
//! read within the limits. Whatever set of definitions comes of it can be asked.

#![no_main]

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, structures_file};
use libfuzzer_sys::fuzz_target;

const LIMITS: PackageLimits =
    PackageLimits { entries: 100, file_bytes: 1 << 20, total_bytes: 4 << 20 };

fn load(package: Package) {
    if let Ok(set) = DefinitionSet::r4().with_packages(vec![package]) {
        for structure in set.structures().filter(|it| it.elements.is_empty()) {
            panic!("{} has no elements", structure.canonical());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = structures_file::decode(bytes);
    if let Ok(package) = Package::read(bytes, LIMITS) {
        load(package);
    }
    let manifest = br#"{"name": "p", "version": "1"}"#.to_vec();
    let files =
        [Ok(("package.json".to_owned(), manifest)), Ok(("x.json".to_owned(), bytes.to_vec()))];
    if let Ok(package) = Package::from_files(files, LIMITS) {
        load(package);
    }
});
