//! Search parameters as they are looked up: by resource type and code.
//!
//! A definition may be for several types, or for all of them: each type has a [`Parameter`] of
//! its own, since of its expression only what is about that type counts.

mod fingerprint;
mod posted;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fhir_schema::conformance::SearchParameter;
use fhir_schema::package::PackageId;
use fhir_schema::{DefinitionSet, Schema};

pub use fingerprint::Fingerprint;
pub use posted::{PostedError, PostedProblem};

/// SearchParameter.type (FHIR R4 3.1.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A number.
    Number,
    /// A date, time or period.
    Date,
    /// Text that a person reads.
    String,
    /// A code, with its system or without.
    Token,
    /// A reference to another resource.
    Reference,
    /// Several values that stand together.
    Composite,
    /// A number with a unit.
    Quantity,
    /// A URI.
    Uri,
    /// What is defined for it alone, as `near`.
    Special,
}

impl Kind {
    /// Its code in SearchParameter.type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Date => "date",
            Self::String => "string",
            Self::Token => "token",
            Self::Reference => "reference",
            Self::Composite => "composite",
            Self::Quantity => "quantity",
            Self::Uri => "uri",
            Self::Special => "special",
        }
    }

    pub(crate) fn of(code: &str) -> Option<Self> {
        const ALL: [Kind; 9] = [
            Kind::Number,
            Kind::Date,
            Kind::String,
            Kind::Token,
            Kind::Reference,
            Kind::Composite,
            Kind::Quantity,
            Kind::Uri,
            Kind::Special,
        ];
        ALL.into_iter().find(|kind| kind.as_str() == code)
    }
}

/// Which parameter of which type, within one [`Parameters`]: meaningless in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(u32);

impl ParameterId {
    /// Its place among all parameters, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a definition comes from, and so how far it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// FHIR itself or a package, which an operator chose.
    Package,
    /// A resource of the tenant's. Its expression may take fewer steps.
    Posted,
}

/// One search parameter of one resource type.
#[derive(Debug)]
pub struct Parameter {
    /// Which it is.
    pub id: ParameterId,
    /// The type of the resources that it finds.
    pub resource_type: Arc<str>,
    /// What kind of values it has.
    pub kind: Kind,
    /// The definition, which other types may share.
    pub definition: Arc<SearchParameter>,
    /// The parts of a composite, in the order of its values; none of any other kind.
    pub components: Arc<[Component]>,
    /// Why it cannot be supported, as its definition alone tells.
    pub flaw: Option<Flaw>,
    /// Where its definition comes from.
    pub origin: Origin,
    /// Tells it from those that give other values.
    pub fingerprint: Fingerprint,
}

/// A part of a composite parameter.
#[derive(Debug, Clone)]
pub struct Component {
    /// What kind of values it has.
    pub kind: Kind,
    /// The definition that it names.
    pub definition: Arc<SearchParameter>,
    /// FHIRPath from what the composite's own expression gives.
    pub expression: Arc<str>,
}

/// What makes a definition useless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A composite whose part is nowhere defined.
    #[error("its component {0} is not defined")]
    UnknownComponent(Arc<str>),
    /// A composite of composites, or of what has no values in a resource.
    #[error("its component {0} has type {1}, which cannot be part of a composite")]
    InvalidComponent(Arc<str>, Arc<str>),
    /// A composite without parts.
    #[error("it is a composite and has no components")]
    NoComponents,
    /// Its values depend on which version a resource is, or on when it was written: values are
    /// taken before that is known.
    #[error(
        "what its expression finds depends on meta.versionId or meta.lastUpdated, which a resource \
         has only once it is written"
    )]
    OfVersion,
}

/// The same parameter by the same definition.
impl PartialEq for Parameter {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.resource_type == other.resource_type
            && self.definition == other.definition
    }
}

impl Eq for Parameter {}

