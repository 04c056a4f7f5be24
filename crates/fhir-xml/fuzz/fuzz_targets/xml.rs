//! Any bytes: refused with places inside them, or read as JSON; that is written as XML, which
//! reads as the same JSON. Bytes that are JSON are written as XML or refused.

#![no_main]

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhir_xml::{Limits, Style, to_json, to_xml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let schema = Schema::r4();
    let limits = Limits::default();
    if let Ok(document) = Document::parse(bytes) {
        for style in [Style::Compact, Style::Pretty] {
            if let Ok(xml) = to_xml(document.root(), schema, style) {
                std::str::from_utf8(&xml).expect("what is written is text");
            }
        }
    }
    match to_json(bytes, schema, &limits) {
        Err(refused) => {
            assert!(!refused.issues.is_empty() && refused.issues.len() <= limits.issues);
            assert!(refused.issues.iter().all(|issue| issue.line > 0 && issue.column > 0));
            if let Some(readable) = refused.readable {
                Document::parse(&readable.json).expect("what is readable is JSON");
            }
        }
        Ok(converted) => {
            let document = Document::parse(&converted.json).expect("what is converted is JSON");
            for style in [Style::Compact, Style::Pretty] {
                let xml = to_xml(document.root(), schema, style).expect("it was XML before");
                let again = to_json(&xml, schema, &limits).expect("we wrote it");
                assert_eq!(again.json, converted.json);
            }
        }
    }
});
