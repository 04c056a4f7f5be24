//! A walk over the places of a resource at which a URL of another resource may stand, by the
//! definitions: FHIR R4, 3.1.0.11.2.1 ("Resolving references").

use std::fmt;

use fhir_core::Resource;
use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::{Kind, Node, Schema};

/// A kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `Reference.reference`
    Reference,
    /// An element of type uri, url, oid or uuid; not canonical, and not `Identifier.system`.
    Uri,
    /// The `div` of a narrative.
    Narrative,
}

/// Where the walk is; written as a simple FHIRPath.
pub(crate) enum Trail<'a> {
    Root(&'a str),
    Member(&'a Trail<'a>, &'a str),
    Item(&'a Trail<'a>, usize),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => formatter.write_str(name),
            Self::Member(parent, name) => write!(formatter, "{parent}.{name}"),
            Self::Item(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

/// Is called with every such place, its value and where it is.
pub(crate) type Visit<'v, 'a> = dyn FnMut(Place, Value<'a>, &Trail<'_>) + 'v;

/// Visits every such place of `resource` in reading order. A Bundle inside is passed over: what
/// its entries refer to is its own affair.
pub(crate) fn walk<'a>(schema: &Schema, resource: &Resource<'a>, visit: &mut Visit<'_, 'a>) {
    let name = resource.resource_type().as_str();
    if let Some(node) = schema.resource(name).filter(|_| name != "Bundle") {
        Walk { schema, visit }.object(resource.value(), node, &Trail::Root(name));
    }
}

struct Walk<'w, 'v, 'a> {
    schema: &'w Schema,
    visit: &'w mut Visit<'v, 'a>,
}

impl<'a> Walk<'_, '_, 'a> {
    fn object(&mut self, object: Value<'a>, node: Node, trail: &Trail<'_>) {
        for (name, value) in object.members() {
            self.member(node, &name, value, &Trail::Member(trail, &name));
        }
    }

    fn member(&mut self, node: Node, name: &str, value: Value<'a>, trail: &Trail<'_>) {
        let Some(element) = self.schema.element(node, name) else {
            return;
        };
        if value.kind() != JsonKind::Array {
            return self.value(element.kind, value, trail);
        }
        for (index, item) in value.items().enumerate() {
            self.value(element.kind, item, &Trail::Item(trail, index));
        }
    }

    fn value(&mut self, kind: Kind, value: Value<'a>, trail: &Trail<'_>) {
        match (kind, value.kind()) {
            (Kind::Complex(node), JsonKind::Object) => self.object(value, node, trail),
            (Kind::Reference(node), JsonKind::Object) => self.reference(value, node, trail),
            (Kind::Identifier(node), JsonKind::Object) => self.identifier(value, node, trail),
            (Kind::Resource, JsonKind::Object) => {
                let name = value.get_str("resourceType").unwrap_or_default();
                if let Some(node) = self.schema.resource(&name).filter(|_| name != "Bundle") {
                    self.object(value, node, trail);
                }
            }
            (Kind::Uri | Kind::Url | Kind::Oid | Kind::Uuid, JsonKind::String) => {
                (self.visit)(Place::Uri, value, trail);
            }
            (Kind::Xhtml, JsonKind::String) => (self.visit)(Place::Narrative, value, trail),
            _ => {}
        }
    }

    fn reference(&mut self, object: Value<'a>, node: Node, trail: &Trail<'_>) {
        for (name, value) in object.members() {
            let trail = Trail::Member(trail, &name);
            match (name.as_ref(), value.kind()) {
                ("reference", JsonKind::String) => {
                    (self.visit)(Place::Reference, value, &trail);
                }
                _ => self.member(node, &name, value, &trail),
            }
        }
    }

    /// `system` names a namespace, never a resource (HTTP-179).
    fn identifier(&mut self, object: Value<'a>, node: Node, trail: &Trail<'_>) {
        for (name, value) in object.members() {
            if name != "system" {
                self.member(node, &name, value, &Trail::Member(trail, &name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, walk};
    use fhir_core::Resource;
    use fhir_core::json::Document;
    use fhir_schema::Schema;

    fn check(text: &str, expected: &[(Place, &str, &str)]) {
        let document = Document::parse(text.as_bytes()).unwrap();
        let resource = Resource::new(document.root()).unwrap();
        let mut found = Vec::new();
        walk(Schema::r4(), &resource, &mut |place, value, trail| {
            found.push((place, trail.to_string(), value.as_str().unwrap().into_owned()));
        });
        let found: Vec<_> = found
            .iter()
            .map(|(place, path, text)| (*place, path.as_str(), text.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_place_that_may_name_another_resource_is_visited() {
        // HTTP-178
        check(
            r##"{"resourceType":"DocumentReference",
                "text":{"div":"<div/>"},
                "contained":[{"resourceType":"Patient","link":[{"other":{"reference":"a"}}]}],
                "extension":[{"url":"no","valueReference":{"reference":"b"}},{"valueUri":"c"}],
                "subject":{"reference":"d","_reference":{"extension":[{"valueUrl":"e"}]}},
                "content":[{"attachment":{"url":"f","title":"no"}}],
                "_status":{"extension":[{"valueUuid":"g"}]}}"##,
            &[
                (Place::Narrative, "DocumentReference.text.div", "<div/>"),
                (Place::Reference, "DocumentReference.contained[0].link[0].other.reference", "a"),
                (Place::Reference, "DocumentReference.extension[0].valueReference.reference", "b"),
                (Place::Uri, "DocumentReference.extension[1].valueUri", "c"),
                (Place::Reference, "DocumentReference.subject.reference", "d"),
                (Place::Uri, "DocumentReference.subject._reference.extension[0].valueUrl", "e"),
                (Place::Uri, "DocumentReference.content[0].attachment.url", "f"),
                (Place::Uri, "DocumentReference._status.extension[0].valueUuid", "g"),
            ],
        );
    }

    #[test]
    fn canonicals_plain_strings_identifiers_and_inner_bundles_are_not() {
        // HTTP-178, HTTP-179
        check(
            r#"{"resourceType":"Parameters","parameter":[
                {"name":"a","valueCanonical":"x"},{"name":"b","valueString":"x"},
                {"name":"c","valueIdentifier":{"system":"x","value":"x","assigner":{"reference":"y"}}},
                {"name":"d","resource":{"resourceType":"Bundle","entry":[{"fullUrl":"x"}]}},
                {"name":"e","part":[{"name":"f","valueReference":{"reference":"z"}}]}]}"#,
            &[
                (
                    Place::Reference,
                    "Parameters.parameter[2].valueIdentifier.assigner.reference",
                    "y",
                ),
                (Place::Reference, "Parameters.parameter[4].part[0].valueReference.reference", "z"),
            ],
        );
    }
}
