//! Any bytes, as the header and as the JSON within: refused, or a grant that survives its header.

#![no_main]

use contract::{Grant, GrantFields, Interaction, decide};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let json = serde_json::from_str::<GrantFields>(text).ok();
    let read = [
        Grant::decode(text).ok(),
        json.and_then(|json| Grant::new(json).ok()),
    ];
    for grant in read.into_iter().flatten() {
        let _ = decide(&grant, &Interaction::SearchSystem);
        if let Ok(header) = grant.encode() {
            assert_eq!(Grant::decode(&header).expect("its own header"), grant);
        }
    }
});
