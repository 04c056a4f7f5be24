//! Resources in part: `_summary` and `_elements` (FHIR R4, 3.1.1.5.7 and 3.1.1.5.8). What is kept
//! is what the definitions say; nothing is known of any type here.

use std::collections::HashMap;

use fhir_core::json::{Document, Kind, Value, write_string};
use fhir_schema::structure::{ElementDefinition, StructureDefinition};
use fhir_schema::{DefinitionSet, Node, Schema};
use fhir_search::{Answer, Element, Summary};

/// The system and code of the tag that every resource has of which parts were left out.
const SUBSETTED: &str = "{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ObservationValue\",\
                         \"code\":\"SUBSETTED\"}";

/// Which elements of the resources of one type are answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Projection {
    kept: Elements,
}

/// By names without the type of a choice and without the underscore before.
type Elements = HashMap<Box<str>, Kept>;

#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// With all that is in it.
    Whole,
    /// These of its elements.
    Part(Elements),
}

impl Projection {
    /// What `answer` asks of the matches of a type; `None` for all of it.
    pub(crate) fn of_matches(
        answer: &Answer,
        resource_type: &str,
        definitions: &DefinitionSet,
    ) -> Option<Self> {
        let own = |element: &&Element| {
            element.resource_type.as_ref().is_none_or(|of| of.as_str() == resource_type)
        };
        let mut names = answer.elements.iter().filter(own).map(|element| &*element.name).peekable();
        if names.peek().is_none() {
            return Self::of_included(answer, resource_type, definitions);
        }
        let names: Vec<&str> = names.collect();
        let structure = definitions.type_structure(resource_type)?;
        let is_kept = |element: &ElementDefinition, name: &str| {
            element.min > 0
                || element.flags.is_modifier
                || matches!(name, "id" | "meta")
                || names.contains(&name)
        };
        Some(Self { kept: of_root(structure, is_kept) })
    }

    /// What `answer` asks of included resources of a type, which `_elements` does not concern.
    pub(crate) fn of_included(
        answer: &Answer,
        resource_type: &str,
        definitions: &DefinitionSet,
    ) -> Option<Self> {
        let summary = answer.summary?;
        let structure = definitions.type_structure(resource_type)?;
        let kept = match summary {
            Summary::False | Summary::Count => return None,
            Summary::True => {
                let is_kept =
                    |element: &ElementDefinition| element.flags.is_summary || element.min > 0;
                within(structure, 0, &structure.elements[0].path, &is_kept)
            }
            Summary::Text => of_root(structure, |element, name| {
                element.min > 0 || matches!(name, "id" | "meta" | "text")
            }),
            Summary::Data => of_root(structure, |_, name| name != "text"),
        };
        Some(Self { kept })
    }

    /// The part of `json`, a resource of the type, that is answered; it is tagged as a part.
    /// `None` when `json` is no resource of a known type.
    pub(crate) fn apply(&self, json: &[u8], schema: &Schema) -> Option<Vec<u8>> {
        let document = Document::parse(json).ok()?;
        let root = document.root();
        let resource_type = root.get_str("resourceType")?;
        let node = schema.resource(&resource_type)?;
        let mut out = Vec::with_capacity(json.len());
        out.extend_from_slice(b"{\"resourceType\":");
        write_string(&resource_type, &mut out);
        if root.get("meta").is_none() {
            out.extend_from_slice(b",\"meta\":{\"tag\":[");
            out.extend_from_slice(SUBSETTED.as_bytes());
            out.extend_from_slice(b"]}");
        }
        for (raw_name, value) in root.raw_members() {
            let name = name_of(raw_name);
            if name == "resourceType" {
                continue;
            }
            if name == "meta" {
                out.extend_from_slice(b",\"meta\":");
                write_tagged(value, &mut out);
                continue;
            }
            write_member((raw_name, value), (&self.kept, node), schema, true, &mut out);
        }
        out.push(b'}');
        Some(out)
    }
}

/// The elements at the root of a structure that `is_kept` keeps, whole.
fn of_root(
    structure: &StructureDefinition,
    is_kept: impl Fn(&ElementDefinition, &str) -> bool,
) -> Elements {
    let root = structure.elements[0].path.len() + 1;
    let at_root = structure.elements.iter().skip(1).filter_map(|element| {
        let name = element.path.get(root..)?;
        let name = name.strip_suffix("[x]").unwrap_or(name);
        (!name.contains('.') && is_kept(element, name)).then(|| (name.into(), Kept::Whole))
    });
    at_root.collect()
}

