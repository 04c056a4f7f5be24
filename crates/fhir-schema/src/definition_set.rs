//! All definitions that a server or validator works with: those of a FHIR version and of any
//! packages on top, found by canonical URL (FHIR R4 2.26.0.1, "Canonical references"; FHIR NPM
//! package specification).
//!
//! Two packages may define one URL in two versions. `url|version` finds that version. A URL alone
//! means, in a definition, the version of its own package, else the one its package depends on;
//! otherwise the latest. Packages that others depend on and nobody gave are listed, not fetched:
//! often they hold terminology alone. What needs them is an error then and there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use fhir_core::json::Value;

use crate::builder::Builder;
use crate::conformance::{CompartmentDefinition, OperationDefinition, SearchParameter};
use crate::draft::StructureSource;
use crate::package::{Package, PackageId};
use crate::structure::StructureDefinition;
use crate::structures_file::{self, Structures};
use crate::{Schema, SchemaError, compile, version};

/// All of R4 core, compiled by `cargo xtask definitions`.
static R4_FILE: &[u8] = include_bytes!("../definitions/r4-structures.zst");

static R4: LazyLock<DefinitionSet> = LazyLock::new(|| {
    structures_file::decode(R4_FILE).map(DefinitionSet::new).expect(
        "the definitions built in were written by `structures_file::encode`, and a test reads them",
    )
});

/// The URL of a base type, but for its name.
pub(crate) const BASE_URL: &str = "http://hl7.org/fhir/StructureDefinition/";

/// Definitions by canonical URL. Cloning shares them.
#[derive(Debug, Clone)]
pub struct DefinitionSet {
    pub(crate) fhir_version: Arc<str>,
    pub(crate) packages: Vec<LoadedPackage>,
    pub(crate) structures: Index<StructureDefinition>,
    pub(crate) search_parameters: Index<SearchParameter>,
    pub(crate) compartments: Vec<Arc<CompartmentDefinition>>,
    pub(crate) operations: Index<OperationDefinition>,
    pub(crate) unmet: Vec<UnmetDependency>,
}

/// A package whose definitions are in a set.
#[derive(Debug, Clone)]
pub(crate) struct LoadedPackage {
    pub(crate) id: PackageId,
    /// Of its archive, where that is known.
    pub(crate) digest: Option<[u8; 32]>,
    /// Which of the set's packages it depends on.
    pub(crate) dependencies: Vec<usize>,
}

/// A dependency that no package of the set meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetDependency {
    /// Whose it is.
    pub package: PackageId,
    /// The name of the package that is missing.
    pub name: Arc<str>,
    /// The version that is asked for.
    pub wanted: Arc<str>,
}

/// Something of one package, by canonical URL.
#[derive(Debug)]
pub(crate) struct Stored<T> {
    pub(crate) item: Arc<T>,
    /// Index into the set's packages.
    pub(crate) package: usize,
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self { item: Arc::clone(&self.item), package: self.package }
    }
}

/// What has a canonical URL and perhaps a version.
pub(crate) trait Canonical {
    fn url(&self) -> &Arc<str>;
    fn version(&self) -> Option<&str>;
}

macro_rules! canonical {
    ($($type:ty),*) => {$(
        impl Canonical for $type {
            fn url(&self) -> &Arc<str> {
                &self.url
            }
            fn version(&self) -> Option<&str> {
                self.version.as_deref()
            }
        }
    )*};
}

canonical!(StructureDefinition, SearchParameter, OperationDefinition);

/// By URL, those of the first package first.
#[derive(Debug)]
pub(crate) struct Index<T> {
    by_url: BTreeMap<Arc<str>, Vec<Stored<T>>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { by_url: BTreeMap::new() }
    }
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        Self { by_url: self.by_url.clone() }
    }
}

