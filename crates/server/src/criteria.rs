//! Criteria that are resolved without search: one identifier, `identifier=system|value`.

use database::IdentifierKey;
use fhir_core::ResourceType;
use fhir_schema::Schema;

use crate::error::ServerError;
use crate::negotiation::parameters;

/// A search for the resources of one type that bear one identifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Criteria {
    pub(crate) resource_type: ResourceType,
    pub(crate) identifier: IdentifierKey,
}

impl Criteria {
    /// Reads the criteria after `Type?`. Parameters that shape an answer are not criteria
    /// (HTTP-025).
    ///
    /// # Errors
    /// [`ServerError::CriteriaNotSupported`] for all but exactly one identifier with its system
    /// (`system|value`, or `|value` for one without a system), of a type that has identifiers.
    pub(crate) fn read(
        schema: &Schema,
        of: &ResourceType,
        query: &str,
    ) -> Result<Self, ServerError> {
        let unsupported = |reason: &str| ServerError::CriteriaNotSupported {
            criteria: query.to_owned(),
            reason: reason.to_owned(),
        };
        if schema.identifier_paths(of.as_str()).is_empty() {
            return Err(unsupported(&format!("{of} has no identifiers")));
        }
        let mut identifier = None;
        for (name, value) in parameters(query) {
            match name.as_str() {
                "_format" | "_pretty" => {}
                "identifier" if identifier.is_some() => {
                    return Err(unsupported("there is more than one identifier"));
                }
                "identifier" => identifier = Some(value),
                _ => return Err(unsupported(&format!("\"{name}\" cannot be searched yet"))),
            }
        }
        let token = identifier.ok_or_else(|| unsupported("there is no identifier"))?;
        if token.contains(['\\', ',']) {
            return Err(unsupported("lists and escapes cannot be searched yet"));
        }
        let (system, value) = token.split_once('|').ok_or_else(|| {
            unsupported("an identifier without its system cannot be searched yet")
        })?;
        if value.is_empty() || value.contains('|') {
            return Err(unsupported("the identifier's value is missing or has another \"|\""));
        }
        let system = (!system.is_empty()).then_some(system);
        let identifier = IdentifierKey::new(system, value);
        Ok(Self { resource_type: of.clone(), identifier })
    }

    /// Reads the value of `If-None-Exist`: the criteria alone; a leading `?` or `Type?` is
    /// tolerated (HTTP-084).
    ///
    /// # Errors
    /// As [`Criteria::read`].
    pub(crate) fn if_none_exist(
        schema: &Schema,
        of: &ResourceType,
        value: &str,
    ) -> Result<Self, ServerError> {
        let value = value.trim();
        let query = value.strip_prefix(of.as_str()).unwrap_or(value);
        Self::read(schema, of, query.strip_prefix('?').unwrap_or(value))
    }
}

#[cfg(test)]
mod tests {
    use super::Criteria;
    use database::IdentifierKey;
    use fhir_core::ResourceType;
    use fhir_schema::Schema;
    use proptest::prelude::*;

    fn read(of: &str, value: &str) -> Option<IdentifierKey> {
        let of = ResourceType::new(of).unwrap();
        Criteria::if_none_exist(Schema::r4(), &of, value).ok().map(|criteria| criteria.identifier)
    }

    #[test]
    fn one_identifier_with_its_system_is_read_in_every_form() {
        // HTTP-084
        let expected = Some(IdentifierKey::new(Some("urn:x"), "4 7"));
        for value in [
            "identifier=urn:x|4+7",
            "?identifier=urn:x%7C4%207",
            "Patient?identifier=urn%3Ax%7c4+7&_format=json",
        ] {
            assert_eq!(read("Patient", value), expected, "{value}");
        }
        let no_system = Some(IdentifierKey::new(None, "47"));
        assert_eq!(read("Patient", "identifier=|47"), no_system);
    }

    #[test]
    fn criteria_that_could_match_anything_are_refused() {
        // HTTP-085
        for value in [
            "",
            "?",
            "foo=bar",
            "_format=json",
            "identifier=",
            "identifier=47",
            "identifier=x|",
            "identifier=x|1,x|2",
            "identifier=x|1&identifier=x|2",
            "identifier=x|1&name=y",
            "identifier:of-type=a|b|c",
        ] {
            assert_eq!(read("Patient", value), None, "{value}");
        }
        // Types without the search parameter: nothing could ever match.
        assert_eq!(read("AuditEvent", "identifier=x|1"), None);
        assert_eq!(read("NoSuchType", "identifier=x|1"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(value in r"\PC{0,40}", rest in "[?=&|%a-z+\\\\,0-9é]{0,40}") {
            for value in [value, format!("Patient?identifier={rest}"), rest] {
                let of = ResourceType::new("Patient").unwrap();
                if let Ok(criteria) = Criteria::if_none_exist(Schema::r4(), &of, &value) {
                    prop_assert!(value.contains("identifier") || value.contains('%'));
                    prop_assert_eq!(criteria.resource_type, of);
                }
            }
        }
    }
}
