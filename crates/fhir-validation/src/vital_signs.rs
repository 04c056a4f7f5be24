//! The profiles that R4 has for vital signs, by the codes that they are for (R4, "Vital Signs
//! Profile": a vital sign that is recorded with one of these codes meets the profile).
//!
//! Nothing is listed here: which code has which profile is what the profiles themselves fix.

use std::collections::HashMap;
use std::sync::Arc;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::structure::StructureDefinition;
use fhir_schema::{DefinitionSet, Node};

use crate::options::VitalSigns;
use crate::walk::{Instance, Run, Scope};

const BASE: &str = "http://hl7.org/fhir/StructureDefinition/vitalsigns";
const CATEGORY: &str = "vital-signs";

/// System and code.
type Code = (Box<str>, Box<str>);

/// Codes to the canonicals of profiles.
pub(crate) struct VitalSignProfiles {
    /// Codes of the Observation.
    of_codes: HashMap<Code, Arc<str>>,
    /// Codes of its components.
    of_components: HashMap<Code, Arc<str>>,
}

impl VitalSignProfiles {
    /// Those of a FHIR version.
    pub(crate) fn of(definitions: &DefinitionSet) -> Self {
        let mut found = Self { of_codes: HashMap::new(), of_components: HashMap::new() };
        let is_of_core = |it: &StructureDefinition| {
            it.base.as_deref() == Some(BASE)
                && it.url.starts_with("http://hl7.org/fhir/StructureDefinition/")
        };
        for structure in definitions.structures().filter(|it| is_of_core(it)) {
            for (path, codes) in [
                ("Observation.code.coding.code", &mut found.of_codes),
                ("Observation.component.code.coding.code", &mut found.of_components),
            ] {
                for code in fixed_codes(structure, path) {
                    codes.entry(code).or_insert_with(|| Arc::clone(&structure.url));
                }
            }
        }
        found
    }
}

/// The codes that a profile fixes at a path, each with the system fixed beside it.
fn fixed_codes(structure: &StructureDefinition, path: &str) -> Vec<Code> {
    let fixed = |id: &str| {
        let value = structure.element(id)?.fixed.as_ref()?;
        Some(Box::<str>::from(value.json.trim_matches('"')))
    };
    let of_path = structure.elements.iter().filter(|it| &*it.path == path);
    of_path
        .filter_map(|it| {
            let coding = it.id.strip_suffix(".code")?;
            Some((fixed(&format!("{coding}.system"))?, fixed(&it.id)?))
        })
        .collect()
}

impl<'a> Run<'a> {
    /// An Observation against the profiles that its codes stand for.
    pub(crate) fn vital_sign(&mut self, value: Value<'a>, node: Node, scope: Scope<'a>) {
        if self.options.vital_signs == VitalSigns::WhereClaimed {
            return;
        }
        let profiles = self.validator.vital_signs();
        let mut met: Vec<&'a Arc<str>> = Vec::new();
        let mut meet = |codes: &'a HashMap<Code, Arc<str>>, coded: Value<'a>| {
            for (system, code) in codings(coded) {
                let url = codes.iter().find(|((of, it), _)| **of == *system && **it == *code);
                if let Some((_, url)) = url
                    && !met.contains(&url)
                {
                    met.push(url);
                }
            }
        };
        if let Some(code) = value.get("code") {
            meet(&profiles.of_codes, code);
        }
        // A component has the code of a vital sign in other observations too.
        let by_part = self.options.vital_signs == VitalSigns::ByCodeOrPart;
        if by_part && is_vital_sign(value) {
            for component in items(value, "component") {
                if let Some(code) = component.get("code") {
                    meet(&profiles.of_components, code);
                }
            }
        }
        for url in met {
            if let Some(program) = self.validator.profile(url) {
                let instance = Instance { value: Some(value), sibling: None, element: None };
                self.conform(program, 0, instance, node, scope);
            }
        }
    }
}

fn items<'a>(of: Value<'a>, name: &str) -> impl Iterator<Item = Value<'a>> {
    let array = of.get(name).filter(|it| it.kind() == JsonKind::Array);
    array.into_iter().flat_map(|it| it.items()).filter(|it| it.kind() == JsonKind::Object)
}

fn codings<'a>(
    of: Value<'a>,
) -> impl Iterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)> {
    items(of, "coding").filter_map(|it| Some((it.get_str("system")?, it.get_str("code")?)))
}

fn is_vital_sign(observation: Value<'_>) -> bool {
    items(observation, "category").any(|it| codings(it).any(|(_, code)| code == CATEGORY))
}
