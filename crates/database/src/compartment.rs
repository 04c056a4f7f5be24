//! Whose data a resource is: the patients in whose compartments it stands (FHIR R4,
//! CompartmentDefinition patient), by the references it is stored with.

use std::collections::HashSet;

use fhir_core::json::{Kind, Replacements, Value};
use fhir_core::{Reference, Resource, ResourceId, ResourceType};
use fhir_schema::{PlainPath, Schema};

use crate::{Author, quarantine};

/// The patients of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Compartments {
    /// Each once, in the order they are met.
    pub(crate) patients: Vec<ResourceId>,
    /// Patients named by an absolute URL: whether that is one of this server's, is not known
    /// here.
    pub(crate) by_url: Vec<ResourceId>,
    /// The patient in whose security context a Binary is (`Binary.securityContext`). It is no one's
    /// data for that.
    pub(crate) context: Option<ResourceId>,
    /// Who wrote it.
    pub(crate) author: Option<Author>,
}

impl Compartments {
    /// Those of `resource`, stored as `id` with these strings replaced.
    pub(crate) fn of(
        resource: &Resource<'_>,
        id: &ResourceId,
        replacements: &Replacements,
        schema: &Schema,
    ) -> Self {
        let mut found = Self::default();
        if quarantine::is_of(resource.resource_type()) {
            found.patients = quarantine::subjects(resource.value());
            return found;
        }
        let of = resource.resource_type().as_str();
        if of == "Binary" {
            let context = resource.value().get("securityContext");
            let context = context.filter(|it| it.kind() == Kind::Object);
            let text = context.and_then(|it| it.get("reference"));
            let text = text.and_then(|text| match replacements.content(text) {
                Some(content) => Some(content.to_owned()),
                None => text.as_str().map(Into::into),
            });
            found.context = match text.as_deref().map(Reference::parse) {
                Some(Ok(Reference::Relative(target)))
                    if target.resource_type.as_str() == "Patient" =>
                {
                    Some(target.id)
                }
                _ => None,
            };
        }
        if of == "Patient" {
            found.patients.push(id.clone());
        }
        // A resource may name so many that looking through the lists for each would take hours.
        let mut known: HashSet<_> = found.patients.iter().map(|id| (id.clone(), false)).collect();
        for path in schema.patient_compartment(of) {
            each_reference(resource.value(), path, &mut |text| match replacements.content(text) {
                Some(content) => found.note(content, &mut known),
                None => {
                    if let Some(content) = text.as_str() {
                        found.note(&content, &mut known);
                    }
                }
            });
        }
        found
    }

    /// All that a rule may name it by: what it stands in the compartment of.
    pub(crate) fn named(&self) -> Vec<(ResourceType, ResourceId)> {
        let patient = ResourceType::new("Patient").expect("the name of a type");
        let patients = self.patients.iter().chain(&self.context);
        let patients = patients.map(|id| (patient.clone(), id.clone()));
        patients.chain(self.author.map(|author| author.as_compartment())).collect()
    }

    /// The one patient whose data it is, if it is one's alone.
    pub(crate) fn owner(&self) -> Option<&ResourceId> {
        match (self.patients.as_slice(), self.by_url.as_slice()) {
            ([patient], []) => Some(patient),
            _ => None,
        }
    }

    /// Whether it is this patient's too, or may be.
    pub(crate) fn name(&self, patient: &ResourceId) -> bool {
        self.patients.contains(patient) || self.by_url.contains(patient)
    }

    /// Adds the patient whom a reference is to, unless it is `known`, by URL or not.
    fn note(&mut self, reference: &str, known: &mut HashSet<(ResourceId, bool)>) {
        let (id, by_url) = match Reference::parse(reference) {
            Ok(Reference::Relative(target)) if target.resource_type.as_str() == "Patient" => {
                (target.id, false)
            }
            Ok(Reference::Absolute(_, target)) if target.resource_type.as_str() == "Patient" => {
                (target.id, true)
            }
            _ => return,
        };
        if known.insert((id.clone(), by_url)) {
            let among = if by_url { &mut self.by_url } else { &mut self.patients };
            among.push(id);
        }
    }
}