impl<T: Canonical> Index<T> {
    pub(crate) fn insert(&mut self, item: Arc<T>, package: usize) {
        let stored = self.by_url.entry(Arc::clone(item.url())).or_default();
        stored.push(Stored { item, package });
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stored<T>> {
        self.by_url.values().flatten()
    }

    fn find(&self, canonical: &str, near: &[usize]) -> Option<&Arc<T>> {
        let (url, wanted) = split_canonical(canonical);
        let candidates = self.by_url.get(url)?.iter();
        pick(candidates.map(|it| (it, it.item.version(), it.package)), wanted, near)
            .map(|it| &it.item)
    }
}

/// A canonical's URL and version. A fragment names something within and is not looked at.
pub(crate) fn split_canonical(canonical: &str) -> (&str, Option<&str>) {
    let canonical = canonical.split_once('#').map_or(canonical, |(before, _)| before);
    match canonical.split_once('|') {
        Some((url, version)) if !version.is_empty() => (url, Some(version)),
        Some((url, _)) => (url, None),
        None => (canonical, None),
    }
}

/// Of those with one URL the one that is meant: of the wanted version where one is; of the nearest
/// package; of the latest version; of the first package.
pub(crate) fn pick<'a, C>(
    candidates: impl Iterator<Item = (C, Option<&'a str>, usize)>,
    wanted: Option<&str>,
    near: &[usize],
) -> Option<C> {
    let mut best: Option<(C, (bool, usize), &str)> = None;
    for (candidate, version, package) in candidates {
        let version = version.unwrap_or_default();
        // An exact version goes before one that is merely within it.
        let is_wider = match wanted {
            Some(wanted) if version == wanted => false,
            Some(wanted) if version::is_within(version, wanted) => true,
            Some(_) => continue,
            None => false,
        };
        let distance = near.iter().position(|it| *it == package).unwrap_or(near.len());
        let distance = (is_wider, distance);
        let is_better = best.as_ref().is_none_or(|(_, best_distance, best_version)| {
            (*best_distance)
                .cmp(&distance)
                .then_with(|| version::compare(version, best_version))
                .is_gt()
        });
        if is_better {
            best = Some((candidate, distance, version));
        }
    }
    best.map(|(candidate, _, _)| candidate)
}

impl DefinitionSet {
    /// FHIR R4, built in. The first call reads it, all others are free.
    #[must_use]
    pub fn r4() -> &'static Self {
        &R4
    }

    /// The definitions of a FHIR version.
    #[must_use]
    pub fn new(core: Structures) -> Self {
        let id = PackageId {
            name: (&*core.source.package).into(),
            version: (&*core.source.version).into(),
        };
        let mut set = Self {
            fhir_version: (&*core.source.fhir_version).into(),
            packages: vec![LoadedPackage { id, digest: None, dependencies: Vec::new() }],
            structures: Index::default(),
            search_parameters: Index::default(),
            compartments: core.compartments.into_iter().map(Arc::new).collect(),
            operations: Index::default(),
            unmet: Vec::new(),
        };
        for structure in core.structures {
            set.structures.insert(Arc::new(structure), 0);
        }
        for search_parameter in core.search_parameters {
            set.search_parameters.insert(Arc::new(search_parameter), 0);
        }
        for operation in core.operations {
            set.operations.insert(Arc::new(operation), 0);
        }
        set
    }

    /// These definitions and those of packages, which may depend on each other. The order in
    /// which they are given changes nothing. The core package of this FHIR version is known
    /// already and passed over.
    ///
    /// # Errors
    /// [`SchemaError`] when a package is for another release of FHIR, is given twice, depends on
    /// itself through others or defines a URL twice, and when a definition is not whole and
    /// cannot be made so.
    pub fn with_packages(&self, packages: Vec<Package>) -> Result<Self, SchemaError> {
        Builder::new(self).build(packages)
    }

    /// A StructureDefinition as this set would take it: its snapshot, if it has one, is whole and in
    /// order, and its differential can be laid over its base. The set stays as it is.
    ///
    /// # Errors
    /// [`SchemaError`] when the resource is no StructureDefinition, its base is not known, or one
    /// of the two views is not what it must be. [`SchemaError::Snapshot`] names the element.
    pub fn try_structure(&self, resource: Value<'_>) -> Result<StructureDefinition, SchemaError> {
        let mut interner = crate::interner::Interner::default();
        let mut parser = crate::parse::Parser { file: "the resource", interner: &mut interner };
        let source = parser.structure(resource)?;
        Builder::beside(self).try_source(source)
    }

