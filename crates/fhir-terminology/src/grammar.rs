//! Code systems that are a grammar and no list: languages (BCP 47), media types (BCP 13), units
//! (UCUM). A code is checked by its form; none of them can be expanded. And what the form of a code
//! says where the list that it is in, SNOMED CT's, is not loaded.

mod language;
mod media_type;
mod snomed;
mod unit;

use fhir_core::Severity;

pub(crate) use snomed::URL as SNOMED;

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

/// What is wrong with the form of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormFault {
    /// An error where this can be no code, a warning where it looks like one with a typing error.
    pub severity: Severity,
    /// What is wrong and how to mend it.
    pub text: String,
}

/// What the form of a code says against it, for a code system that is a list with a rule for its
/// codes: SNOMED CT. Of others, and of a code of good form, nothing; it may still not exist.
#[must_use]
pub fn form_fault(system: &str, code: &str) -> Option<FormFault> {
    (system == SNOMED).then(|| snomed::fault(code))?
}

#[cfg(test)]
mod tests {
    use fhir_core::Severity;

    use super::{Grammar, SNOMED, form_fault};

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

    fn check_form(code: &str, severity: Option<Severity>, said: &str) {
        let fault = form_fault(SNOMED, code);
        assert_eq!(fault.as_ref().map(|it| it.severity), severity, "{code}: {fault:?}");
        let text = fault.map(|it| it.text).unwrap_or_default();
        assert!(text.contains(said) && text.contains(code) == severity.is_some(), "{text}");
    }

    #[test]
    fn a_code_of_snomed_ct_is_a_concept_s_identifier_or_an_expression() {
        // VAL-127
        let good = [
            // Of the core, of extensions (whose namespace stands before the partition), the longest.
            "404684003",
            "138875005",
            "900000000000207008",
            "999000011000000103",
            "71341001:272741003=7771000",
            "249943000:363698007=72098002,260868000=6934004",
            "386661006 |Fever (finding)|",
            "=== 64572001 + 106063007: { 363698007 = ( 1 : 2 = 3 ) }",
            "27658006 |Amoxicillin| : 3264475007 = #250, 999=#-1.5, 8=\"a\\\"|b\", 7=TRUE",
        ];
        for code in good {
            check_form(code, None, "");
        }
        let bad = [
            ("276885007x", "6 to 18 digits, or an expression"),
            ("look up value", "if the code is of another code system, name that one"),
            ("T-15460", "no code of SNOMED CT"),
            ("", "no code of SNOMED CT"),
            ("12345", "which has 6 to 18 digits"),
            ("1234567890123456789", "which has 6 to 18 digits"),
            ("0404684003", "begins with none that is zero"),
            // Of the partition of descriptions, of relationships.
            ("680946014", "the identifier of a description"),
            ("100022", "the identifier of a relationship"),
            ("71341001:27x=7771000", "no code of SNOMED CT"),
            ("71341001 |never closed", "no code of SNOMED CT"),
            ("< 404684003 |ECL|", "no code of SNOMED CT"),
            ("=+", "no code of SNOMED CT"),
        ];
        for (code, said) in bad {
            check_form(code, Some(Severity::Error), said);
        }
        assert_eq!(form_fault("http://loinc.org", "276885007x"), None);
    }

    #[test]
    fn a_digit_mistyped_in_an_identifier_of_snomed_ct_is_a_warning() {
        // VAL-127
        for code in ["404684004", "404648003", "415818005", "6547210000124112"] {
            check_form(code, Some(Severity::Warning), "look the concept up");
        }
    }
}