impl Parameter {
    /// One by a definition.
    fn new(
        id: ParameterId,
        resource_type: &Arc<str>,
        (kind, origin): (Kind, Origin),
        definition: &Arc<SearchParameter>,
        (components, flaw): (Arc<[Component]>, Option<Flaw>),
    ) -> Self {
        let fingerprint = Fingerprint::of(
            (resource_type, &definition.code),
            (kind, origin),
            definition.expression.as_deref(),
            (&components, flaw.as_ref()),
        );
        Self {
            id,
            resource_type: Arc::clone(resource_type),
            kind,
            definition: Arc::clone(definition),
            components,
            flaw,
            origin,
            fingerprint,
        }
    }

    /// Whether it finds a text from the start of each of its words too: names of people, whose
    /// family names may be compound (FHIR R4, 3.1.1.4.8).
    #[must_use]
    pub fn finds_words(&self) -> bool {
        let has_people = ["Patient", "Person", "Practitioner", "RelatedPerson"];
        match self.code() {
            "family" => true,
            "name" => has_people.contains(&&*self.resource_type),
            _ => false,
        }
    }

    /// Its name in a query.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.definition.code
    }

    /// Whether its values can be had from a resource and compared, as far as its definition tells.
    #[must_use]
    pub fn can_be_searched(&self) -> bool {
        match self.kind {
            Kind::Special => self.code() == "near",
            _ => self.flaw.is_none() && self.expression().is_some(),
        }
    }

    /// FHIRPath to its values. `None` for what no element holds and the server knows by itself:
    /// `_text`, `_content`, `_query`, `_filter`, and what a package leaves without.
    #[must_use]
    pub fn expression(&self) -> Option<&str> {
        self.definition.expression.as_deref()
    }
}

/// The search parameters of every resource type of a FHIR version, those of packages among them.
///
/// `_has`, `_list` and `_type` are no SearchParameters in R4 and are not here.
#[derive(Debug)]
pub struct Parameters {
    /// By id.
    all: Vec<Arc<Parameter>>,
    /// Those of a type, by code.
    by_type: HashMap<Box<str>, Arc<[Arc<Parameter>]>>,
    fingerprint: Fingerprint,
}

/// Definitions by type and code, each with its package.
type Chosen<'d> =
    BTreeMap<&'d str, BTreeMap<&'d str, (Kind, &'d PackageId, &'d Arc<SearchParameter>)>>;

impl Parameters {
    /// Those that `definitions` have for the types of `schema`.
    ///
    /// Of two definitions of one code for one type that of the package which depends on the
    /// other's counts, or else which comes later by name and version. Of one package's the one
    /// with the lesser URL counts: in R4 core the others are examples. Retired ones never count
    /// (FHIR R4, SearchParameter.status).
    #[must_use]
    pub fn new(definitions: &DefinitionSet, schema: &Schema) -> Self {
        let mut chosen = Chosen::new();
        let concrete: Vec<&str> = schema.resource_types().collect();
        for (package, definition) in definitions.search_parameters_by_package() {
            let Some(kind) = Kind::of(&definition.kind) else { continue };
            if definition.status.as_deref() == Some("retired") {
                continue;
            }
            for base in &definition.base {
                // Nothing derives from a type that resources are of, and few are for others.
                let types = match concrete.binary_search(&&**base) {
                    Ok(at) => &concrete[at..=at],
                    Err(_) => &concrete[..],
                };
                for resource_type in types.iter().filter(|it| schema.is_subtype(it, base)) {
                    let of_type = chosen.entry(resource_type).or_default();
                    let entry = of_type.entry(&*definition.code);
                    let found = (kind, package, definition);
                    let at = entry.or_insert(found);
                    if at.1 != package {
                        *at = found;
                    }
                }
            }
        }
        Self::of(&chosen, definitions)
    }

