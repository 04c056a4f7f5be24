//! Any text: what is read as a relative reference is written as the same text again.

#![no_main]

use fhir_core::{Instant, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(Reference::Relative(target)) = Reference::parse(text) {
        assert_eq!(target.to_string(), text);
    }
    if let Ok(instant) = text.parse::<Instant>() {
        assert_eq!(instant.to_string().parse(), Ok(instant));
    }
});
