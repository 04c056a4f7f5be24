//! Extensions (FHIR R4, 2.5): their URLs, their definitions, and where they may stand.

use fhir_core::json::Value;
use fhir_core::{IssueCode, Severity};
use fhir_schema::Node;
use fhirpath::{Context, FhirValue, Item};

use crate::cross_version::{CrossVersion, Known, plain};
use crate::host::Surroundings;
use crate::options::{Depth, ExampleUrls, UnknownExtensions};
use crate::primitive::has_scheme;
use crate::profile::BUDGET;
use crate::program::{Lazy, Program};
use crate::text::is_example_url;
use crate::walk::{ExtensionPlace, Instance, Run, Scope};

impl<'a> Run<'a> {
    /// An extension against its definition.
    pub(crate) fn about_extension(
        &mut self,
        instance: Instance<'a>,
        value: Value<'a>,
        scope: Scope<'a>,
        node: Node,
    ) {
        let Some(url) = value.get("url") else { return };
        let Some(text) = url.as_str() else { return };
        let Some(place) = self.extension_place() else { return };
        let is_nested = place.parent.type_name == "Extension";
        if !has_scheme(&text) {
            if !is_nested {
                self.enter("url", None);
                let said = "the url of an extension is absolute, but for those inside another";
                self.error(IssueCode::Invalid, url, "extension-url", said);
                self.leave();
            }
            return;
        }
        if self.depth < Depth::Profiles {
            return;
        }
        let is_modifier = place.is_modifier;
        let Some(program) = self.validator.profile(&text) else {
            if let Some(extension) = CrossVersion::parse(&text) {
                return self.cross_version_extension(&extension, value, url, &place);
            }
            return self.unknown_extension(&text, url, is_modifier);
        };
        if &*program.structure.type_name != "Extension" {
            let said = format!("{text} is no extension");
            return self.error(IssueCode::Invalid, url, "extension-url", said);
        }
        let defined = &program.structure.elements[0];
        if defined.flags.is_modifier != is_modifier {
            let said = match is_modifier {
                true => "this extension changes no meaning; put it into 'extension'",
                false => "this extension changes the meaning; put it into 'modifierExtension'",
            };
            self.error(IssueCode::Structure, value, "extension-modifier", said);
        }
        self.extension_context(program, &place, &text, url, scope);
        self.conform(program, 0, instance, node, scope);
    }

    /// An extension that no definition is loaded for.
    fn unknown_extension(&mut self, text: &str, url: Value<'a>, is_modifier: bool) {
        let is_let_pass = self.options.extension_domains.iter().any(|it| text.starts_with(it))
            || (self.options.example_urls == ExampleUrls::Allow && is_example_url(text));
        let severity = match (self.options.unknown_extensions, is_modifier) {
            (UnknownExtensions::Refuse, false) if !is_let_pass => Severity::Error,
            (UnknownExtensions::Refuse | UnknownExtensions::RefuseModifiers, true) => {
                Severity::Error
            }
            (UnknownExtensions::Warn, true) => Severity::Warning,
            (_, false) => Severity::Information,
        };
        let said = format!("no definition of the extension {text} is loaded");
        self.tell(severity, IssueCode::NotSupported, url, "extension-unknown", said);
    }

    /// An extension that carries an element of another version.
    fn cross_version_extension(
        &mut self,
        extension: &CrossVersion<'_>,
        value: Value<'a>,
        url: Value<'a>,
        place: &ExtensionPlace<'a>,
    ) {
        let CrossVersion { version, path } = extension;
        let (severity, said) = match extension.judge(self.validator.definitions()) {
            Known::NoSuchVersion => (
                Severity::Error,
                format!("there is no FHIR version '{version}'; take 1.0, 3.0, 4.0, 4.3 or 5.0"),
            ),
            Known::NoPath => (Severity::Error, format!("'{path}' is no path of an element")),
            Known::NoSuchElement => {
                (Severity::Error, format!("FHIR {version} has no element '{path}'"))
            }
            Known::OwnElement => (
                Severity::Warning,
                format!("'{path}' is an element of this very version; write it as that"),
            ),
            Known::InBoth => {
                self.carried_elements(extension, extension.plain_path(), value);
                // At that element itself stands what it cannot hold, such as a later code.
                if place.parent.paths.iter().any(|it| plain(it) == extension.plain_path()) {
                    return;
                }
                let said = format!(
                    "'{path}' is an element of this version too; write as that what it can hold"
                );
                (Severity::Warning, said)
            }
            Known::InThatVersion => {
                return self.carried_elements(extension, extension.plain_path(), value);
            }
        };
        self.tell(severity, IssueCode::NotSupported, url, "extension-cross-version", said);
    }

    /// What stands inside an extension that carries an element with elements of its own: each has
    /// the name of one of those. Where a datatype says what is in the element, nothing is asked.
    fn carried_elements(&mut self, extension: &CrossVersion<'_>, path: &str, value: Value<'a>) {
        let Some(elements) = extension.elements() else { return };
        let names = elements.children(path);
        let Some(parts) = value.get("extension").filter(|_| !names.is_empty()) else { return };
        for (at, part) in parts.items().enumerate() {
            let Some(url) = part.get("url") else { continue };
            let Some(name) = url.as_str().filter(|it| !has_scheme(it)) else { continue };
            self.enter("extension", Some(at));
            if names.contains(&plain(&name)) {
                let path = format!("{}.{}", elements.content(path), plain(&name));
                self.carried_elements(extension, &path, part);
            } else {
                let said = format!(
                    "'{path}' of FHIR {} has no element '{name}', but: {}",
                    extension.version,
                    names.join(", ")
                );
                self.error(IssueCode::Invalid, url, "extension-cross-version", said);
            }
            self.leave();
        }
    }