    /// `4.0.1`.
    #[must_use]
    pub fn fhir_version(&self) -> &str {
        &self.fhir_version
    }

    /// The packages, the FHIR version's own first, the others by name and version.
    pub fn packages(&self) -> impl Iterator<Item = &PackageId> {
        self.packages.iter().map(|it| &it.id)
    }

    /// SHA-256 of the archives of the packages, in the same order, as far as they are known.
    pub fn digests(&self) -> impl Iterator<Item = Option<[u8; 32]>> {
        self.packages.iter().map(|it| it.digest)
    }

    /// What the packages depend on and the set does not have.
    #[must_use]
    pub fn unmet_dependencies(&self) -> &[UnmetDependency] {
        &self.unmet
    }

    /// The definition with this canonical, `url` or `url|version`; without a version the latest.
    #[must_use]
    pub fn structure(&self, canonical: &str) -> Option<&Arc<StructureDefinition>> {
        self.structures.find(canonical, &[])
    }

    /// The definition that `from` means by a canonical: without a version that of its own
    /// package, else the one its package depends on, else the latest.
    #[must_use]
    pub fn structure_from(
        &self,
        from: &StructureDefinition,
        canonical: &str,
    ) -> Option<&Arc<StructureDefinition>> {
        let near = self.package_of(from).map(|package| self.near(package)).unwrap_or_default();
        self.structures.find(canonical, &near)
    }

    /// The definition of a base type: `Patient`, `Quantity`, `code`.
    #[must_use]
    pub fn type_structure(&self, name: &str) -> Option<&Arc<StructureDefinition>> {
        self.structures.find(&format!("{BASE_URL}{name}"), &[0])
    }

    /// All definitions with all their versions, sorted by URL.
    pub fn structures(&self) -> impl Iterator<Item = &Arc<StructureDefinition>> {
        self.structures.iter().map(|it| &it.item)
    }

    /// The package that a definition of this set is from.
    #[must_use]
    pub fn package(&self, structure: &StructureDefinition) -> Option<&PackageId> {
        self.package_of(structure).map(|at| &self.packages[at].id)
    }

    /// The search parameter with this canonical.
    #[must_use]
    pub fn search_parameter(&self, canonical: &str) -> Option<&Arc<SearchParameter>> {
        self.search_parameters.find(canonical, &[])
    }

    /// All search parameters with all their versions, sorted by URL.
    pub fn search_parameters(&self) -> impl Iterator<Item = &Arc<SearchParameter>> {
        self.search_parameters.iter().map(|it| &it.item)
    }

    /// All search parameters, each with its package: those of the first package first, and of one
    /// package by URL. A package stands behind those that it depends on.
    #[must_use]
    pub fn search_parameters_by_package(&self) -> Vec<(&PackageId, &Arc<SearchParameter>)> {
        let order = order(&self.packages);
        let mut all: Vec<_> = self.search_parameters.iter().collect();
        // Those of one package stay in the order of their URLs.
        all.sort_by_key(|it| order[it.package]);
        all.into_iter().map(|it| (&self.packages[it.package].id, &it.item)).collect()
    }

    /// The search parameter that `from` means by a canonical: without a version that of its own
    /// package, else the one its package depends on, else the latest.
    #[must_use]
    pub fn search_parameter_from(
        &self,
        from: &SearchParameter,
        canonical: &str,
    ) -> Option<&Arc<SearchParameter>> {
        let stored = self.search_parameters.by_url.get(&from.url);
        let package = stored.and_then(|stored| {
            let same = stored.iter().find(|it| std::ptr::eq(&*it.item, from));
            same.or_else(|| stored.iter().find(|it| it.item.version == from.version))
        });
        let near = package.map(|it| self.near(it.package)).unwrap_or_default();
        self.search_parameters.find(canonical, &near)
    }

