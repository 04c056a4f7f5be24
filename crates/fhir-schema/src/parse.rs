//! From the JSON of definitional resources to their types here. Members that are not needed are
//! passed over; those that are needed must be what FHIR says, or the file is named with the line.

use std::sync::Arc;

use fhir_core::json::{Kind, Replacements, Value};

use crate::conformance::{
    CompartmentDefinition, CompartmentResource, OperationDefinition, OperationParameter,
    SearchComponent, SearchParameter,
};
use crate::draft::{ElementDraft, StructureSource};
use crate::interner::Interner;
use crate::structure::{
    Binding, Constraint, Derivation, Discriminator, ExtensionContext, Slicing, StructureDefinition,
    StructureKind, TypeReference, TypedValue,
};
use crate::{SchemaError, TypeKind};

const FHIR_TYPE: &str = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type";
const REGEX: [&str; 2] = [
    "http://hl7.org/fhir/StructureDefinition/regex",
    "http://hl7.org/fhir/StructureDefinition/structuredefinition-regex",
];
const MAX_VALUE_SET: &str = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet";
const BEST_PRACTICE: &str =
    "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice";
/// Parts within parts of an operation's parameter that are followed.
const MAX_PARTS_DEPTH: usize = 16;

/// Reads one file; errors carry its name.
pub(crate) struct Parser<'p> {
    pub(crate) file: &'p str,
    pub(crate) interner: &'p mut Interner,
}

type Parsed<T> = Result<T, SchemaError>;

