//! References between the entries of a transaction, and conditional references: what each text
//! becomes (FHIR R4, 3.1.0.11.2.1 and 3.1.0.11.2.2).

use std::collections::HashMap;

use fhir_core::json::Value;
use fhir_core::{Issue, IssueCode, Reference, Resource, ResourceId, ResourceType};
use fhir_schema::Schema;

use super::narrative;
use super::walk::{Place, walk};
use crate::PublicBase;
use crate::error::ServerError;
use crate::interactions::write::Issues;

/// Where an entry's `fullUrl` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) resource_type: ResourceType,
    pub(crate) id: ResourceId,
    /// The entry creates it: its version will be 1.
    pub(crate) is_new: bool,
}

/// The entries by `fullUrl`.
#[derive(Debug, Default)]
pub(crate) struct Destinations(HashMap<String, Destination>);

/// A string to be written as something else.
#[derive(Debug)]
pub(crate) struct Rewritten<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) becomes: Becomes,
    /// Where it stands, for errors.
    pub(crate) expression: String,
}

/// What a string becomes.
#[derive(Debug)]
pub(crate) enum Becomes {
    Text(String),
    /// The one match among resources of this type.
    Match {
        resource_type: ResourceType,
        criteria: String,
        /// The whole reference as it was written.
        text: String,
    },
}

impl Destination {
    fn text(&self) -> String {
        format!("{}/{}", self.resource_type, self.id)
    }
}

impl Destinations {
    /// Notes where `full_url` leads; says whether it was free.
    pub(crate) fn insert(&mut self, full_url: &str, destination: Destination) -> bool {
        self.0.insert(full_url.to_owned(), destination).is_none()
    }

    /// What `url`, written in the entry with this `fullUrl`, becomes.
    fn resolve(&self, url: &str, full_url: Option<&str>) -> Option<String> {
        let (destination, rest) = self.leads_to(url, full_url)?;
        Some(format!("{}{rest}", destination.text()))
    }

    /// Where `url`, written in the entry with this `fullUrl`, leads, and what follows there: it is
    /// an entry's `fullUrl`, perhaps with a fragment or a version, or relative to the root of an
    /// absolute `fullUrl`.
    pub(crate) fn leads_to<'u>(
        &self,
        url: &'u str,
        full_url: Option<&str>,
    ) -> Option<(&Destination, &'u str)> {
        if let Some(destination) = self.0.get(url) {
            return Some((destination, ""));
        }
        if let Some((plain, _)) = url.split_once('#') {
            return Some((self.0.get(plain)?, &url[plain.len()..]));
        }
        if let Some((plain, _)) = url.split_once("/_history/") {
            // The version asked for is one of the place it came from; here a new one begins.
            let destination = self.resolve_plain(plain, full_url)?;
            return destination.is_new.then_some((destination, "/_history/1"));
        }
        Some((self.resolve_plain(url, full_url)?, ""))
    }

    fn resolve_plain(&self, url: &str, full_url: Option<&str>) -> Option<&Destination> {
        if let Some(destination) = self.0.get(url) {
            return Some(destination);
        }
        let Ok(Reference::Relative(_)) = Reference::parse(url) else {
            return None;
        };
        match Reference::parse(full_url?) {
            Ok(Reference::Absolute(root, _)) => self.0.get(&format!("{root}/{url}")),
            _ => None,
        }
    }

    /// Everything in `resource` that is written as something else, in reading order.
    ///
    /// # Errors
    /// [`ServerError::InvalidContent`] for a `urn:` reference that no entry has as its `fullUrl`.
    pub(crate) fn rewrite<'a>(
        &self,
        schema: &Schema,
        base: &PublicBase,
        resource: &Resource<'a>,
        full_url: Option<&str>,
    ) -> Result<Vec<Rewritten<'a>>, ServerError> {
        let mut rewritten = Vec::new();
        let mut issues = Issues::default();
        walk(schema, resource, &mut |place, value, trail| {
            let Some(text) = value.as_str() else { return };
            let becomes = match place {
                Place::Uri => self.0.get(text.as_ref()).map(|to| Becomes::Text(to.text())),
                Place::Narrative => {
                    narrative::rewrite(&text, |url| self.resolve(url, full_url)).map(Becomes::Text)
                }
                Place::Reference => match self.resolve(&text, full_url) {
                    Some(text) => Some(Becomes::Text(text)),
                    None if text.starts_with("urn:uuid:") || text.starts_with("urn:oid:") => {
                        issues.note(|| {
                            let text = format!(
                                "\"{text}\" is the fullUrl of no entry; add the entry or \
                                 refer to Type/id"
                            );
                            Issue::error(IssueCode::NotFound, text).at(trail.to_string())
                        });
                        None
                    }
                    None => conditional(base, &text).map(|(resource_type, criteria)| {
                        let (criteria, text) = (criteria.to_owned(), text.clone().into_owned());
                        Becomes::Match { resource_type, criteria, text }
                    }),
                },
            };
            if let Some(becomes) = becomes {
                let expression = match &becomes {
                    Becomes::Match { .. } => trail.to_string(),
                    Becomes::Text(_) => String::new(),
                };
                rewritten.push(Rewritten { value, becomes, expression });
            }
        });
        issues.refuse_any().map(|()| rewritten)
    }
}