    /// All compartments.
    pub fn compartments(&self) -> impl Iterator<Item = &Arc<CompartmentDefinition>> {
        self.compartments.iter()
    }

    /// All operations with all their versions, sorted by URL.
    pub fn operations(&self) -> impl Iterator<Item = &Arc<OperationDefinition>> {
        self.operations.iter().map(|it| &it.item)
    }

    /// The FHIR version's own definitions, as one value that can be compiled or written.
    #[must_use]
    pub fn core(&self) -> Structures {
        fn own<T: Canonical + Clone>(index: &Index<T>) -> Vec<T> {
            index.iter().filter(|it| it.package == 0).map(|it| T::clone(&it.item)).collect()
        }
        Structures {
            source: crate::definitions::Source {
                package: (&*self.packages[0].id.name).into(),
                version: (&*self.packages[0].id.version).into(),
                licence: Box::default(),
                fhir_version: (&*self.fhir_version).into(),
            },
            structures: own(&self.structures),
            search_parameters: own(&self.search_parameters),
            compartments: self
                .compartments
                .iter()
                .map(|it| CompartmentDefinition::clone(it))
                .collect(),
            operations: own(&self.operations),
        }
    }

    /// The schema of this FHIR version: of a core package at run time what [`Schema::r4`] is
    /// for R4. Without a patient compartment among the definitions none is known to it.
    ///
    /// # Errors
    /// [`SchemaError`] when the base types contradict each other.
    pub fn schema(&self) -> Result<Schema, SchemaError> {
        let core = self.core();
        let has_patient_compartment = core.compartments.iter().any(|it| &*it.code == "Patient");
        let definitions = match has_patient_compartment {
            true => compile::compile(&core)?,
            false => compile::base_types(core.source, &core.structures)?,
        };
        Schema::new(&definitions)
    }

    fn package_of(&self, structure: &StructureDefinition) -> Option<usize> {
        let stored = self.structures.by_url.get(&structure.url)?;
        let same = stored.iter().find(|it| std::ptr::eq(&*it.item, structure));
        let same = same.or_else(|| stored.iter().find(|it| it.item.version == structure.version));
        same.map(|it| it.package)
    }

    /// A package and what it depends on, in the order in which it prefers them.
    pub(crate) fn near(&self, package: usize) -> Vec<usize> {
        near(&self.packages, package)
    }
}

pub(crate) fn near(packages: &[LoadedPackage], package: usize) -> Vec<usize> {
    let mut near = vec![package];
    let mut at = 0;
    while let Some(next) = near.get(at).copied() {
        for dependency in &packages[next].dependencies {
            if !near.contains(dependency) {
                near.push(*dependency);
            }
        }
        at += 1;
    }
    near
}

/// By package, its place in an order in which each stands behind those that it depends on. A
/// package depends on no circle of others.
fn order(packages: &[LoadedPackage]) -> Vec<usize> {
    let mut order = vec![None; packages.len()];
    let mut next = 0;
    for start in 0..packages.len() {
        let mut way = vec![start];
        while let Some(at) = way.last().copied() {
            let waits_for = packages[at].dependencies.iter().find(|it| order[**it].is_none());
            match waits_for {
                _ if order[at].is_some() => _ = way.pop(),
                Some(dependency) => way.push(*dependency),
                None => {
                    order[at] = Some(next);
                    next += 1;
                }
            }
        }
    }
    order.into_iter().map(Option::unwrap_or_default).collect()
}

/// Definitions of a core package, each with its elements, sorted by URL.
pub(crate) fn whole(
    sources: Vec<StructureSource>,
    package: &PackageId,
) -> Result<Vec<StructureDefinition>, SchemaError> {
    Builder::of_core(package).structures(sources)
}

/// Definitions by URL, for a builder.
pub(crate) type ByUrl = HashMap<Arc<str>, Vec<usize>>;
