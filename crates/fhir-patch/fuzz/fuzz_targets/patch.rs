//! Any patch of any document, the two apart by a zero byte: refused, or applied to what is JSON
//! again.

#![no_main]

use fhir_core::Resource;
use fhir_core::json::Document;
use fhir_patch::{FhirPathPatch, JsonPatch, Limits, check_kept};
use fhir_schema::Schema;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(at) = bytes.iter().position(|byte| *byte == 0) else { return };
    let (Ok(target), Ok(patch)) = (Document::parse(&bytes[..at]), Document::parse(&bytes[at + 1..]))
    else {
        return;
    };
    let limits = Limits { bytes: 1 << 20 };
    let of_json =
        JsonPatch::read(patch.root()).and_then(|patch| patch.apply(target.root(), &limits));
    let by_path = Resource::new(patch.root()).ok().map(|parameters| {
        FhirPathPatch::read(&parameters)
            .and_then(|patch| patch.apply(Schema::r4(), target.root(), &limits))
    });
    for patched in [Some(of_json), by_path].into_iter().flatten() {
        match patched {
            Ok(json) => {
                let result = Document::parse(&json).expect("what is patched is JSON");
                let _ = check_kept(target.root(), result.root());
            }
            Err(error) => assert!(!error.issue().diagnostics.is_empty()),
        }
    }
});
