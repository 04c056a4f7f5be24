//! Any text as a token and as a key set: read or refused, and no token is believed by a key that
//! signed none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smart::{Algorithm, Expected, KeySet, UnverifiedToken};

const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fuzz_target!(|text: &str| {
    let accepted = Algorithm::ALL.map(|(algorithm, _)| algorithm);
    let _ = KeySet::parse(text.as_bytes(), &accepted);
    let keys = KeySet::parse(KEYS.as_bytes(), &accepted).expect("a key");
    let expected = Expected { issuer: "i".to_owned(), audience: "a".to_owned(), leeway: 30 };
    if let Ok(token) = UnverifiedToken::read(text) {
        assert!(token.verify(&keys, &expected, 0).is_err());
    }
});
