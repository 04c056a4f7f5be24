//! Rules that the text of R4 gives for single resource types, beyond what their definitions say:
//! CodeSystem (4.8), ValueSet (4.9), CapabilityStatement (5.2), SearchParameter (5.5), Bundle
//! (2.36).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Severity};

use crate::primitive::has_scheme;
use crate::walk::Run;

/// The items of an array, and nothing of anything else.
fn items<'a>(of: Value<'a>, name: &str) -> impl Iterator<Item = (usize, Value<'a>)> {
    let array = of.get(name).filter(|it| it.kind() == JsonKind::Array);
    array.into_iter().flat_map(|it| it.items()).enumerate()
}

fn texts<'a>(of: Value<'a>, name: &str) -> Vec<Cow<'a, str>> {
    items(of, name).filter_map(|(_, it)| it.as_str()).collect()
}

impl<'a> Run<'a> {
    /// The rules of a resource's type.
    pub(crate) fn by_resource_type(&mut self, name: &str, value: Value<'a>, first_issue: usize) {
        if let Some(rules) = value.get("implicitRules") {
            self.enter("implicitRules", None);
            let said = "these rules may change what the elements mean, and none are known here: the \
                        resource is read without them; leave this out if it holds without them";
            let kind = IssueCode::NotSupported;
            self.tell(Severity::Warning, kind, rules, "implicit-rules", said);
            self.leave();
        }
        match name {
            "Bundle" => {
                self.about_bundle(value);
                self.about_links(value);
                self.about_matches(value);
                self.about_whole(value);
            }
            "CodeSystem" => self.about_code_system(value),
            "ValueSet" => {
                self.about_value_set(value);
                self.about_filter_expressions(value);
            }
            "StructureDefinition" => self.about_structure(value, first_issue),
            "CapabilityStatement" => self.about_capabilities(value),
            "SearchParameter" => self.about_search_parameter(value),
            _ => {}
        }
    }

    fn about_links(&mut self, bundle: Value<'a>) {
        let mut relations = HashSet::new();
        for (index, link) in items(bundle, "link") {
            let Some(relation) = link.get_str("relation") else { continue };
            // These say where one is among pages; of others there may be several.
            let is_of_paging =
                matches!(&*relation, "self" | "first" | "last" | "next" | "previous" | "prev");
            if is_of_paging && !relations.insert(relation.clone()) {
                self.enter("link", Some(index));
                let text = format!("the relation '{relation}' stands once in a Bundle");
                self.error(IssueCode::Duplicate, link, "bundle-link", text);
                self.leave();
            }
        }
    }

    fn about_matches(&mut self, bundle: Value<'a>) {
        if bundle.get_str("type").as_deref() != Some("searchset") {
            return;
        }
        for (index, entry) in items(bundle, "entry") {
            let Some(resource) = entry.get("resource") else { continue };
            let mode = entry.get("search").and_then(|it| it.get_str("mode"));
            let is_outcome =
                resource.get_str("resourceType").as_deref() == Some("OperationOutcome");
            let said = match mode.as_deref() {
                Some("outcome") if !is_outcome => "search.mode outcome is for an OperationOutcome",
                Some("match" | "include") if resource.get("id").is_none() => {
                    "what a search finds has an id"
                }
                _ => continue,
            };
            self.enter("entry", Some(index));
            self.enter("resource", None);
            self.error(IssueCode::Invalid, resource, "bundle-search", said);
            self.leave();
            self.leave();
        }
    }

    fn about_code_system(&mut self, system: Value<'a>) {
        let mut types: HashMap<Cow<'a, str>, Cow<'a, str>> = HashMap::new();
        let mut uris = HashSet::new();
        for (index, property) in items(system, "property") {
            self.enter("property", Some(index));
            if let Some(code) = property.get_str("code") {
                let type_name = property.get_str("type").unwrap_or_default();
                if let Some(known) = types.insert(code.clone(), type_name) {
                    // The first of them is what concepts are held to.
                    let text = format!("a property with the code '{code}' is defined already");
                    types.insert(code, known);
                    self.error(IssueCode::Duplicate, property, "code-system-property", text);
                }
            }
            if let Some(uri) = property.get_str("uri")
                && !uris.insert(uri.clone())
            {
                let text = format!("a property with the uri '{uri}' is defined already");
                self.error(IssueCode::Duplicate, property, "code-system-property", text);
            }
            self.leave();
        }
        self.concepts(system, &types);
    }

