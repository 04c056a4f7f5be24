//! Code systems that are a grammar and no list: languages (BCP 47), media types (BCP 13), units
//! (UCUM). A code is checked by its form; none of them can be expanded.

mod language;
mod media_type;
mod unit;

/// A code system with a grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// `urn:ietf:bcp:47`
    Language,
    /// `urn:ietf:bcp:13`
    MediaType,
    /// `http://unitsofmeasure.org`
    Unit,
}

impl Grammar {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Language, Self::MediaType, Self::Unit];

    /// The grammar of the code system with this URL.
    #[must_use]
    pub fn of(system: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grammar| grammar.url() == system)
    }

    /// The code system's URL.
    #[must_use]
    pub fn url(self) -> &'static str {
        match self {
            Self::Language => "urn:ietf:bcp:47",
            Self::MediaType => "urn:ietf:bcp:13",
            Self::Unit => "http://unitsofmeasure.org",
        }
    }

    /// The code system's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Language => "Tags for Identifying Languages (BCP 47)",
            Self::MediaType => "Media Type Specifications (BCP 13)",
            Self::Unit => "Unified Code for Units of Measure (UCUM)",
        }
    }

    /// Whether this is a code of it.
    #[must_use]
    pub fn accepts(self, code: &str) -> bool {
        match self {
            Self::Language => language::is_language(code),
            Self::MediaType => media_type::is_media_type(code),
            Self::Unit => unit::is_unit(code),
        }
    }

    /// Whether a unit can be written in terms of another (`canonical` in value sets over UCUM).
    #[must_use]
    pub fn has_canonical_form(self, code: &str, canonical: &str) -> bool {
        self == Self::Unit && unit::has_canonical_form(code, canonical)
    }
}

#[cfg(test)]
mod tests {
    use super::Grammar;

    fn check(grammar: Grammar, good: &[&str], bad: &[&str]) {
        for code in good {
            assert!(grammar.accepts(code), "{code}");
        }
        for code in bad {
            assert!(!grammar.accepts(code), "{code}");
        }
    }

    #[test]
    fn a_language_is_a_tag_whose_primary_language_and_region_exist() {
        // TERM-051
        check(
            Grammar::Language,
            &[
                "en",
                "de-CH",
                "zh-Hant-TW",
                "sr-Latn-RS",
                "es-419",
                "sl-rozaj-biske",
                "ast",
                "de-CH-1996",
                "en-US-u-islamcal",
                "x-whatever",
                "zh-yue-HK",
                "i-klingon",
                "EN-us",
            ],
            &[
                "", "english", "e", "en_US", "en-", "xx", "en-ZZZ9", "de--CH", "1en", "xx-US",
                "en-XX",
            ],
        );
    }

    #[test]
    fn a_media_type_has_a_registered_top_level_and_well_formed_parameters() {
        // TERM-051
        check(
            Grammar::MediaType,
            &[
                "text/plain",
                "application/fhir+json",
                "application/hl7-v3+xml",
                "image/svg+xml",
                "text/plain; charset=UTF-8",
                "application/fhir+xml;fhirVersion=4.0",
                "multipart/form-data; boundary=\"a b\"",
                "application/a; variant=A/B C",
                "application/a;b=\"c;d\"",
                "chemical/x-pdb",
                "xml",
                "json",
                "ttl",
            ],
            &[
                "",
                "text",
                "text/",
                "/plain",
                "text/pla in",
                "wrong/type",
                "text/plain;",
                "text/plain; charset",
                "text/plain; charset=",
                "text/plain; charset=\"a",
                "text/plain; charset=a\"b",
                "text/plain; char set=a",
                "text/plain; a=b\tc",
                "text/a/b",
            ],
        );
    }

    #[test]
    fn a_unit_is_what_ucum_can_read_in_its_case() {
        // TERM-139, TERM-050
        check(
            Grammar::Unit,
            &[
                "mg",
                "kg/m2",
                "mm[Hg]",
                "Cel",
                "[degF]",
                "10*9/L",
                "{score}",
                "mg/dL",
                "[pH]",
                "1",
                "ug/kg/min",
                "%",
                "m/s2",
                "/min",
                "10*-6",
                "g{creat}",
                "[IU]/L",
            ],
            &["", "mgg", "mmHg2x", "kg//m", "{a", " mg", "m g", "degF", "lbs"],
        );
        assert!(Grammar::Unit.has_canonical_form("mg", "g"));
        assert!(Grammar::Unit.has_canonical_form("[lb_av]", "g"));
        assert!(!Grammar::Unit.has_canonical_form("lbs", "g"));
        assert!(!Grammar::Unit.has_canonical_form("mL", "g"));
    }
}
