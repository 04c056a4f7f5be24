//! A StructureDefinition as a resource (FHIR R4, 5.3): whether its differential can be laid over
//! its base, and whether the profiles that it names are for the types beside them.

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Severity};
use fhir_schema::{DefinitionSet, SchemaError};

use crate::program::compile_anywhere;
use crate::walk::Run;

fn items<'a>(of: Value<'a>, name: &str) -> impl Iterator<Item = (usize, Value<'a>)> {
    let array = of.get(name).filter(|it| it.kind() == JsonKind::Array);
    array.into_iter().flat_map(|it| it.items()).enumerate()
}

impl<'a> Run<'a> {
    /// `first_issue` is how many issues there were before the resource.
    pub(crate) fn about_structure(&mut self, structure: Value<'a>, first_issue: usize) {
        for name in ["snapshot", "differential"] {
            let Some(view) = structure.get(name) else { continue };
            self.enter(name, None);
            for (index, element) in items(view, "element") {
                self.enter("element", Some(index));
                self.about_element_types(element);
                self.about_constraints(element);
                self.leave();
            }
            self.leave();
        }
        // What is of the wrong form is told already.
        // HL7 writes data elements as structures whose type is an element: these have no base.
        let is_of_type = structure.get_str("type").is_some_and(|it| !it.contains('.'));
        if is_of_type && !self.has_errors_since(first_issue) {
            self.about_views(structure);
        }
    }

    /// The profiles of an element's types.
    fn about_element_types(&mut self, element: Value<'a>) {
        let path = element.get_str("path").unwrap_or_default();
        for (type_index, of_type) in items(element, "type") {
            let Some(code) = of_type.get_str("code") else { continue };
            for (index, profile) in items(of_type, "profile") {
                let Some(canonical) = profile.as_str() else { continue };
                let problem = self.profile_problem(&code, &path, &canonical);
                if let Some(problem) = problem {
                    self.enter("type", Some(type_index));
                    self.enter("profile", Some(index));
                    self.error(IssueCode::Invalid, profile, "element-profile", problem);
                    self.leave();
                    self.leave();
                }
            }
        }
    }

    fn profile_problem(&self, code: &str, path: &str, canonical: &str) -> Option<String> {
        let schema = self.validator.schema();
        let profile = self.validator.definitions().structure(canonical)?;
        let of = &*profile.type_name;
        // Of an abstract type, such as Resource, there are instances of other types alone.
        let is_for = of == code || (schema.is_abstract(code) && schema.is_subtype(of, code));
        if !is_for {
            return Some(format!("{canonical} is for {of}, and the type here is {code}"));
        }
        let name = path.rsplit('.').next().unwrap_or_default();
        let is_modifier = profile.elements.first().is_some_and(|it| it.flags.is_modifier);
        match (name, is_modifier) {
            ("extension", true) => Some(format!(
                "{canonical} changes the meaning of what it stands in; it belongs to \
                 'modifierExtension'"
            )),
            ("modifierExtension", false) if profile.is_profile() => {
                Some(format!("{canonical} changes no meaning; it belongs to 'extension'"))
            }
            _ => None,
        }
    }

    /// The expressions of an element's constraints.
    fn about_constraints(&mut self, element: Value<'a>) {
        for (index, constraint) in items(element, "constraint") {
            let Some(expression) = constraint.get("expression") else { continue };
            let Some(text) = expression.as_str() else { continue };
            if let Err(reason) = compile_anywhere(&text, self.validator.schema()) {
                self.enter("constraint", Some(index));
                self.enter("expression", None);
                let said = format!("this is no FHIRPath, so it is never evaluated: {reason}");
                self.tell(Severity::Warning, IssueCode::Invalid, expression, "fhirpath", said);
                self.leave();
                self.leave();
            }
        }
    }

    /// Snapshot and differential against the base.
    fn about_views(&mut self, structure: Value<'a>) {
        let definitions: &DefinitionSet = self.validator.definitions();
        let Err(error) = definitions.try_structure(structure) else { return };
        match &error {
            SchemaError::NoBase { base, .. } => {
                let said = format!("the base {base} is not loaded, so nothing was checked by it");
                self.tell(Severity::Warning, IssueCode::NotFound, structure, "snapshot", said);
            }
            SchemaError::NoSnapshot(_) => {}
            SchemaError::Snapshot { element, problem, .. } => {
                let found = ["differential", "snapshot"].into_iter().find_map(|name| {
                    let view = structure.get(name)?;
                    let has_path =
                        |it: Value<'a>| it.get("path").is_some_and(|it| it.is_string(element));
                    let (index, found) = items(view, "element").find(|(_, it)| has_path(*it))?;
                    Some((name, index, found))
                });
                let said = format!("no snapshot can be made: '{element}' {problem}");
                match found {
                    Some((name, index, at)) => {
                        self.enter(name, None);
                        self.enter("element", Some(index));
                        self.error(IssueCode::Invalid, at, "snapshot", said);
                        self.leave();
                        self.leave();
                    }
                    None => self.error(IssueCode::Invalid, structure, "snapshot", said),
                }
            }
            other => {
                let said = format!("no snapshot can be made: {other}");
                self.error(IssueCode::Invalid, structure, "snapshot", said);
            }
        }
    }
}