    fn concepts(&mut self, parent: Value<'a>, types: &HashMap<Cow<'a, str>, Cow<'a, str>>) {
        for (index, concept) in items(parent, "concept") {
            self.enter("concept", Some(index));
            for (index, property) in items(concept, "property") {
                let Some(wanted) = property.get_str("code").and_then(|it| types.get(&it)) else {
                    continue;
                };
                let given = property.named_members().find_map(|(name, _)| {
                    name.as_str()?.strip_prefix("value").map(ToOwned::to_owned)
                });
                if let Some(given) = given
                    && !given.eq_ignore_ascii_case(wanted)
                {
                    self.enter("property", Some(index));
                    let text = format!("the property is defined as {wanted}, and this is {given}");
                    self.error(IssueCode::Invalid, property, "code-system-property", text);
                    self.leave();
                }
            }
            self.concepts(concept, types);
            self.leave();
        }
    }

    fn about_value_set(&mut self, set: Value<'a>) {
        let Some(compose) = set.get("compose") else { return };
        self.enter("compose", None);
        for part in ["include", "exclude"] {
            for (index, include) in items(compose, part) {
                let Some(system) = include.get("system") else { continue };
                if system.as_str().is_some_and(|it| !has_scheme(&it)) {
                    self.enter(part, Some(index));
                    self.enter("system", None);
                    let text = "the system of a value set is an absolute URI, also of a code \
                                system that is contained";
                    self.error(IssueCode::Invalid, system, "value-set-system", text);
                    self.leave();
                    self.leave();
                }
            }
        }
        self.leave();
    }

    fn about_capabilities(&mut self, statement: Value<'a>) {
        for (rest_index, rest) in items(statement, "rest") {
            for (index, resource) in items(rest, "resource") {
                for (parameter_index, parameter) in items(resource, "searchParam") {
                    let definition = parameter
                        .get_str("definition")
                        .and_then(|it| self.validator.definitions().search_parameter(&it).cloned());
                    let (Some(definition), Some(given)) = (definition, parameter.get("type"))
                    else {
                        continue;
                    };
                    if given.is_string(&definition.kind) {
                        continue;
                    }
                    self.enter("rest", Some(rest_index));
                    self.enter("resource", Some(index));
                    self.enter("searchParam", Some(parameter_index));
                    let text = format!("its definition is of the type {}", definition.kind);
                    self.error(IssueCode::Invalid, given, "search-parameter-type", text);
                    self.leave();
                    self.leave();
                    self.leave();
                }
            }
        }
    }

    fn about_search_parameter(&mut self, parameter: Value<'a>) {
        let derived_from = parameter.get_str("derivedFrom");
        let definition =
            derived_from.and_then(|it| self.validator.definitions().search_parameter(&it).cloned());
        let Some(definition) = definition else { return };
        if let Some(given) = parameter.get("type")
            && !given.is_string(&definition.kind)
        {
            let text = format!(
                "{}, which this is derived from, is of the type {}",
                definition.url, definition.kind
            );
            self.tell(
                Severity::Error,
                IssueCode::BusinessRule,
                given,
                "search-parameter-type",
                text,
            );
        }
        for base in texts(parameter, "base") {
            if !definition
                .base
                .iter()
                .any(|it| **it == *base || matches!(&**it, "Resource" | "DomainResource"))
            {
                let text =
                    format!("{}, which this is derived from, is not for {base}", definition.url);
                self.error(IssueCode::BusinessRule, parameter, "search-parameter-base", text);
            }
        }
    }
}
