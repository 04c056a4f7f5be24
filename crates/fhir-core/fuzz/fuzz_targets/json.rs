//! Any bytes: refused with a place inside them, or read; what is read is written compactly, and
//! that text reads as itself.

#![no_main]

use fhir_core::json::{Document, Replacements, pretty};
use fhir_core::{Bundle, Resource};
use libfuzzer_sys::fuzz_target;

fn compact(bytes: &[u8]) -> Vec<u8> {
    let document = Document::parse(bytes).expect("read before");
    let mut out = Vec::new();
    document.root().write(&Replacements::default(), &mut out);
    out
}

fuzz_target!(|bytes: &[u8]| {
    match Document::parse(bytes) {
        Err(error) => assert!(error.offset <= bytes.len() && error.line > 0 && error.column > 0),
        Ok(document) => {
            let once = compact(bytes);
            assert_eq!(compact(&once), once);
            assert_eq!(compact(&pretty(bytes).expect("read before")), once);
            if let Ok(resource) = Resource::new(document.root()) {
                // Either answer is fine; neither may panic.
                let _ = Bundle::read(&resource);
            }
        }
    }
});
