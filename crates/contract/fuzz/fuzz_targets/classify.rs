//! Any method, path and query: an answer, and for HEAD the one of GET.

#![no_main]

use contract::Interaction;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|request: (&str, &str, Option<&str>)| {
    let (method, path, query) = request;
    let answer = Interaction::classify(method, path, query);
    if method == "GET" {
        assert_eq!(Interaction::classify("HEAD", path, query), answer);
    }
    if let Ok(interaction) = answer {
        let id = interaction.id().map_or("1", |id| id.as_str());
        let of = interaction.resource_type().map_or("X", |of| of.as_str());
        let version = interaction.version().unwrap_or("1");
        let words = [id, of, version];
        assert!(words.iter().all(|word| !word.contains(['/', '%', '\\'])));
    }
});