/// The elements below the one at `at` that `is_kept` keeps; of those that have elements defined in
/// place, again those.
fn within(
    structure: &StructureDefinition,
    at: usize,
    path: &str,
    is_kept: &dyn Fn(&ElementDefinition) -> bool,
) -> Elements {
    let below = |element: &ElementDefinition| {
        let name = element.path.strip_prefix(path)?.strip_prefix('.')?;
        Some(name.strip_suffix("[x]").unwrap_or(name).to_owned())
    };
    let mut kept = Elements::new();
    for (index, element) in structure.elements.iter().enumerate().skip(at + 1) {
        let Some(name) = below(element) else { break };
        if name.contains('.') || !is_kept(element) {
            continue;
        }
        let own = within(structure, index, &element.path, is_kept);
        let has_own = structure.elements.get(index + 1).is_some_and(|next| {
            next.path.strip_prefix(&*element.path).is_some_and(|rest| rest.starts_with('.'))
        });
        let what = if has_own { Kept::Part(own) } else { Kept::Whole };
        kept.insert(name.into(), what);
    }
    kept
}

/// A member's name as it is written, without its quotes. Names of elements have no escapes.
fn name_of(raw: &str) -> &str {
    raw.trim_matches('"')
}

fn write_member(
    (raw_name, value): (&str, Value<'_>),
    (kept, node): (&Elements, Node),
    schema: &Schema,
    comma: bool,
    out: &mut Vec<u8>,
) -> bool {
    let name = name_of(raw_name);
    let bare = name.strip_prefix('_').unwrap_or(name);
    let element = schema.element(node, bare);
    let of_choice = element.and_then(|element| element.choice_name(bare));
    let Some(what) = kept.get(of_choice.unwrap_or(bare)) else { return false };
    if comma {
        out.push(b',');
    }
    write_string(name, out);
    out.push(b':');
    match (what, element.and_then(|element| element.kind.node())) {
        (Kept::Part(kept), Some(node)) if !name.starts_with('_') => {
            write_part(value, (kept, node), schema, out);
        }
        _ => out.extend_from_slice(value.raw().as_bytes()),
    }
    true
}

/// An object with the kept of its elements, or an array of such.
fn write_part(value: Value<'_>, of: (&Elements, Node), schema: &Schema, out: &mut Vec<u8>) {
    match value.kind() {
        Kind::Array => {
            out.push(b'[');
            for (index, item) in value.items().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_part(item, of, schema, out);
            }
            out.push(b']');
        }
        Kind::Object => {
            out.push(b'{');
            let mut any = false;
            for member in value.raw_members() {
                let is_own = matches!(name_of(member.0), "id" | "extension" | "modifierExtension");
                if is_own && !of.0.contains_key(name_of(member.0)) {
                    continue;
                }
                any |= write_member(member, of, schema, any, out);
            }
            out.push(b'}');
        }
        _ => out.extend_from_slice(value.raw().as_bytes()),
    }
}

