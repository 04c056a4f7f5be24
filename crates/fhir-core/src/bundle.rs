//! Bundle (FHIR R4, 2.36), read as batches and transactions need it.

use std::borrow::Cow;

use crate::json::{Kind, Value};
use crate::{Issue, IssueCode, Resource};

/// `Bundle.type`, as far as an endpoint acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleType {
    /// Entries stand alone.
    Batch,
    /// All entries or none.
    Transaction,
    /// Any other type.
    Other,
}

/// A Bundle whose entries were looked at once.
#[derive(Debug, Clone)]
pub struct Bundle<'a> {
    /// What to do with it.
    pub bundle_type: BundleType,
    /// The entries in order.
    pub entries: Vec<BundleEntry<'a>>,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct BundleEntry<'a> {
    /// `fullUrl`.
    pub full_url: Option<Cow<'a, str>>,
    /// `resource`, with its type read.
    pub resource: Option<Resource<'a>>,
    /// `request`.
    pub request: Option<BundleRequest<'a>>,
}

/// `entry.request`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is the element of that name")]
pub struct BundleRequest<'a> {
    pub method: Cow<'a, str>,
    pub url: Cow<'a, str>,
    pub if_match: Option<Cow<'a, str>>,
    pub if_none_match: Option<Cow<'a, str>>,
    pub if_modified_since: Option<Cow<'a, str>>,
    pub if_none_exist: Option<Cow<'a, str>>,
}

/// The resource is no Bundle that can be carried out; the issues say where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedBundle {
    /// What is wrong, all of it.
    pub issues: Vec<Issue>,
}

/// How many issues one answer lists.
const MAX_ISSUES: usize = 50;

impl<'a> Bundle<'a> {
    /// Reads a Bundle's type and entries.
    ///
    /// # Errors
    /// [`MalformedBundle`] when an element has another JSON type than the Bundle's definition
    /// gives it, or `type` is missing.
    pub fn read(resource: &Resource<'a>) -> Result<Self, MalformedBundle> {
        let mut reader = Reader { issues: Vec::new() };
        let value = resource.value();
        let bundle_type = match reader.text(value, "type", "Bundle").as_deref() {
            Some("batch") => BundleType::Batch,
            Some("transaction") => BundleType::Transaction,
            Some(_) => BundleType::Other,
            None => {
                // What is there and no string was reported when it was read.
                if value.get("type").is_none() {
                    reader.fail(IssueCode::Required, "Bundle.type", "a Bundle needs a type");
                }
                BundleType::Other
            }
        };
        let mut entries = Vec::new();
        match value.get("entry") {
            None => {}
            Some(list) if list.kind() == Kind::Array => {
                for (index, entry) in list.items().enumerate() {
                    entries.push(reader.entry(entry, &format!("Bundle.entry[{index}]")));
                }
            }
            Some(_) => reader.fail(IssueCode::Structure, "Bundle.entry", "must be an array"),
        }
        if reader.issues.is_empty() {
            Ok(Self { bundle_type, entries })
        } else {
            Err(MalformedBundle { issues: reader.issues })
        }
    }
}

struct Reader {
    issues: Vec<Issue>,
}

impl Reader {
    fn fail(&mut self, code: IssueCode, expression: &str, text: &str) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(Issue::error(code, format!("{expression}: {text}")).at(expression));
        }
    }

    /// The string member `name` of `object`, which stands at `path`.
    fn text<'a>(&mut self, object: Value<'a>, name: &str, path: &str) -> Option<Cow<'a, str>> {
        let value = object.get(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.fail(IssueCode::Structure, &format!("{path}.{name}"), "must be a string");
        }
        text
    }

    fn entry<'a>(&mut self, entry: Value<'a>, path: &str) -> BundleEntry<'a> {
        if entry.kind() != Kind::Object {
            self.fail(IssueCode::Structure, path, "must be an object");
        }
        let resource = entry.get("resource").and_then(|value| match Resource::new(value) {
            Ok(resource) => Some(resource),
            Err(error) => {
                let issue = error.issue();
                let at = format!("{path}.resource.resourceType");
                self.fail(issue.code, &at, &issue.diagnostics);
                None
            }
        });
        BundleEntry {
            full_url: self.text(entry, "fullUrl", path),
            resource,
            request: entry
                .get("request")
                .map(|request| self.request(request, &format!("{path}.request"))),
        }
    }

    fn request<'a>(&mut self, request: Value<'a>, path: &str) -> BundleRequest<'a> {
        let required = |reader: &mut Self, name: &str| {
            if request.get(name).is_none() {
                reader.fail(IssueCode::Required, &format!("{path}.{name}"), "is missing");
            }
            reader.text(request, name, path).unwrap_or_default()
        };
        BundleRequest {
            method: required(self, "method"),
            url: required(self, "url"),
            if_match: self.text(request, "ifMatch", path),
            if_none_match: self.text(request, "ifNoneMatch", path),
            if_modified_since: self.text(request, "ifModifiedSince", path),
            if_none_exist: self.text(request, "ifNoneExist", path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bundle, BundleType};
    use crate::Resource;
    use crate::json::Document;

    fn check(text: &str) -> Result<usize, Vec<String>> {
        let document = Document::parse(text.as_bytes()).unwrap();
        let resource = Resource::new(document.root()).unwrap();
        match Bundle::read(&resource) {
            Ok(bundle) => {
                assert_eq!(bundle.bundle_type, BundleType::Transaction);
                Ok(bundle.entries.len())
            }
            Err(malformed) => {
                Err(malformed.issues.into_iter().flat_map(|issue| issue.expression).collect())
            }
        }
    }

    #[test]
    fn a_bundle_without_entries_is_whole() {
        // HTTP-239
        assert_eq!(check(r#"{"resourceType":"Bundle","type":"transaction"}"#), Ok(0));
    }

    #[test]
    fn every_malformed_part_is_named() {
        // HTTP-171, HTTP-205
        assert_eq!(
            check(
                r#"{"resourceType":"Bundle","entry":[1,{"fullUrl":2,"resource":{},"request":{"url":"Patient"}}]}"#
            ),
            Err([
                "Bundle.type",
                "Bundle.entry[0]",
                "Bundle.entry[1].resource.resourceType",
                "Bundle.entry[1].fullUrl",
                "Bundle.entry[1].request.method",
            ]
            .map(str::to_owned)
            .to_vec())
        );
    }

    #[test]
    fn a_type_that_is_no_string_is_named_once() {
        let named = Err(vec!["Bundle.type".to_owned()]);
        assert_eq!(check(r#"{"resourceType":"Bundle","type":1}"#), named);
        assert_eq!(check(r#"{"resourceType":"Bundle","type":null}"#), named);
    }
}
