//! Any bytes are an event of the audit log or an error, and an event is written in one way alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::audit::{decode, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = decode(data) {
        let mut again = Vec::new();
        encode(&event, &mut again);
        assert_eq!(again, data);
    }
});