    fn of(chosen: &Chosen<'_>, definitions: &DefinitionSet) -> Self {
        let mut all: Vec<Arc<Parameter>> = Vec::new();
        let mut by_type = HashMap::new();
        // One definition may be for many types, which share its parts.
        let mut parts: HashMap<*const SearchParameter, (Arc<[Component]>, Option<Flaw>)> =
            HashMap::new();
        let none: Arc<[Component]> = Arc::new([]);
        for (resource_type, by_code) in chosen {
            let begin = all.len();
            let resource_type: Arc<str> = Arc::from(*resource_type);
            for (kind, _, definition) in by_code.values() {
                let Ok(index) = u32::try_from(all.len()) else { break };
                let parts = if *kind == Kind::Composite {
                    let from = |canonical: &str| {
                        definitions.search_parameter_from(definition, canonical).cloned()
                    };
                    let parts = parts
                        .entry(Arc::as_ptr(definition))
                        .or_insert_with(|| components(definition, from));
                    parts.clone()
                } else {
                    (Arc::clone(&none), None)
                };
                all.push(Arc::new(Parameter::new(
                    ParameterId(index),
                    &resource_type,
                    (*kind, Origin::Package),
                    definition,
                    parts,
                )));
            }
            by_type.insert((&*resource_type).into(), all[begin..].into());
        }
        Self::from_parts(all, by_type)
    }

    fn from_parts(
        all: Vec<Arc<Parameter>>,
        by_type: HashMap<Box<str>, Arc<[Arc<Parameter>]>>,
    ) -> Self {
        let counting = by_type.values().flat_map(|of_type| of_type.iter());
        let fingerprint = Fingerprint::of_all(counting.map(|parameter| &**parameter));
        Self { all, by_type, fingerprint }
    }

    /// These, of which some have that flaw, so that nothing is searched by them.
    #[must_use]
    pub fn flawed(&self, those: &[ParameterId], flaw: &Flaw) -> Self {
        let (mut all, mut by_type) = (self.all.clone(), self.by_type.clone());
        for id in those {
            let Some(parameter) = all.get(id.index()).map(Arc::clone) else { continue };
            let parts = (Arc::clone(&parameter.components), Some(flaw.clone()));
            let origin = (parameter.kind, parameter.origin);
            let of = &parameter.resource_type;
            let flawed = Arc::new(Parameter::new(*id, of, origin, &parameter.definition, parts));
            let mut of_type = by_type.get(&**of).map_or(Vec::new(), |it| it.to_vec());
            for counts in of_type.iter_mut().filter(|it| it.id == *id) {
                *counts = Arc::clone(&flawed);
            }
            by_type.insert((&**of).into(), of_type.into());
            all[id.index()] = flawed;
        }
        Self::from_parts(all, by_type)
    }

    /// The parameter with this code of a type.
    #[must_use]
    pub fn get(&self, resource_type: &str, code: &str) -> Option<&Arc<Parameter>> {
        let of_type = self.of_type(resource_type);
        let at = of_type.binary_search_by(|it| it.code().cmp(code)).ok()?;
        of_type.get(at)
    }

    /// The parameter that an id of this set names; `None` for one of another.
    #[must_use]
    pub fn by_id(&self, id: ParameterId) -> Option<&Arc<Parameter>> {
        self.all.get(id.index())
    }

    /// Every parameter of a type, by code.
    #[must_use]
    pub fn of_type(&self, resource_type: &str) -> &[Arc<Parameter>] {
        self.by_type.get(resource_type).map(|of_type| &**of_type).unwrap_or_default()
    }

    /// Whether those of a type are the very same in both sets, ids among them.
    pub(crate) fn shares(&self, other: &Self, resource_type: &str) -> bool {
        let (own, others) = (self.by_type.get(resource_type), other.by_type.get(resource_type));
        match (own, others) {
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (own, others) => own.is_none() && others.is_none(),
        }
    }

    /// Every parameter of every type.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Parameter>> {
        // What a posted one replaces keeps its place and counts no more.
        self.all.iter().filter(|it| {
            self.get(&it.resource_type, it.code()).is_some_and(|counts| counts.id == it.id)
        })
    }

    /// Tells this set from those that give other values from some resource.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// The parts of a composite, of which `find` has the definitions.