    fn extension_context(
        &mut self,
        program: &'a Program,
        place: &ExtensionPlace<'a>,
        own_url: &str,
        url: Value<'a>,
        scope: Scope<'a>,
    ) {
        let contexts = &program.structure.contexts;
        let mut is_allowed = contexts.is_empty();
        for (at, context) in contexts.iter().enumerate() {
            is_allowed = is_allowed
                || match &*context.kind {
                    "element" => self.is_at_element(&context.expression, place, own_url, scope),
                    "extension" => is_in_extension(&context.expression, place),
                    _ => self.is_found(program.context(at), place, scope),
                };
        }
        if !is_allowed {
            let wanted: Vec<&str> = contexts.iter().map(|it| &*it.expression).collect();
            let text = format!(
                "{} cannot stand here, but at: {}",
                program.structure.url,
                wanted.join(", ")
            );
            self.error(IssueCode::Structure, url, "extension-context", text);
        }
        for at in 0..program.structure.context_invariants.len() {
            self.context_invariant(program, at, place, url, scope);
        }
    }

    /// A context of the kind `element`: a path, or a type of which the parent is.
    fn is_at_element(
        &self,
        expression: &str,
        place: &ExtensionPlace<'a>,
        own_url: &str,
        scope: Scope<'a>,
    ) -> bool {
        let expression = expression.trim_end_matches("[x]");
        let schema = self.validator.schema();
        if expression == "Element" || schema.is_subtype(place.parent.type_name, expression) {
            return true;
        }
        let is_path =
            place.parent.paths.iter().any(|it| {
                it.trim_end_matches("[x]") == expression || is_wider_context(own_url, it)
            });
        if is_path {
            return true;
        }
        let type_name = expression.split('.').next().unwrap_or_default();
        let is_type = schema.type_kind(type_name).is_some();
        // Of what is no type of this version, such as CanonicalResource, nobody can tell.
        !is_type
            || (expression.contains('.')
                && self.parent_path(scope.resource.type_name(schema)) == expression)
    }

    /// A context that is FHIRPath: the parent is among what it finds from the resource.
    fn is_found(&self, context: &'a Lazy, place: &ExtensionPlace<'a>, scope: Scope<'a>) -> bool {
        let schema = self.validator.schema();
        let Ok(expression) = context.get(schema) else { return true };
        let parent = place.parent.instance;
        let Some(wanted) = parent.place() else { return true };
        let surroundings: &'a Surroundings<'a> = self.surroundings;
        let context = Context::new(schema)
            .with_resource(scope.resource)
            .with_root_resource(scope.root)
            .with_host(surroundings)
            .with_budget(BUDGET);
        let found = expression.evaluate(&context, &Item::Fhir(scope.resource));
        let Ok(found) = found else { return true };
        found.iter().filter_map(Item::as_fhir).any(|it| {
            let places = [it.value(), it.sibling()];
            places.iter().flatten().any(|it| it.place() == wanted.place())
        })
    }

    fn context_invariant(
        &mut self,
        program: &'a Program,
        at: usize,
        place: &ExtensionPlace<'a>,
        url: Value<'a>,
        scope: Scope<'a>,
    ) {
        let text = &program.structure.context_invariants[at];
        let schema = self.validator.schema();
        let parent = place.parent.instance;
        let focus = match parent.element {
            Some(element) => FhirValue::element(schema, element, parent.value, parent.sibling),
            None => parent.value.map(|value| FhirValue::resource(schema, value)),
        };
        let Some(focus) = focus else { return };
        let surroundings: &'a Surroundings<'a> = self.surroundings;
        let context = Context::new(schema)
            .with_resource(scope.resource)
            .with_root_resource(scope.root)
            .with_host(surroundings)
            .with_budget(BUDGET);
        let holds = match program.context_invariant(at).get(schema) {
            Ok(expression) => {
                expression.is_true(&context, &Item::Fhir(focus)).map_err(|it| it.to_string())
            }
            Err(reason) => Err(reason.clone()),
        };
        match holds {
            Ok(Some(true)) => {}
            Ok(Some(false) | None) => {
                let said =
                    format!("{} stands only where this holds: {text}", program.structure.url);
                self.error(IssueCode::Invariant, url, "extension-context", said);
            }
            Err(reason) => {
                let said = format!("not checked that this holds: {text}: {reason}");
                self.tell(
                    Severity::Warning,
                    IssueCode::NotSupported,
                    url,
                    "extension-context",
                    said,
                );
            }
        }
    }
}

/// A context of the kind `extension`: the URL of the extension that this stands in.
fn is_in_extension(expression: &str, place: &ExtensionPlace<'_>) -> bool {
    let parent = place.parent.instance.value;
    let url = parent.and_then(|it| it.get_str("url")).unwrap_or_default();
    // What stands inside may be named after a `#` or `.`; its own url is relative.
    let outer = expression.split_once('#').map_or(expression, |(url, _)| url);
    place.parent.type_name == "Extension" && (*url == *outer || !has_scheme(&url))
}

/// Contexts that published definitions lack, though HL7's own definitions use the extension there.
const WIDER_CONTEXTS: &[(&str, &str)] = &[
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type",
        "StructureDefinition.snapshot.element.type",
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type",
        "ElementDefinition.type",
    ),
    ("http://hl7.org/fhir/StructureDefinition/regex", "ElementDefinition.type"),
    ("http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version", "CodeSystem"),
    ("http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version", "ValueSet"),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version",
        "OperationDefinition",
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version",
        "StructureDefinition.snapshot.element",
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version",
        "StructureDefinition.differential.element",
    ),
];

fn is_wider_context(url: &str, path: &str) -> bool {
    WIDER_CONTEXTS.contains(&(url, path))
}
