//! What the CapabilityStatement says of search: the parameters of each type, and what can be
//! included with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use database::BeingIndexed;
use fhir_search::{Kind, Parameter, Parameters};
use serde_json::{Value, json};

/// Parameters that have a definition and that no element holds, as far as they are supported.
const OF_NO_ELEMENT: [&str; 3] = ["_content", "_filter", "_text"];

/// What can be searched, by type.
pub(crate) struct Stated<'p> {
    parameters: &'p Parameters,
    /// URLs of the definitions that every type has.
    of_all: BTreeSet<&'p str>,
    /// What refers to a type: `Type:code`.
    referring: BTreeMap<&'p str, Vec<String>>,
    being_indexed: Option<&'p BeingIndexed>,
}

impl<'p> Stated<'p> {
    /// Of these parameters for these types; with what of them is not indexed yet.
    pub(crate) fn new(
        parameters: &'p Parameters,
        types: &[&'p str],
        being_indexed: Option<&'p BeingIndexed>,
    ) -> Self {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        let mut referring: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for parameter in parameters.all().filter(|it| is_supported(it)) {
            *count.entry(&parameter.definition.url).or_default() += 1;
            if parameter.kind != Kind::Reference {
                continue;
            }
            let name = include(parameter);
            let targets = &parameter.definition.targets;
            for of in types {
                if targets.is_empty() || targets.iter().any(|target| &**target == *of) {
                    referring.entry(of).or_default().push(name.clone());
                }
            }
        }
        let of_all = count.into_iter().filter(|(_, count)| *count == types.len());
        let of_all = of_all.map(|(url, _)| url).collect();
        Self { parameters, of_all, referring, being_indexed }
    }

    /// `rest.searchParam`: the parameters of every type, which are not said again of each.
    pub(crate) fn of_all(&self) -> Vec<Value> {
        let mut stated: BTreeMap<&str, Value> = BTreeMap::new();
        for parameter in self.parameters.all() {
            if self.of_all.contains(&*parameter.definition.url) {
                stated.entry(parameter.code()).or_insert_with(|| self.state(parameter));
            }
        }
        stated.into_values().collect()
    }

    /// Adds to `rest.resource` of a type what can be searched and included.
    pub(crate) fn add_to(&self, resource: &mut Value, of: &str) {
        let own = || self.parameters.of_type(of).iter().filter(|it| is_supported(it));
        let is_own = |it: &&Arc<Parameter>| !self.of_all.contains(&*it.definition.url);
        let parameters: Vec<Value> = own().filter(is_own).map(|it| self.state(it)).collect();
        let includes = own().filter(|it| it.kind == Kind::Reference);
        let includes: Vec<Value> = includes.map(|it| include(it).into()).collect();
        let referring = self.referring.get(of).cloned().unwrap_or_default();
        // An empty list is none in FHIR.
        if !includes.is_empty() {
            resource["searchInclude"] = includes.into();
        }
        if !referring.is_empty() {
            resource["searchRevInclude"] = referring.into();
        }
        if !parameters.is_empty() {
            resource["searchParam"] = parameters.into();
        }
    }

    fn state(&self, parameter: &Parameter) -> Value {
        let mut stated = json!({
            "name": parameter.code(),
            "definition": &*parameter.definition.url,
            "type": parameter.kind.as_str(),
        });
        let is_missing = |it: &&BeingIndexed| it.parameters.iter().any(|it| it.id == parameter.id);
        if let Some(BeingIndexed { percent, .. }) = self.being_indexed.filter(is_missing) {
            stated["documentation"] = format!(
                "Being indexed: {percent} % of what was written so far. Until then every resource \
                 that could match is looked at."
            )
            .into();
        }
        stated
    }
}

fn is_supported(parameter: &Parameter) -> bool {
    parameter.can_be_searched() || OF_NO_ELEMENT.contains(&parameter.code())
}

/// As `_include` and `_revinclude` take it.
fn include(parameter: &Parameter) -> String {
    format!("{}:{}", parameter.resource_type, parameter.code())
}
