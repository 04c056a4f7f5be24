//! What must stand together in a Bundle that is a document or a message (FHIR R4, 3.3.1 and
//! 2.4.2).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Severity};

use crate::walk::Run;

/// An entry's resource, with its index and fullUrl.
struct Part<'a> {
    index: usize,
    resource: Value<'a>,
    full_url: Option<Value<'a>>,
}

impl<'a> Run<'a> {
    /// A document or message as a whole: what it must have with it, and what nothing leads to.
    pub(crate) fn about_whole(&mut self, bundle: Value<'a>) {
        let bundle_type = bundle.get_str("type").unwrap_or_default();
        if !matches!(&*bundle_type, "document" | "message") {
            return;
        }
        let entries = bundle.get("entry").filter(|it| it.kind() == JsonKind::Array);
        let parts: Vec<Part<'a>> = entries
            .into_iter()
            .flat_map(|it| it.items())
            .enumerate()
            .filter_map(|(index, entry)| {
                let resource = entry.get("resource").filter(|it| it.kind() == JsonKind::Object)?;
                Some(Part { index, resource, full_url: entry.get("fullUrl") })
            })
            .collect();
        let Some(first) = parts.first() else { return };
        match (&*bundle_type, first.resource.get_str("resourceType").as_deref()) {
            ("document", Some("Composition")) => {
                let mut references = Vec::new();
                own_references(first.resource, &mut String::new(), &mut references);
                for (path, reference) in references {
                    self.must_be_given(first, &path, reference, "Composition");
                }
                self.unreachable(&parts);
            }
            ("message", Some("MessageHeader")) => {
                let focus = first.resource.get("focus").filter(|it| it.kind() == JsonKind::Array);
                for (at, reference) in focus.into_iter().flat_map(|it| it.items()).enumerate() {
                    self.must_be_given(first, &format!("focus[{at}]"), reference, "MessageHeader");
                }
            }
            _ => {}
        }
    }

    /// A reference of the first entry, whose target must be in the Bundle.
    fn must_be_given(
        &mut self,
        from: &Part<'a>,
        path: &str,
        reference: Value<'a>,
        name: &'static str,
    ) {
        let Some(value) = reference.get("reference") else { return };
        let Some(text) = value.as_str().filter(|it| !it.is_empty() && !it.starts_with('#')) else {
            return;
        };
        let full_url = from.full_url.and_then(|it| it.as_str());
        if self.surroundings.entries.find(&text, full_url.as_deref()).is_some() {
            return;
        }
        self.enter("entry", Some(from.index));
        self.enter("resource", None);
        let said = format!(
            "what the {name} refers to stands in the Bundle with it, and '{text}' does not; add \
             its entry, with a fullUrl that the reference leads to"
        );
        let severity = Severity::Error;
        self.tell_below(path, severity, IssueCode::NotFound, value, "reference-missing", said);
        self.leave();
        self.leave();
    }

    /// The entries of a document that no way of references leads to from the Composition, forth
    /// or back.
    fn unreachable(&mut self, parts: &[Part<'a>]) {
        let by_place: HashMap<u32, usize> =
            parts.iter().enumerate().map(|(at, it)| (it.resource.place(), at)).collect();
        let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
        for (at, part) in parts.iter().enumerate() {
            let full_url = part.full_url.and_then(|it| it.as_str());
            let mut references = Vec::new();
            all_references(part.resource, &mut references);
            for reference in references {
                let found = self.surroundings.entries.find(&reference, full_url.as_deref());
                if let Some(to) = found.and_then(|it| by_place.get(&it.place())) {
                    neighbours[at].push(*to);
                    neighbours[*to].push(at);
                }
            }
        }
        let mut reached = HashSet::from([0]);
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            open.extend(neighbours[at].iter().copied().filter(|it| reached.insert(*it)));
        }
        for (at, part) in parts.iter().enumerate() {
            // A stylesheet is a Binary that nothing refers to (R4 3.3.1).
            let is_binary = part.resource.get_str("resourceType").as_deref() == Some("Binary");
            if !reached.contains(&at) && !is_binary {
                self.enter("entry", Some(part.index));
                let said = "nothing leads from the Composition to this entry; refer to it, or leave \
                            it out";
                let severity = Severity::Warning;
                self.tell(severity, IssueCode::Informational, part.resource, "document", said);
                self.leave();
            }
        }
    }
}

/// The references of a resource that are its own: not those of what it contains, and none of
/// extensions. Each with its path.
fn own_references<'a>(value: Value<'a>, path: &mut String, found: &mut Vec<(String, Value<'a>)>) {
    if value.get("reference").is_some_and(|it| it.kind() == JsonKind::String) {
        found.push((path.clone(), value));
    }
    for (name, member) in value.named_members() {
        let Some(name) = name.as_str() else { continue };
        if matches!(&*name, "contained" | "extension" | "modifierExtension") {
            continue;
        }
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(&name);
        match member.kind() {
            JsonKind::Object => own_references(member, path, found),
            JsonKind::Array => {
                let length = path.len();
                for (index, item) in member.items().enumerate() {
                    if item.kind() == JsonKind::Object {
                        path.push_str(&format!("[{index}]"));
                        own_references(item, path, found);
                        path.truncate(length);
                    }
                }
            }
            _ => {}
        }
        path.truncate(length);
    }
}

/// Every reference in a resource and in what it contains.
fn all_references<'a>(value: Value<'a>, found: &mut Vec<Cow<'a, str>>) {
    match value.kind() {
        JsonKind::Object => {
            found.extend(value.get_str("reference"));
            for (_, member) in value.named_members() {
                all_references(member, found);
            }
        }
        JsonKind::Array => {
            for item in value.items() {
                all_references(item, found);
            }
        }
        _ => {}
    }
}
