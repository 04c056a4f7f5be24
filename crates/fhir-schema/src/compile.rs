//! From a package to [`Definitions`]: the base types with their elements, and the search
//! parameters' expressions turned into plain paths.

use std::collections::BTreeMap;

use fhir_core::ResourceType;

use crate::conformance::SearchParameter;
use crate::definition_set;
use crate::definitions::{
    Definitions, ElementDefinition, PlainPath, Source, TypeDefinition, TypeKind,
    UnresolvedExpression, XmlForm,
};
use crate::expression::{self, Wanted};
use crate::package::{Package, PackageId};
use crate::structure::{self, StructureDefinition, StructureKind};
use crate::structures_file::Structures;
use crate::{Schema, SchemaError};

/// The compartment that says whose data a resource is.
const PATIENT_COMPARTMENT: &str = "http://hl7.org/fhir/CompartmentDefinition/patient";

/// Takes the definitions of the base types out of a core package. The result depends on nothing
/// but the package.
///
/// # Errors
/// [`SchemaError`] when a base type has no snapshot, when its elements contradict each other, or
/// when the package names no FHIR version, no licence or no patient compartment.
pub fn compile(package: &Structures) -> Result<Definitions, SchemaError> {
    let mut definitions = base_types(package.source.clone(), &package.structures)?;
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
        .compartments
        .iter()
        .find(|compartment| &*compartment.url == PATIENT_COMPARTMENT)
        .ok_or(SchemaError::Missing("definition of the patient compartment"))?;
    for resource in compartment.resources.iter().filter(|it| !it.params.is_empty()) {
        let mut paths: Vec<PlainPath> = Vec::new();
        for code in &resource.params {
            for path in search_params.plain_paths(&resource.code, code, Wanted::Reference) {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        definitions.patient_compartment.insert((&*resource.code).into(), paths);
    }
    definitions.unresolved = search_params.unresolved;
    Ok(definitions)
}

/// All that a core package defines, whole: its types, profiles and extensions with their
/// snapshots, made where there is only a differential.
///
/// # Errors
/// [`SchemaError`] when the package names no FHIR version or no licence, or a definition is not
/// whole and cannot be made so.
pub fn structures(package: Package) -> Result<Structures, SchemaError> {
    let manifest = &package.manifest;
    let source = Source {
        package: manifest.name.clone(),
        version: manifest.version.clone(),
        licence: manifest.license.clone().ok_or(SchemaError::Missing("licence"))?,
        fhir_version: manifest
            .fhir_versions
            .first()
            .cloned()
            .ok_or(SchemaError::Missing("FHIR version"))?,
    };
    let (mut search_parameters, mut compartments, mut operations) =
        (package.search_parameters, package.compartment_definitions, package.operation_definitions);
    search_parameters.sort_by(|one, other| one.url.cmp(&other.url));
    compartments.sort_by(|one, other| one.url.cmp(&other.url));
    operations.sort_by(|one, other| one.url.cmp(&other.url));
    let id = PackageId { name: (&*source.package).into(), version: (&*source.version).into() };
    let structures = definition_set::whole(package.structure_definitions, &id)?;
    Ok(Structures { source, structures, search_parameters, compartments, operations })
}

/// The base types among definitions, with the elements of their snapshots: enough for a
/// [`Schema`]. What search parameters say (identifiers, compartments) is not in it.
///
/// # Errors
/// [`SchemaError`] when the elements of a base type contradict each other.
pub fn base_types(
    source: Source,
    structures: &[StructureDefinition],
) -> Result<Definitions, SchemaError> {
    Ok(Definitions { source, types: types(structures)?, ..Definitions::default() })
}

fn types(structures: &[StructureDefinition]) -> Result<Vec<TypeDefinition>, SchemaError> {
    let mut types = Vec::new();
    for structure in structures {
        // Profiles constrain a type that another definition gives.
        let (StructureKind::Type(kind), false) = (structure.kind, structure.is_profile()) else {
            continue;
        };
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
    let base = structure.base.as_deref();
    let elements = structure.elements.iter().skip(1);
    Ok(TypeDefinition {
        name: (&*structure.type_name).into(),
        kind,
        is_abstract: structure.is_abstract,
        base: base.map(|url| url.rsplit_once('/').map_or(url, |(_, name)| name).into()),
        elements: elements.map(|it| element_definition(it, kind)).collect::<Result<_, _>>()?,
    })
}

fn element_definition(
    element: &structure::ElementDefinition,
    kind: TypeKind,
) -> Result<ElementDefinition, SchemaError> {
    if element.slice_name.is_some() {
        return Err(SchemaError::Element {
            path: element.path.to_string(),
            problem: "is sliced in a base type",
        });
    }
    let mut fhir_type = element.types.iter().find_map(|it| it.fhir_type.as_deref());
    // R4's definitions say `string` of what the specification calls an `id`.
    if kind == TypeKind::Resource
        && fhir_type.is_some()
        && element.depth() == 1
        && element.name() == "id"
    {
        fhir_type = Some("id");
    }
    Ok(ElementDefinition {
        path: (&*element.path).into(),
        fhir_type: fhir_type.map(Into::into),
        xml: if element.flags.is_attribute { XmlForm::Attribute } else { XmlForm::Element },
        min: element.min,
        max: element.max,
        types: element.types.iter().map(|it| (&*it.code).into()).collect(),
        content_reference: element.content_reference.as_deref().map(Into::into),
    })
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