fn components(
    composite: &SearchParameter,
    find: impl Fn(&str) -> Option<Arc<SearchParameter>>,
) -> (Arc<[Component]>, Option<Flaw>) {
    let mut components = Vec::with_capacity(composite.components.len());
    for part in &composite.components {
        let url = || Arc::clone(&part.definition);
        let Some(found) = find(&part.definition) else {
            return (Arc::new([]), Some(Flaw::UnknownComponent(url())));
        };
        match Kind::of(&found.kind) {
            None | Some(Kind::Composite | Kind::Special) => {
                let flaw = Flaw::InvalidComponent(url(), Arc::clone(&found.kind));
                return (Arc::new([]), Some(flaw));
            }
            Some(kind) => components.push(Component {
                kind,
                definition: found,
                expression: Arc::clone(&part.expression),
            }),
        }
    }
    let flaw = components.is_empty().then_some(Flaw::NoComponents);
    (components.into(), flaw)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Parameters};
    use fhir_schema::{DefinitionSet, Schema};

    fn r4() -> Parameters {
        Parameters::new(DefinitionSet::r4(), Schema::r4())
    }

    #[test]
    fn a_parameter_of_an_abstract_type_is_one_of_each_type_derived_from_it() {
        let parameters = r4();
        for of in ["Patient", "Bundle", "Observation"] {
            assert_eq!(parameters.get(of, "_id").map(|it| it.kind), Some(Kind::Token), "{of}");
        }
        // A Bundle is no DomainResource.
        assert!(parameters.get("Patient", "_text").is_some());
        assert!(parameters.get("Bundle", "_text").is_none());
    }

    #[test]
    fn a_code_is_looked_up_within_its_type() {
        let parameters = r4();
        let patient = parameters.get("Observation", "patient").unwrap();
        assert_eq!((patient.kind, &*patient.resource_type), (Kind::Reference, "Observation"));
        assert!(parameters.get("Observation", "Patient").is_none());
        assert!(parameters.get("Organization", "patient").is_none());
        assert!(parameters.of_type("Observation").len() > 40);
        assert!(parameters.of_type("Nothing").is_empty());
        for parameter in parameters.all() {
            let found = parameters.get(&parameter.resource_type, parameter.code()).unwrap();
            assert_eq!(found.id, parameter.id);
            assert_eq!(parameters.by_id(parameter.id).unwrap().id, parameter.id);
        }
    }

    #[test]
    fn of_two_definitions_of_one_package_the_one_with_the_lesser_url_counts() {
        let parameters = r4();
        let url = |of, code| parameters.get(of, code).unwrap().definition.url.to_string();
        let core = "http://hl7.org/fhir/SearchParameter/";
        assert_eq!(url("Condition", "subject"), format!("{core}Condition-subject"));
        assert_eq!(url("Patient", "_id"), format!("{core}Resource-id"));
    }

    #[test]
    fn a_composite_knows_its_parts_and_no_other_kind_has_any() {
        // SRCH-145: each part has the kind of the parameter that it names.
        let parameters = r4();
        let composite = parameters.get("Observation", "component-code-value-quantity").unwrap();
        let parts: Vec<_> =
            composite.components.iter().map(|it| (it.kind, &*it.expression)).collect();
        assert_eq!(parts, [(Kind::Token, "code"), (Kind::Quantity, "value.as(Quantity)")]);
        for parameter in parameters.all() {
            assert_eq!(parameter.kind == Kind::Composite, !parameter.components.is_empty());
            assert_eq!(parameter.flaw, None, "{}", parameter.definition.url);
        }
    }

    #[test]
    fn what_no_element_holds_has_no_expression() {
        // SRCH-236
        let parameters = r4();
        for code in ["_text", "_content", "_query", "_filter"] {
            assert_eq!(parameters.get("Patient", code).unwrap().expression(), None, "{code}");
        }
        for code in ["_has", "_list", "_type"] {
            assert!(parameters.get("Patient", code).is_none(), "{code}");
        }
    }
}