/// `meta` with the tag among its tags.
fn write_tagged(meta: Value<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut any = false;
    let mut tagged = false;
    for (raw_name, value) in meta.raw_members() {
        if any {
            out.push(b',');
        }
        any = true;
        let name = name_of(raw_name);
        write_string(name, out);
        out.push(b':');
        if name != "tag" || value.kind() != Kind::Array {
            out.extend_from_slice(value.raw().as_bytes());
            continue;
        }
        tagged = true;
        out.push(b'[');
        for tag in value.items() {
            out.extend_from_slice(tag.raw().as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(SUBSETTED.as_bytes());
        out.push(b']');
    }
    if !tagged {
        if any {
            out.push(b',');
        }
        out.extend_from_slice(b"\"tag\":[");
        out.extend_from_slice(SUBSETTED.as_bytes());
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::Projection;
    use fhir_schema::{DefinitionSet, Schema};
    use fhir_search::{Answer, Element, Summary};
    use serde_json::{Value, json};

    fn patient() -> Value {
        json!({
            "resourceType": "Patient", "id": "1",
            "meta": { "versionId": "1", "tag": [{ "code": "own" }] },
            "implicitRules": "http://rules.example",
            "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>" },
            "contained": [{ "resourceType": "Organization", "id": "o" }],
            "active": true, "name": [{ "family": "F", "text": "T" }],
            "_birthDate": { "extension": [{ "url": "u", "valueCode": "c" }] },
            "deceasedBoolean": true,
            "maritalStatus": { "text": "M" },
            "contact": [{ "gender": "male" }],
            "link": [{ "other": { "reference": "Patient/2" }, "type": "seealso", "id": "l" }]
        })
    }

    fn names(answer: &Answer, resource: &Value) -> Vec<String> {
        let part = part(answer, resource);
        let mut names: Vec<_> = part.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    }

    fn part(answer: &Answer, resource: &Value) -> Value {
        let of = resource["resourceType"].as_str().unwrap();
        let projection = Projection::of_matches(answer, of, DefinitionSet::r4()).unwrap();
        let part = projection.apply(resource.to_string().as_bytes(), Schema::r4()).unwrap();
        serde_json::from_slice(&part).unwrap()
    }

    fn summary(summary: Summary) -> Answer {
        Answer { summary: Some(summary), ..Answer::default() }
    }

    fn elements(names: &[&str]) -> Answer {
        let element = |name: &&str| Element { resource_type: None, name: (*name).into() };
        Answer { elements: names.iter().map(element).collect(), ..Answer::default() }
    }

    /// SRCH-215
    #[test]
    fn a_summary_has_what_the_definitions_say() {
        let with = |more: &[&str]| {
            let all = ["id", "meta", "resourceType"];
            let mut names: Vec<String> = all.iter().chain(more).map(|&it| it.into()).collect();
            names.sort();
            names
        };
        let of_true = ["implicitRules", "active", "name", "_birthDate", "deceasedBoolean", "link"];
        assert_eq!(names(&summary(Summary::True), &patient()), with(&of_true));
        assert_eq!(names(&summary(Summary::Text), &patient()), with(&["text"]));
        let mut all: Vec<_> = patient().as_object().unwrap().keys().cloned().collect();
        all.retain(|name| name != "text");
        all.sort();
        assert_eq!(names(&summary(Summary::Data), &patient()), all);
        let of = |of| Projection::of_matches(&summary(of), "Patient", DefinitionSet::r4());
        assert_eq!(of(Summary::False), None);
        // What is mandatory stays, whatever it is.
        let observation = json!({
            "resourceType": "Observation", "id": "1", "status": "final", "code": {},
            "note": [{ "text": "n" }]
        });
        let mandatory = with(&["status", "code"]);
        assert_eq!(names(&summary(Summary::Text), &observation), mandatory);
    }

    /// SRCH-215
    #[test]
    fn of_an_element_with_elements_of_its_own_a_summary_has_the_summary() {
        let part = part(&summary(Summary::True), &patient());
        let link = json!([{ "other": { "reference": "Patient/2" }, "type": "seealso" }]);
        assert_eq!(part["link"], link);
        assert_eq!(part["name"], patient()["name"]);
    }

    /// SRCH-216
    #[test]
    fn a_part_says_that_it_is_one() {
        let bare = json!({ "resourceType": "Patient", "id": "1", "active": true });
        let tag = json!({
            "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
            "code": "SUBSETTED"
        });
        for answer in [
            summary(Summary::True),
            summary(Summary::Text),
            summary(Summary::Data),
            elements(&["active"]),
        ] {
            assert_eq!(part(&answer, &bare)["meta"]["tag"], json!([tag]));
            let tags = json!([{ "code": "own" }, tag]);
            assert_eq!(part(&answer, &patient())["meta"]["tag"], tags);
            assert_eq!(part(&answer, &patient())["meta"]["versionId"], "1");
        }
    }

    /// SRCH-218, SRCH-219, SRCH-220
    #[test]
    fn elements_are_kept_by_name_with_what_is_mandatory_or_modifies() {
        let always = ["id", "implicitRules", "active", "deceasedBoolean", "link", "meta"];
        let with = |more: &[&str]| {
            let all = always.iter().chain(&["resourceType"]).chain(more);
            let mut names: Vec<String> = all.map(|&it| it.into()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&elements(&["birthDate"]), &patient()), with(&["_birthDate"]));
        assert_eq!(names(&elements(&["nothing", "name"]), &patient()), with(&["name"]));
        let observation = json!({
            "resourceType": "Observation", "id": "1", "status": "final", "code": {},
            "valueQuantity": { "value": 1 }, "note": [{ "text": "n" }],
            "modifierExtension": [{ "url": "u" }]
        });
        let kept = ["code", "id", "meta", "modifierExtension", "resourceType", "status"];
        let mut with_value = kept.to_vec();
        with_value.push("valueQuantity");
        assert_eq!(names(&elements(&["value"]), &observation), with_value);
        // Of another type: nothing is asked of this one.
        let other = fhir_core::ResourceType::new("Patient").unwrap();
        let element = Element { resource_type: Some(other), name: "name".into() };
        let answer = Answer { elements: vec![element], ..Answer::default() };
        assert_eq!(Projection::of_matches(&answer, "Observation", DefinitionSet::r4()), None);
    }

    /// SRCH-221
    #[test]
    fn elements_concern_matches_alone_and_a_summary_all() {
        let of = |answer: &Answer| Projection::of_included(answer, "Patient", DefinitionSet::r4());
        assert_eq!(of(&elements(&["name"])), None);
        assert!(of(&summary(Summary::True)).is_some());
    }
}