/// The type and criteria of a conditional reference, which may be written under our own base as
/// well.
pub(crate) fn conditional<'t>(base: &PublicBase, text: &'t str) -> Option<(ResourceType, &'t str)> {
    let relative = if text.contains('?') { base.relative(text)? } else { return None };
    match Reference::parse(relative) {
        Ok(Reference::Conditional(of, criteria)) => Some((of, criteria)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Becomes, Destination, Destinations};
    use crate::error::ServerError;
    use fhir_core::json::Document;
    use fhir_core::{Resource, ResourceId, ResourceType};
    use fhir_schema::Schema;

    fn destinations() -> Destinations {
        let mut destinations = Destinations::default();
        let mut add = |full_url: &str, id: &str, is_new| {
            let resource_type = ResourceType::new("Patient").unwrap();
            let id = ResourceId::new(id).unwrap();
            assert!(destinations.insert(full_url, Destination { resource_type, id, is_new }));
        };
        add("urn:uuid:1", "n1", true);
        add("http://x/Patient/2", "n2", true);
        add("http://x/Patient/7", "7", false);
        destinations
    }

    fn becomes(reference: &str, full_url: Option<&str>) -> Result<String, ServerError> {
        let text =
            format!(r#"{{"resourceType":"Observation","subject":{{"reference":"{reference}"}}}}"#);
        let document = Document::parse(text.as_bytes()).unwrap();
        let resource = Resource::new(document.root()).unwrap();
        let base = "http://own/fhir".parse().unwrap();
        let found = destinations().rewrite(Schema::r4(), &base, &resource, full_url)?;
        Ok(match found.first().map(|rewritten| &rewritten.becomes) {
            None => reference.to_owned(),
            Some(Becomes::Text(text)) => text.clone(),
            Some(Becomes::Match { resource_type, criteria, .. }) => {
                format!("match of {resource_type} by {criteria}")
            }
        })
    }

    fn check(reference: &str, full_url: Option<&str>, expected: &str) {
        assert_eq!(becomes(reference, full_url).unwrap(), expected, "{reference}");
    }

    #[test]
    fn references_to_entries_become_the_ids_given() {
        // HTTP-177, HTTP-180, HTTP-182, HTTP-188, HTTP-240
        check("urn:uuid:1", None, "Patient/n1");
        check("urn:uuid:1#part", None, "Patient/n1#part");
        check("http://x/Patient/2", None, "Patient/n2");
        check("Patient/2", Some("http://x/Observation/9"), "Patient/n2");
        check("Patient/2/_history/9", Some("http://x/Observation/9"), "Patient/n2/_history/1");
        check("http://x/Patient/7", None, "Patient/7");
    }

    #[test]
    fn all_other_references_stay_as_they_are() {
        // HTTP-181, HTTP-235
        for reference in [
            "Patient/2",
            "#1",
            "#",
            "http://x/Patient/3",
            "http://own/fhir/Patient/2",
            "urn:other:1",
            "http://x/Patient/7/_history/3",
        ] {
            check(reference, None, reference);
        }
        check("Patient/2", Some("urn:uuid:1"), "Patient/2");
        check("Patient/2", Some("http://y/Observation/1"), "Patient/2");
    }

    #[test]
    fn conditional_references_are_to_be_resolved() {
        // HTTP-183
        for (reference, expected) in [
            ("Patient?identifier=a|b", "identifier=a|b"),
            ("http://own/fhir/Patient?identifier=a|b", "identifier=a|b"),
            ("Patient?identifier=http://other/ids|b", "identifier=http://other/ids|b"),
            ("Patient?name=x&birthdate=2000", "name=x&birthdate=2000"),
        ] {
            check(reference, None, &format!("match of Patient by {expected}"));
        }
    }

    #[test]
    fn a_urn_that_no_entry_has_is_refused_with_its_place() {
        // HTTP-189
        let Err(ServerError::InvalidContent(issues)) = becomes("urn:uuid:2", None) else {
            panic!("must be refused");
        };
        assert_eq!(issues[0].expression, ["Observation.subject.reference"]);
    }
}
