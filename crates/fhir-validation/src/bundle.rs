//! The entries of a Bundle, by what references call them (FHIR R4, 2.36.4 "Resolving references
//! in Bundles"), and what is asked of entries beyond their invariants.

use std::borrow::Cow;
use std::collections::HashMap;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Reference, Severity};

use crate::primitive::has_scheme;
use crate::walk::Run;

/// The resources in the entries of a Bundle.
#[derive(Default)]
pub(crate) struct Entries<'a> {
    by_full_url: HashMap<Cow<'a, str>, Value<'a>>,
    /// The fullUrls by the place of their resource.
    full_urls: HashMap<u32, Value<'a>>,
    /// By `Type/id`.
    by_name: HashMap<String, Value<'a>>,
}

impl<'a> Entries<'a> {
    /// Those of a resource, if it is a Bundle.
    pub(crate) fn of(root: Value<'a>) -> Self {
        let mut entries = Self::default();
        match root.get_str("resourceType").as_deref() {
            Some("Bundle") => {
                for entry in items(root, "entry") {
                    entries.add(entry);
                }
            }
            // What stands together in Parameters is found as in a Bundle without fullUrls.
            Some("Parameters") => entries.add_parameters(root, "parameter"),
            _ => {}
        }
        entries
    }

    fn add(&mut self, entry: Value<'a>) {
        let Some(resource) = entry.get("resource") else { return };
        if let Some(url) = entry.get("fullUrl") {
            self.full_urls.insert(resource.place(), url);
        }
        if let Some(url) = entry.get_str("fullUrl") {
            self.by_full_url.entry(url).or_insert(resource);
        }
        if let (Some(name), Some(id)) = (resource.get_str("resourceType"), resource.get_str("id")) {
            self.by_name.entry(format!("{name}/{id}")).or_insert(resource);
        }
    }

    fn add_parameters(&mut self, of: Value<'a>, name: &str) {
        for parameter in items(of, name) {
            self.add(parameter);
            self.add_parameters(parameter, "part");
        }
    }

    /// The fullUrl of the entry that this is the resource of.
    pub(crate) fn full_url_of(&self, resource: Value<'a>) -> Option<Value<'a>> {
        self.full_urls.get(&resource.place()).copied()
    }

    /// What a reference means, from an entry with a fullUrl.
    pub(crate) fn find(&self, reference: &str, full_url: Option<&str>) -> Option<Value<'a>> {
        if self.by_full_url.is_empty() && self.by_name.is_empty() {
            return None;
        }
        let reference = reference.split_once("/_history/").map_or(reference, |(before, _)| before);
        if let Some(found) = self.by_full_url.get(reference) {
            return Some(*found);
        }
        if has_scheme(reference) {
            return None;
        }
        if let Some(Ok(Reference::Absolute(base, _))) = full_url.map(Reference::parse) {
            let whole = format!("{base}/{reference}");
            return self.by_full_url.get(&*whole).copied();
        }
        self.by_name.get(reference).copied()
    }
}

/// The objects of an array, and nothing of anything else.
fn items<'a>(of: Value<'a>, name: &str) -> impl Iterator<Item = Value<'a>> {
    let array = of.get(name).filter(|it| it.kind() == JsonKind::Array);
    array.into_iter().flat_map(|it| it.items()).filter(|it| it.kind() == JsonKind::Object)
}

impl<'a> Run<'a> {
    /// What is asked of a Bundle besides its invariants.
    pub(crate) fn about_bundle(&mut self, bundle: Value<'a>) {
        let entries = bundle.get("entry").filter(|it| it.kind() == JsonKind::Array);
        let bundle_type = bundle.get_str("type").unwrap_or_default();
        for (index, entry) in entries.into_iter().flat_map(|it| it.items()).enumerate() {
            let Some(url) = entry.get("fullUrl") else { continue };
            let Some(text) = url.as_str() else { continue };
            self.enter("entry", Some(index));
            self.enter("fullUrl", None);
            if !has_scheme(&text) {
                let said = "a fullUrl is absolute: http, https, urn:uuid or urn:oid";
                self.error(IssueCode::Invalid, url, "full-url", said);
            } else if let (Ok(Reference::Absolute(_, target)), Some(resource)) =
                (Reference::parse(&text), entry.get("resource"))
            {
                let id = resource.get_str("id");
                let name = resource.get_str("resourceType").unwrap_or_default();
                let is_new = matches!(&*bundle_type, "transaction" | "batch");
                let is_same = id.as_deref() == Some(target.id.as_str())
                    && name == target.resource_type.as_str();
                let may_differ = is_new && id.is_none();
                if !(is_same || may_differ) {
                    let said = format!(
                        "the fullUrl ends in {}/{}, so the resource must be of that type and id",
                        target.resource_type.as_str(),
                        target.id.as_str()
                    );
                    self.tell(Severity::Error, IssueCode::Invalid, url, "full-url", said);
                }
            }
            self.leave();
            self.leave();
        }
    }
}
