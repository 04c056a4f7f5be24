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
    /// Patients named by an absolute URL, with its base: whether that is this server's, is known
    /// where they are asked for.
    pub(crate) by_url: Vec<(Box<str>, ResourceId)>,
    /// The patient in whose security context a Binary is (`Binary.securityContext`), with the base
    /// where it is named by an absolute URL. It is no one's data for that.
    pub(crate) context: Option<(Option<Box<str>>, ResourceId)>,
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
            found.context = text.as_deref().and_then(patient);
        }
        if of == "Patient" {
            found.patients.push(id.clone());
        }
        // A resource may name so many that looking through the lists for each would take hours.
        let mut known: HashSet<_> = found.patients.iter().map(|id| (None, id.clone())).collect();
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

    /// All that a rule may name it by: what it stands in the compartment of. What is named by a URL
    /// below `base`, the server's own without its last slash, is named like what is named without.
    pub(crate) fn named(&self, base: Option<&str>) -> Vec<(ResourceType, ResourceId)> {
        let patient = ResourceType::new("Patient").expect("the name of a type");
        let is_own = |of: Option<&str>| of.is_none_or(|of| base == Some(of));
        let by_url = self.by_url.iter().map(|(of, id)| (Some(&**of), id));
        let context = self.context.iter().map(|(of, id)| (of.as_deref(), id));
        let by_url = by_url.chain(context).filter(|(of, _)| is_own(*of)).map(|(_, id)| id);
        let patients = self.patients.iter().chain(by_url);
        let patients = patients.map(|id| (patient.clone(), id.clone()));
        patients.chain(self.author.map(|author| author.as_compartment())).collect()
    }

    /// All patients whose data it is, or may be.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &ResourceId> {
        self.patients.iter().chain(self.by_url.iter().map(|(_, id)| id))
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
        self.owners().any(|owner| owner == patient)
    }

    /// Adds the patient whom a reference is to, unless it is `known`, by this URL or none.
    fn note(&mut self, reference: &str, known: &mut HashSet<(Option<Box<str>>, ResourceId)>) {
        let Some(named) = patient(reference) else { return };
        if known.insert(named.clone()) {
            match named {
                (Some(base), id) => self.by_url.push((base, id)),
                (None, id) => self.patients.push(id),
            }
        }
    }
}

/// The patient whom a reference is to, with the base of an absolute URL.
fn patient(reference: &str) -> Option<(Option<Box<str>>, ResourceId)> {
    let (base, target) = match Reference::parse(reference).ok()? {
        Reference::Relative(target) => (None, target),
        Reference::Absolute(base, target) => (Some(base.into()), target),
        _ => return None,
    };
    (target.resource_type.as_str() == "Patient").then_some((base, target.id))
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
    fn what_names_a_patient_by_the_servers_own_url_stands_in_its_compartment() {
        // LEAK-25
        let named = |json: &str, base: Option<&str>| -> Vec<String> {
            let document = Document::parse(json.as_bytes()).unwrap();
            let resource = Resource::new(document.root()).unwrap();
            let id = "own".parse().unwrap();
            let found = Compartments::of(&resource, &id, &Replacements::default(), Schema::r4());
            found.named(base).into_iter().map(|(of, id)| format!("{of}/{id}")).collect()
        };
        let own = Some("https://a.example/fhir");
        for (url, is_named) in [
            ("Patient/1", true),
            ("https://a.example/fhir/Patient/1", true),
            ("https://a.example/fhir/Patient/1/_history/2", true),
            ("https://a.example/fhirs/Patient/1", false),
            ("https://a.example/fhir/x/Patient/1", false),
            ("https://b.example/https://a.example/fhir/Patient/1", false),
            ("https://a.example/fhir/Group/1", false),
            ("#Patient/1", false),
        ] {
            let subject = format!("{{\"reference\":\"{url}\"}}");
            let observation = format!("{{\"resourceType\":\"Observation\",\"subject\":{subject}}}");
            let binary = format!("{{\"resourceType\":\"Binary\",\"securityContext\":{subject}}}");
            for json in [observation, binary] {
                assert_eq!(named(&json, own) == ["Patient/1"], is_named, "{json}");
                // Without a base no URL is known to be the server's own.
                let is_relative = url == "Patient/1";
                assert_eq!(named(&json, None) == ["Patient/1"], is_relative, "{json}");
            }
        }
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
