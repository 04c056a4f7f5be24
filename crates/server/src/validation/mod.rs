//! Validation of one tenant's resources: R4's definitions with those of the tenant's packages on
//! top, compiled into one validator, and what the tenant asks of what is written. The search
//! parameters of the same definitions come with them.
//!
//! A validator is made off the threads that answer requests and put in the place of the one
//! before at once; whoever validates meanwhile ends with the one it began with. Conformance
//! resources that were written like any other do not count here, packages do; of the former
//! SearchParameters alone have an effect, on search.

mod at_write;
mod packages;
mod policy;
mod posted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use database::FhirVersion;
use fhir_core::json::Value;
use fhir_core::{Issue, Lines, Position, ResourceId, ResourceType};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{Extractor, Flaw, Parameters};
use fhir_terminology::{Layer, Terminology};
use fhir_validation::{Options, Validator};
use fhir_xml::Places;

use crate::quarantine::Shelf;
use crate::terminology;

pub(crate) use at_write::{Judged, Judgement, judge, outcome};
pub use packages::{AddedPackages, Archive, ListedPackage, PackagesError, list};
pub use policy::{
    ACTIONS, Action, DEPTHS, Depth, InvalidPolicy, Policy, PolicyRule, RequiredProfile, WritePolicy,
};
pub(crate) use posted::{NotCommitted, commit, commit_here, concerns, judged};

/// A tenant's validator and its policy.
#[derive(Debug)]
pub struct Validation {
    pub(crate) policy: WritePolicy,
    /// None where the FHIR version has no validator here.
    current: Option<RwLock<Arc<Definitions>>>,
    /// Code systems and value sets: FHIR's, those of packages, and the tenant's own.
    pub(crate) terminology: terminology::Definitions,
    /// Changes of the packages wait for each other.
    turn: tokio::sync::Mutex<()>,
    /// What was set apart as invalid.
    pub(crate) shelf: Shelf,
}

/// What a tenant's packages come to, and the search parameters that it defines itself.
#[derive(Debug, Clone)]
pub(crate) struct Definitions {
    pub(crate) validator: Arc<Validator<'static>>,
    /// R4's definitions and the packages'.
    pub(crate) set: Arc<DefinitionSet>,
    /// Takes what is searched by from resources.
    pub(crate) extractor: Arc<Extractor<'static>>,
    /// The same without the tenant's own search parameters.
    of_packages: Arc<Extractor<'static>>,
    /// The tenant's own search parameters, those among them that do not count.
    posted: Arc<posted::Posted>,
    /// Those of them that do not count.
    at_fault: Arc<BTreeSet<ResourceId>>,
    /// The packages' terminology, where they have any.
    pub(crate) terminology: Option<Arc<Layer>>,
    /// Canonicals of the packages' implementation guides.
    pub(crate) guides: Vec<String>,
    /// What the packages depend on and nobody has.
    unmet: Vec<String>,
    /// Search parameters of the packages that do not count, and why, in words.
    left_out: Vec<String>,
}