impl Parser<'_> {
    fn invalid<T>(&self, value: Value<'_>, problem: impl Into<String>) -> Parsed<T> {
        let (line, _) = value.position();
        Err(SchemaError::NotFhir { file: self.file.to_owned(), line, problem: problem.into() })
    }

    fn text(&mut self, object: Value<'_>, name: &str) -> Parsed<Option<Arc<str>>> {
        let Some(value) = object.get(name) else { return Ok(None) };
        match value.as_str() {
            Some(text) => Ok(Some(self.interner.text(&text))),
            None => self.invalid(value, format!("{name} is not a string")),
        }
    }

    pub(crate) fn required_text(&mut self, object: Value<'_>, name: &str) -> Parsed<Arc<str>> {
        match self.text(object, name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => self.invalid(object, format!("{name} is missing")),
        }
    }

    fn boolean(&self, object: Value<'_>, name: &str) -> Parsed<Option<bool>> {
        let Some(value) = object.get(name) else { return Ok(None) };
        match value.as_bool() {
            Some(boolean) => Ok(Some(boolean)),
            None => self.invalid(value, format!("{name} is neither true nor false")),
        }
    }

    fn unsigned(&self, object: Value<'_>, name: &str) -> Parsed<Option<u32>> {
        let Some(value) = object.get(name) else { return Ok(None) };
        match value.as_number().and_then(|number| number.parse().ok()) {
            Some(number) if number <= MAX_COUNT => Ok(Some(number)),
            _ => self.invalid(value, format!("{name} is not a whole number within its bounds")),
        }
    }

    /// The objects of an array.
    fn objects<'a>(&self, object: Value<'a>, name: &str) -> Parsed<Vec<Value<'a>>> {
        let Some(value) = object.get(name) else { return Ok(Vec::new()) };
        if value.kind() != Kind::Array {
            return self.invalid(value, format!("{name} is not an array"));
        }
        let items: Vec<_> = value.items().collect();
        match items.iter().find(|item| item.kind() != Kind::Object) {
            Some(item) => self.invalid(*item, format!("{name} holds what is no object")),
            None => Ok(items),
        }
    }

    /// The strings of an array. A null stands for a string which has extensions alone.
    fn texts(&mut self, object: Value<'_>, name: &str) -> Parsed<Vec<Arc<str>>> {
        let Some(value) = object.get(name) else { return Ok(Vec::new()) };
        if value.kind() != Kind::Array {
            return self.invalid(value, format!("{name} is not an array"));
        }
        let mut texts = Vec::new();
        for item in value.items() {
            match item.as_str() {
                Some(text) => texts.push(self.interner.text(&text)),
                None if item.kind() == Kind::Null => {}
                None => return self.invalid(item, format!("{name} holds what is no string")),
            }
        }
        Ok(texts)
    }

    /// The value of an extension, if that is a string.
    fn extension(&mut self, object: Value<'_>, url: &str) -> Option<Arc<str>> {
        let value = extension(object, url)?.as_str()?;
        Some(self.interner.text(&value))
    }

    pub(crate) fn structure(&mut self, resource: Value<'_>) -> Parsed<StructureSource> {
        let kind = match &*self.required_text(resource, "kind")? {
            "resource" => StructureKind::Type(TypeKind::Resource),
            "complex-type" => StructureKind::Type(TypeKind::Complex),
            "primitive-type" => StructureKind::Type(TypeKind::Primitive),
            "logical" => StructureKind::Logical,
            other => return self.invalid(resource, format!("kind is {other:?}")),
        };
        let derivation = match self.text(resource, "derivation")?.as_deref() {
            None => Derivation::Root,
            Some("specialization") => Derivation::Specialization,
            Some("constraint") => Derivation::Constraint,
            Some(other) => return self.invalid(resource, format!("derivation is {other:?}")),
        };
        let type_name = self.required_text(resource, "type")?;
        let mut contexts = Vec::new();
        for context in self.objects(resource, "context")? {
            contexts.push(ExtensionContext {
                kind: self.required_text(context, "type")?,
                expression: self.required_text(context, "expression")?,
            });
        }
        let snapshot = self.elements(resource, "snapshot")?;
        let differential = self.elements(resource, "differential")?.unwrap_or_default();
        let base = self.text(resource, "baseDefinition")?;
        if derivation == Derivation::Constraint && base.is_none() {
            return self.invalid(resource, "baseDefinition is missing");
        }
        Ok(StructureSource {
            structure: StructureDefinition {
                url: self.required_text(resource, "url")?,
                version: self.text(resource, "version")?,
                name: self.text(resource, "name")?.unwrap_or_else(|| Arc::clone(&type_name)),
                type_name,
                kind,
                is_abstract: self.boolean(resource, "abstract")?.unwrap_or_default(),
                derivation,
                base,
                fhir_version: self.text(resource, "fhirVersion")?,
                contexts,
                context_invariants: self.texts(resource, "contextInvariant")?,
                elements: Vec::new(),
            },
            snapshot,
            differential,
        })
    }

    fn elements(&mut self, resource: Value<'_>, name: &str) -> Parsed<Option<Vec<ElementDraft>>> {
        let Some(view) = resource.get(name) else { return Ok(None) };
        let mut drafts = Vec::new();
        for element in self.objects(view, "element")? {
            drafts.push(self.element(element)?);
        }
        Ok((!drafts.is_empty()).then_some(drafts))
    }

    fn element(&mut self, element: Value<'_>) -> Parsed<ElementDraft> {
        let max = match self.text(element, "max")?.as_deref() {
            None => None,
            Some("*") => Some(None),
            Some(number) => match number.parse() {
                Ok(number) if number <= MAX_COUNT => Some(Some(number)),
                _ => return self.invalid(element, "max is neither a number nor *"),
            },
        };
        let mut draft = ElementDraft {
            id: self.text(element, "id")?,
            path: self.required_text(element, "path")?,
            slice_name: self.text(element, "sliceName")?,
            slicing: match element.get("slicing") {
                Some(slicing) => Some(Arc::new(self.slicing(slicing)?)),
                None => None,
            },
            min: self.unsigned(element, "min")?,
            max,
            types: match element.get("type") {
                Some(_) => Some(self.types(element)?),
                None => None,
            },
            max_length: self.unsigned(element, "maxLength")?,
            binding: match element.get("binding") {
                Some(binding) => Some(Arc::new(self.binding(binding)?)),
                None => None,
            },
            must_support: self.boolean(element, "mustSupport")?,
            is_modifier: self.boolean(element, "isModifier")?,
            is_summary: self.boolean(element, "isSummary")?,
            is_attribute: self
                .texts(element, "representation")?
                .iter()
                .any(|it| &**it == "xmlAttr"),
            ..ElementDraft::default()
        };
        if let Some(reference) = self.text(element, "contentReference")? {
            let Some((_, id)) = reference.split_once('#') else {
                return self
                    .invalid(element, format!("{} has a content reference without #", draft.path));
            };
            draft.content_reference = Some(self.interner.text(id));
        }
        for constraint in self.objects(element, "constraint")? {
            let constraint = self.constraint(constraint)?;
            draft.constraints.push(self.interner.constraint(constraint));
        }
        for (name, value) in element.members() {
            for (prefix, place) in [
                ("fixed", &mut draft.fixed),
                ("pattern", &mut draft.pattern),
                ("minValue", &mut draft.min_value),
                ("maxValue", &mut draft.max_value),
            ] {
                let type_name = name.strip_prefix(prefix).unwrap_or_default();
                if type_name.starts_with(|first: char| first.is_ascii_uppercase()) {
                    let mut json = Vec::new();
                    value.write(&Replacements::default(), &mut json);
                    let json = String::from_utf8(json).expect("JSON is written as UTF-8");
                    *place = Some(Arc::new(TypedValue {
                        type_name: self.interner.text(type_name),
                        json: self.interner.text(&json),
                    }));
                }
            }
        }
        Ok(draft)
    }

    fn slicing(&mut self, slicing: Value<'_>) -> Parsed<Slicing> {
        let mut discriminators = Vec::new();
        for discriminator in self.objects(slicing, "discriminator")? {
            discriminators.push(Discriminator {
                kind: self.required_text(discriminator, "type")?,
                path: self.required_text(discriminator, "path")?,
            });
        }
        let rules = self.text(slicing, "rules")?;
        Ok(Slicing {
            discriminators,
            rules: rules.unwrap_or_else(|| self.interner.text("open")),
            ordered: self.boolean(slicing, "ordered")?.unwrap_or_default(),
        })
    }

    fn types(&mut self, element: Value<'_>) -> Parsed<Arc<[TypeReference]>> {
        let mut types = Vec::new();
        for it in self.objects(element, "type")? {
            types.push(TypeReference {
                code: match self.text(it, "code")? {
                    Some(code) => code,
                    // R4's own primitives have no code at their value, only `_code`.
                    None => self.interner.text(""),
                },
                fhir_type: self.extension(it, FHIR_TYPE),
                regex: REGEX.iter().find_map(|url| self.extension(it, url)),
                profiles: self.texts(it, "profile")?,
                target_profiles: self.texts(it, "targetProfile")?,
                aggregation: self.texts(it, "aggregation")?,
                versioning: self.text(it, "versioning")?,
            });
        }
        Ok(self.interner.type_list(types))
    }

    fn binding(&mut self, binding: Value<'_>) -> Parsed<Binding> {
        let mut max_value_set = self.extension(binding, MAX_VALUE_SET);
        // R5 says it in `additional`.
        for additional in self.objects(binding, "additional")? {
            if self.text(additional, "purpose")?.as_deref() == Some("maximum") {
                max_value_set = self.text(additional, "valueSet")?.or(max_value_set);
            }
        }
        Ok(Binding {
            strength: self.required_text(binding, "strength")?,
            value_set: self.text(binding, "valueSet")?,
            max_value_set,
        })
    }

    fn constraint(&mut self, constraint: Value<'_>) -> Parsed<Constraint> {
        let best_practice = extension(constraint, BEST_PRACTICE).and_then(|value| value.as_bool());
        Ok(Constraint {
            key: self.required_text(constraint, "key")?,
            severity: self.required_text(constraint, "severity")?,
            human: self.text(constraint, "human")?.unwrap_or_else(|| self.interner.text("")),
            expression: self.text(constraint, "expression")?,
            source: self.text(constraint, "source")?,
            is_best_practice: best_practice.unwrap_or_default(),
        })
    }

    pub(crate) fn search_parameter(&mut self, resource: Value<'_>) -> Parsed<SearchParameter> {
        let mut components = Vec::new();
        for component in self.objects(resource, "component")? {
            components.push(SearchComponent {
                definition: self.required_text(component, "definition")?,
                expression: self.required_text(component, "expression")?,
            });
        }
        Ok(SearchParameter {
            url: self.required_text(resource, "url")?,
            version: self.text(resource, "version")?,
            code: self.required_text(resource, "code")?,
            base: self.texts(resource, "base")?,
            kind: self.required_text(resource, "type")?,
            expression: self.text(resource, "expression")?,
            targets: self.texts(resource, "target")?,
            components,
            modifiers: self.texts(resource, "modifier")?,
            comparators: self.texts(resource, "comparator")?,
            status: self.text(resource, "status")?,
            derived_from: self.text(resource, "derivedFrom")?,
            multiple_or: self.boolean(resource, "multipleOr")?,
            multiple_and: self.boolean(resource, "multipleAnd")?,
            chains: self.texts(resource, "chain")?,
            usage: self.text(resource, "xpathUsage")?,
        })
    }

    pub(crate) fn compartment(&mut self, resource: Value<'_>) -> Parsed<CompartmentDefinition> {
        let mut resources = Vec::new();
        for it in self.objects(resource, "resource")? {
            resources.push(CompartmentResource {
                code: self.required_text(it, "code")?,
                params: self.texts(it, "param")?,
            });
        }
        Ok(CompartmentDefinition {
            url: self.required_text(resource, "url")?,
            code: self.required_text(resource, "code")?,
            resources,
        })
    }

    pub(crate) fn operation(&mut self, resource: Value<'_>) -> Parsed<OperationDefinition> {
        Ok(OperationDefinition {
            url: self.required_text(resource, "url")?,
            version: self.text(resource, "version")?,
            code: self.required_text(resource, "code")?,
            kind: self.required_text(resource, "kind")?,
            resources: self.texts(resource, "resource")?,
            affects_state: self.boolean(resource, "affectsState")?.unwrap_or_default(),
            system: self.boolean(resource, "system")?.unwrap_or_default(),
            on_type: self.boolean(resource, "type")?.unwrap_or_default(),
            instance: self.boolean(resource, "instance")?.unwrap_or_default(),
            parameters: self.operation_parameters(resource, "parameter", 0)?,
        })
    }

    fn operation_parameters(
        &mut self,
        object: Value<'_>,
        name: &str,
        depth: usize,
    ) -> Parsed<Vec<OperationParameter>> {
        if depth > MAX_PARTS_DEPTH {
            return self.invalid(object, "parts stand too deep in each other");
        }
        let mut parameters = Vec::new();
        for it in self.objects(object, name)? {
            parameters.push(OperationParameter {
                name: self.required_text(it, "name")?,
                direction: self.required_text(it, "use")?,
                min: self.unsigned(it, "min")?.unwrap_or_default(),
                max: self.text(it, "max")?.and_then(|max| max.parse().ok()),
                type_name: self.text(it, "type")?,
                parts: self.operation_parameters(it, "part", depth + 1)?,
            });
        }
        Ok(parameters)
    }
}

/// More than any count in a definition means.
const MAX_COUNT: u32 = (1 << 27) - 1;

/// The value of an extension.
fn extension<'a>(object: Value<'a>, url: &str) -> Option<Value<'a>> {
    let found = object
        .get("extension")?
        .items()
        .find(|it| it.get_str("url").is_some_and(|found| found == url))?;
    found.members().find(|(name, _)| name.starts_with("value")).map(|(_, value)| value)
}
