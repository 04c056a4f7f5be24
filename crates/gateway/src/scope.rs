//! Which scope a request would take (RFC 6750, section 3.1): by its method and URL alone, so that
//! it tells nothing of what is there.

use contract::{Interaction, ResourceType};
use smart::Level;

use crate::denials;

/// What a scope's letters are, in their order.
const LETTERS: [(&str, char); 5] =
    [("create", 'c'), ("read", 'r'), ("update", 'u'), ("delete", 'd'), ("search", 's')];

/// The scope that would let `interaction` be done on behalf of `level`, if one could.
pub(crate) fn needed(level: Level, interaction: &Interaction) -> Option<String> {
    let actions = denials::needed(interaction);
    let has = |word: &str| {
        // Reading a resource's versions is reading it (SMART App Launch 2.2.0, section 3.0.2).
        let of_history = word == "read" && actions.iter().any(|action| action == "history");
        of_history || actions.iter().any(|action| action == word)
    };
    let letters: String =
        LETTERS.iter().filter(|(word, _)| has(word)).map(|(_, letter)| *letter).collect();
    if letters.is_empty() {
        return None;
    }
    let level = match level {
        Level::Patient => "patient",
        Level::User => "user",
        Level::System => "system",
    };
    let of = interaction.resource_type().map_or("*", ResourceType::as_str);
    Some(format!("{level}/{of}.{letters}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-032
    #[test]
    fn the_scope_needed_is_said_by_method_and_url_alone() {
        for (method, path, expected) in [
            ("GET", "/Patient/1", Some("patient/Patient.r")),
            ("GET", "/Patient", Some("patient/Patient.s")),
            ("GET", "/Patient/1/_history", Some("patient/Patient.r")),
            ("GET", "/Patient/_history", Some("patient/Patient.rs")),
            ("POST", "/Observation", Some("patient/Observation.c")),
            ("PUT", "/Observation/1", Some("patient/Observation.u")),
            ("DELETE", "/Observation/1", Some("patient/Observation.d")),
            ("GET", "/_history", Some("patient/*.rs")),
            ("POST", "/$reindex", None),
        ] {
            let interaction = Interaction::classify(method, path, None).expect("FHIR");
            let found = needed(Level::Patient, &interaction);
            assert_eq!(found.as_deref(), expected, "{method} {path}");
        }
    }
}