/// Calls `found` with the text of every reference at `path`.
fn each_reference<'a>(value: Value<'a>, path: &PlainPath, found: &mut dyn FnMut(Value<'a>)) {
    fn step<'a>(value: Value<'a>, steps: &[Box<str>], found: &mut dyn FnMut(Value<'a>)) {
        for value in value.each() {
            match steps.split_first() {
                Some((name, rest)) => {
                    if let Some(next) = value.get(name) {
                        step(next, rest, found);
                    }
                }
                None => {
                    let text = value.get("reference");
                    if let Some(text) = text.filter(|text| text.kind() == Kind::String) {
                        found(text);
                    }
                }
            }
        }
    }
    step(value, &path.steps, found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_core::json::Document;

    fn check(json: &str, owner: Option<&str>, named: &[&str]) {
        let document = Document::parse(json.as_bytes()).unwrap();
        let resource = Resource::new(document.root()).unwrap();
        let id = "own".parse().unwrap();
        let found = Compartments::of(&resource, &id, &Replacements::default(), Schema::r4());
        assert_eq!(found.owner().map(ResourceId::as_str), owner, "{json}");
        for name in ["own", "1", "2"] {
            assert_eq!(found.name(&name.parse().unwrap()), named.contains(&name), "{json} {name}");
        }
    }

    #[test]
    fn a_resource_is_the_one_patients_whose_compartment_it_stands_in() {
        let one = "{\"reference\":\"Patient/1\"}";
        let observation =
            |rest: &str| format!("{{\"resourceType\":\"Observation\",\"subject\":{one}{rest}}}");
        check("{\"resourceType\":\"Patient\"}", Some("own"), &["own"]);
        check(&observation(""), Some("1"), &["1"]);
        check(&observation(&format!(",\"performer\":[{one}]")), Some("1"), &["1"]);
        let version = "{\"reference\":\"Patient/1/_history/3\"}";
        check(&observation(&format!(",\"performer\":[{version}]")), Some("1"), &["1"]);
        // A reference that puts nothing into a compartment.
        let other = "{\"reference\":\"Patient/2\"}";
        check(&observation(&format!(",\"focus\":[{other}]")), Some("1"), &["1"]);
    }

    #[test]
    fn what_is_of_several_patients_or_none_or_may_be_is_no_ones_alone() {
        let one = "{\"reference\":\"Patient/1\"}";
        let two = "{\"reference\":\"Patient/2\"}";
        let url = "{\"reference\":\"https://a.example/fhir/Patient/2\"}";
        check("{\"resourceType\":\"Organization\"}", None, &[]);
        let linked = format!("{{\"resourceType\":\"Patient\",\"link\":[{{\"other\":{two}}}]}}");
        check(&linked, None, &["own", "2"]);
        for other in [two, url] {
            let both = format!(
                "{{\"resourceType\":\"Observation\",\"subject\":{one},\"performer\":[{other}]}}"
            );
            check(&both, None, &["1", "2"]);
        }
        let unknown = "{\"resourceType\":\"Observation\",\"subject\":{\"reference\":7}}";
        check(unknown, None, &[]);
    }

    #[test]
    fn many_patients_are_found_in_a_time_that_grows_as_they_do() {
        const MANY: usize = 100_000;
        let one = |id| format!("{{\"other\":{{\"reference\":\"Patient/{id:07}\"}}}}");
        let links: Vec<_> = (0..MANY).chain(0..MANY).map(one).collect();
        let json = format!("{{\"resourceType\":\"Patient\",\"link\":[{}]}}", links.join(","));
        let document = Document::parse(json.as_bytes()).unwrap();
        let resource = Resource::new(document.root()).unwrap();
        let id = "own".parse().unwrap();
        let found = Compartments::of(&resource, &id, &Replacements::default(), Schema::r4());
        assert_eq!(found.patients.len(), MANY + 1);
        // Looking through the list for each takes a minute and more.
    }
}
