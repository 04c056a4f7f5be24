//! From a package to [`Definitions`]: the base types with their elements, and the search
//! parameters' expressions turned into plain paths.

use std::collections::BTreeMap;

use fhir_core::ResourceType;

use crate::definitions::{
    Definitions, ElementDefinition, PlainPath, Source, TypeDefinition, TypeKind,
    UnresolvedExpression, XmlForm,
};
use crate::expression::{self, Wanted};
use crate::package::{
    Package, PackageElement, PackageElementType, SearchParameter, StructureDefinition,
};
use crate::{Schema, SchemaError};

/// The compartment that says whose data a resource is.
const PATIENT_COMPARTMENT: &str = "http://hl7.org/fhir/CompartmentDefinition/patient";

/// Takes the definitions of the base types out of a package. The result depends on nothing but
/// the package.
///
/// # Errors
/// [`SchemaError`] when a base type has no snapshot, when its elements contradict each other, or
/// when the package names no FHIR version, no licence or no patient compartment.
pub fn compile(package: &Package) -> Result<Definitions, SchemaError> {
    let mut definitions = Definitions {
        source: source(package)?,
        types: types(&package.structure_definitions)?,
        ..Definitions::default()
    };
    // Expressions are resolved against the elements, so these become a schema first.
    let schema = Schema::new(&definitions)?;
    let mut search_params = SearchParams {
        schema: &schema,
        by_type_and_code: by_type_and_code(&package.search_parameters),
        unresolved: Vec::new(),
    };

    for resource_type in schema.resource_types() {
        if search_params.is_defined(resource_type, "identifier") {
            let paths = search_params.plain_paths(resource_type, "identifier", Wanted::Identifier);
            definitions.identifiers.insert(resource_type.into(), paths);
        }
    }
    let compartment = package
        .compartment_definitions
        .iter()
        .find(|compartment| &*compartment.url == PATIENT_COMPARTMENT)
        .ok_or(SchemaError::Missing("definition of the patient compartment"))?;
    for resource in compartment.resource.iter().filter(|it| !it.param.is_empty()) {
        let mut paths: Vec<PlainPath> = Vec::new();
        for code in &resource.param {
            for path in search_params.plain_paths(&resource.code, code, Wanted::Reference) {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        definitions.patient_compartment.insert(resource.code.clone(), paths);
    }
    definitions.unresolved = search_params.unresolved;
    Ok(definitions)
}

fn source(package: &Package) -> Result<Source, SchemaError> {
    let manifest = &package.manifest;
    Ok(Source {
        package: manifest.name.clone(),
        version: manifest.version.clone(),
        licence: manifest.license.clone().ok_or(SchemaError::Missing("licence"))?,
        fhir_version: manifest
            .fhir_versions
            .first()
            .cloned()
            .ok_or(SchemaError::Missing("FHIR version"))?,
    })
}

fn types(structures: &[StructureDefinition]) -> Result<Vec<TypeDefinition>, SchemaError> {
    let mut types = Vec::new();
    for structure in structures {
        let kind = match &*structure.kind {
            "resource" => TypeKind::Resource,
            "complex-type" => TypeKind::Complex,
            "primitive-type" => TypeKind::Primitive,
            _ => continue,
        };
        // Profiles constrain a type that another definition gives.
        if structure.derivation.as_deref() == Some("constraint") {
            continue;
        }
        if kind == TypeKind::Resource && !ResourceType::is_valid(&structure.type_name) {
            return Err(SchemaError::Element {
                path: structure.type_name.to_string(),
                problem: "is not the name of a resource type",
            });
        }
        types.push(type_definition(structure, kind)?);
    }
    types.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(twice) = types.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(SchemaError::Element {
            path: twice[0].name.to_string(),
            problem: "is defined twice",
        });
    }
    Ok(types)
}

fn type_definition(
    structure: &StructureDefinition,
    kind: TypeKind,
) -> Result<TypeDefinition, SchemaError> {
    let snapshot = structure
        .snapshot
        .as_ref()
        .ok_or_else(|| SchemaError::NoSnapshot(structure.type_name.to_string()))?;
    let base = structure.base_definition.as_deref();
    Ok(TypeDefinition {
        name: structure.type_name.clone(),
        kind,
        is_abstract: structure.is_abstract,
        base: base.map(|url| url.rsplit_once('/').map_or(url, |(_, name)| name).into()),
        elements: snapshot
            .element
            .iter()
            .skip(1)
            .map(|element| {
                let mut element = element_definition(element)?;
                // R4's definitions say `string` of what the specification calls an `id`.
                if kind == TypeKind::Resource && element.fhir_type.is_some() && is_own_id(&element)
                {
                    element.fhir_type = Some("id".into());
                }
                Ok(element)
            })
            .collect::<Result<_, _>>()?,
    })
}

/// Whether it is the id of a resource, not of an element within one.
fn is_own_id(element: &ElementDefinition) -> bool {
    element.name() == "id" && !element.parent().contains('.')
}

fn element_definition(element: &PackageElement) -> Result<ElementDefinition, SchemaError> {
    let invalid = |problem| SchemaError::Element { path: element.path.to_string(), problem };
    if element.slice_name.is_some() {
        return Err(invalid("is sliced in a base type"));
    }
    let max = match element.max.as_deref() {
        Some("*") => None,
        Some(number) => {
            Some(number.parse().map_err(|_| invalid("has a max that is neither a number nor *"))?)
        }
        None => return Err(invalid("has no max")),
    };
    let content_reference = element
        .content_reference
        .as_deref()
        .map(|reference| {
            let (_, path) = reference
                .split_once('#')
                .ok_or_else(|| invalid("has a content reference without #"))?;
            Ok(path.into())
        })
        .transpose()?;
    let system_type =
        element.types.iter().find(|it| it.code.starts_with("http://hl7.org/fhirpath/System."));
    Ok(ElementDefinition {
        path: element.path.clone(),
        fhir_type: system_type.and_then(fhir_type),
        xml: match element.representation.iter().any(|it| &**it == "xmlAttr") {
            true => XmlForm::Attribute,
            false => XmlForm::Element,
        },
        min: element.min.ok_or_else(|| invalid("has no min"))?,
        max,
        types: element.types.iter().map(|it| it.code.clone()).collect(),
        content_reference,
    })
}

/// The FHIR type which a system type stands for, by the extension that says so.
fn fhir_type(system_type: &PackageElementType) -> Option<Box<str>> {
    const FHIR_TYPE: &str = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type";
    system_type.extension.iter().find(|it| &*it.url == FHIR_TYPE)?.value.clone()
}

type ByTypeAndCode<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a SearchParameter>>;

fn by_type_and_code(search_parameters: &[SearchParameter]) -> ByTypeAndCode<'_> {
    let mut by_type_and_code = ByTypeAndCode::new();
    for search_param in search_parameters {
        for base in &search_param.base {
            by_type_and_code.entry((base, &search_param.code)).or_default().push(search_param);
        }
    }
    by_type_and_code
}

/// The search parameters of a package, and what of them could not be turned into plain paths.
struct SearchParams<'a> {
    schema: &'a Schema,
    by_type_and_code: ByTypeAndCode<'a>,
    unresolved: Vec<UnresolvedExpression>,
}

impl SearchParams<'_> {
    fn is_defined(&self, resource_type: &str, code: &str) -> bool {
        self.by_type_and_code.contains_key(&(resource_type, code))
    }

    fn plain_paths(&mut self, resource_type: &str, code: &str, wanted: Wanted) -> Vec<PlainPath> {
        let mut paths = Vec::new();
        let mut unresolved = Vec::new();
        match self.by_type_and_code.get(&(resource_type, code)) {
            None => unresolved.push(""),
            Some(search_params) => {
                for search_param in search_params {
                    let expression = search_param.expression.as_deref().unwrap_or_default();
                    let resolved =
                        expression::resolve(self.schema, resource_type, expression, wanted);
                    paths.extend(resolved.paths);
                    unresolved.extend(resolved.unresolved);
                }
            }
        }
        self.unresolved.extend(unresolved.into_iter().map(|expression| UnresolvedExpression {
            resource_type: resource_type.into(),
            search_param: code.into(),
            expression: expression.into(),
        }));
        paths
    }
}