impl Definitions {
    /// Of these definitions and the terminology of packages.
    fn of(set: DefinitionSet, layer: Arc<Layer>) -> Self {
        let terminology = match layer.is_empty() {
            true => Terminology::r4(),
            false => Terminology::r4().with(Arc::clone(&layer)),
        };
        let schema = Schema::r4();
        let parameters = Arc::new(Parameters::new(&set, schema));
        let validator = Validator::new(schema, set.clone(), terminology.clone());
        let extractor = Arc::new(Extractor::new(schema, parameters, set.clone(), terminology));
        Self {
            validator: Arc::new(validator),
            of_packages: Arc::clone(&extractor),
            extractor,
            posted: Arc::default(),
            at_fault: Arc::default(),
            set: Arc::new(set),
            terminology: (!layer.is_empty()).then_some(layer),
            guides: Vec::new(),
            unmet: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// R4's own, the same for all tenants.
    fn r4() -> Arc<Self> {
        static R4: OnceLock<Arc<Definitions>> = OnceLock::new();
        Arc::clone(
            R4.get_or_init(|| Arc::new(Self::of(DefinitionSet::r4().clone(), Arc::default()))),
        )
    }

    /// These without the packages' search parameters whose values depend on which version a
    /// resource is: they are treated as a tenant's own are.
    fn without_those_of_version(self) -> Self {
        let of_r4 = Self::r4();
        let of_version = self.extractor.of_version(of_r4.extractor.parameters());
        if of_version.is_empty() {
            return self;
        }
        let mut types: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for parameter in &of_version {
            let definition = (&*parameter.definition.url, parameter.code());
            types.entry(definition).or_default().push(&parameter.resource_type);
        }
        let left_out = types.iter().map(|((url, code), types)| {
            let types = match types.as_slice() {
                several if several.len() > 3 => format!("{} types", several.len()),
                few => few.join(", "),
            };
            format!("{url}, {code} of {types}: {}", Flaw::OfVersion)
        });
        let left_out = left_out.collect();
        let ids: Vec<_> = of_version.iter().map(|it| it.id).collect();
        let parameters = self.extractor.parameters().flawed(&ids, &Flaw::OfVersion);
        let extractor = Arc::new(self.extractor.with_parameters(Arc::new(parameters)));
        Self { of_packages: Arc::clone(&extractor), extractor, left_out, ..self }
    }

    /// Whether by this search parameter a type is searched as R4 itself defines it.
    pub(crate) fn has_fhirs_own(&self, of: &ResourceType, code: &str) -> bool {
        let of_r4 = Self::r4();
        let [own, fhirs] = [self, &*of_r4].map(|definitions| {
            let parameter = definitions.extractor.parameters().get(of.as_str(), code);
            parameter.map(|parameter| parameter.fingerprint)
        });
        own.is_some() && own == fhirs
    }
}

impl Validation {
    /// Of a tenant whose packages nobody loaded yet, and whose resources are of this FHIR version.
    /// Only R4 has a validator.
    #[must_use]
    pub fn new(policy: WritePolicy, fhir_version: &str) -> Self {
        let current = has_validator(fhir_version).then(|| RwLock::new(Definitions::r4()));
        Self {
            policy,
            current,
            terminology: terminology::Definitions::of(fhir_version),
            turn: tokio::sync::Mutex::default(),
            shelf: Shelf::default(),
        }
    }

    /// The definitions as they are now; none where the FHIR version has no validator here.
    pub(crate) fn current(&self) -> Option<Arc<Definitions>> {
        let current = self.current.as_ref()?;
        Some(Arc::clone(&current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Whether what is written may take longer to judge than its length says.
    pub(crate) fn is_deep(&self) -> bool {
        self.current.is_some() && self.policy.is_deep()
    }

    /// Says in the log which profiles are required and not there: what must meet one is refused,
    /// or tagged, whatever it is.
    pub(crate) fn warn_of_unknown_profiles(&self) {
        let Some(current) = self.current() else {
            if !self.policy.required_profiles.is_empty() {
                tracing::warn!(
                    "required profiles ask nothing: only resources of FHIR R4 are validated"
                );
            }
            return;
        };
        for rule in &self.policy.required_profiles {
            if !current.validator.has_profile(rule.profile()) {
                tracing::warn!(
                    rule = %rule,
                    "a required profile is in no package; add it with `hearthgate packages add`"
                );
            }
        }
    }

    fn put(&self, definitions: Arc<Definitions>) {
        if let Some(current) = &self.current {
            *current.write().unwrap_or_else(PoisonError::into_inner) = definitions;
        }
    }
}

/// Whether resources of this FHIR version are validated.
pub(crate) fn has_validator(fhir_version: &str) -> bool {
    FhirVersion::of(fhir_version) == Some(FhirVersion::R4)
}

/// Where in what was sent a resource's issues stand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sent<'a> {
    /// In this JSON.
    Json(&'a [u8], &'a Lines),
    /// In the XML that the JSON was made from.
    Xml(&'a Places<'a>),
    /// It was not sent: nobody has its lines.
    Stored,
}

/// What a validator says of a resource, as issues for the client.
pub(crate) fn issues(
    validator: &Validator<'_>,
    resource: Value<'_>,
    options: &Options<'_>,
    sent: Sent<'_>,
) -> Vec<Issue> {
    told(&validator.find(resource, options), sent)
}

/// What a validator found, as issues for the client.
fn told(found: &[fhir_validation::Issue], sent: Sent<'_>) -> Vec<Issue> {
    let told = found.iter().map(|issue| {
        let offset = issue.place.offset;
        let position = match sent {
            Sent::Json(text, lines) => Some(lines.position(text, offset)),
            Sent::Xml(places) => {
                let (line, column) = places.position_of(offset);
                Some(Position { line, column })
            }
            Sent::Stored => None,
        };
        Issue { position, ..issue.outcome_issue() }
    });
    told.collect()
}
