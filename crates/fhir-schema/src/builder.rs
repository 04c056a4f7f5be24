//! How packages come into a [`DefinitionSet`]: which may stand together, and each definition made
//! whole, after those that it derives from.

use std::collections::HashMap;
use std::sync::Arc;

use crate::SchemaError;
use crate::definition_set::{
    BASE_URL, ByUrl, DefinitionSet, LoadedPackage, UnmetDependency, near, pick, split_canonical,
};
use crate::draft::{StructureSource, published_elements};
use crate::interner::Interner;
use crate::package::{Package, PackageId};
use crate::snapshot::Need;
use crate::structure::{StructureDefinition, StructureKind};
use crate::{snapshot, version};

/// Definitions whose snapshots are being made at a time, each for the one before.
const MAX_DEPTH: usize = 64;

pub(crate) struct Builder {
    packages: Vec<LoadedPackage>,
    /// What the set has and what comes in, in this order.
    entries: Vec<Entry>,
    by_url: ByUrl,
    interner: Interner,
    /// The canonicals of those which are being made whole.
    working: Vec<String>,
    set: Option<DefinitionSet>,
}

struct Entry {
    version: Option<Arc<str>>,
    package: usize,
    base: Option<Arc<str>>,
    state: State,
}

enum State {
    Whole(Arc<StructureDefinition>),
    Source(Box<StructureSource>),
    Working,
}

impl Builder {
    /// For packages on top of a set.
    pub(crate) fn new(set: &DefinitionSet) -> Self {
        Self { set: Some(set.clone()), ..Self::beside(set) }
    }

    /// For a definition that is tried, and does not come into the set.
    pub(crate) fn beside(set: &DefinitionSet) -> Self {
        let mut builder = Self::empty(set.packages.clone());
        for stored in set.structures.iter() {
            let structure = &stored.item;
            builder.add(
                &structure.url,
                Entry {
                    version: structure.version.clone(),
                    package: stored.package,
                    base: structure.base.clone(),
                    state: State::Whole(Arc::clone(structure)),
                },
            );
        }
        builder
    }

    /// For a FHIR version's own package.
    pub(crate) fn of_core(package: &PackageId) -> Self {
        Self::empty(vec![LoadedPackage {
            id: package.clone(),
            digest: None,
            dependencies: Vec::new(),
        }])
    }

    fn empty(packages: Vec<LoadedPackage>) -> Self {
        Self {
            packages,
            entries: Vec::new(),
            by_url: HashMap::new(),
            interner: Interner::default(),
            working: Vec::new(),
            set: None,
        }
    }

    fn add(&mut self, url: &Arc<str>, entry: Entry) {
        self.by_url.entry(Arc::clone(url)).or_default().push(self.entries.len());
        self.entries.push(entry);
    }

    fn add_sources(
        &mut self,
        sources: Vec<StructureSource>,
        package: usize,
    ) -> Result<(), SchemaError> {
        let mut seen: HashMap<Arc<str>, Option<Arc<str>>> = HashMap::new();
        for source in sources {
            let StructureDefinition { url, version, base, .. } = &source.structure;
            let (url, version) = (Arc::clone(url), version.clone());
            if let Some(other) = seen.insert(Arc::clone(&url), version.clone()) {
                return Err(duplicate(&self.packages[package].id, &url, other, version));
            }
            let entry = Entry {
                version,
                package,
                base: base.clone(),
                state: State::Source(Box::new(source)),
            };
            self.add(&url, entry);
        }
        Ok(())
    }

    /// Makes the definitions of a core package whole.
    pub(crate) fn structures(
        mut self,
        sources: Vec<StructureSource>,
    ) -> Result<Vec<StructureDefinition>, SchemaError> {
        self.add_sources(sources, 0)?;
        self.check_bases()?;
        let mut structures = Vec::with_capacity(self.entries.len());
        for at in 0..self.entries.len() {
            structures.push(StructureDefinition::clone(&*self.whole(at)?));
        }
        structures.sort_by(|one, other| one.url.cmp(&other.url));
        Ok(structures)
    }

    /// The set with packages.
    pub(crate) fn build(
        mut self,
        mut packages: Vec<Package>,
    ) -> Result<DefinitionSet, SchemaError> {
        let mut set = self.set.take().expect("a builder of packages begins with a set");
        packages.sort_by(|one, other| {
            let (one, other) = (&one.manifest, &other.manifest);
            one.name.cmp(&other.name).then_with(|| version::compare(&one.version, &other.version))
        });
        packages.retain(|it| {
            *it.manifest.name != *set.packages[0].id.name
                || *it.manifest.version != *set.packages[0].id.version
        });
        let first = self.packages.len();
        for package in &packages {
            check_fhir_version(package, &set.fhir_version)?;
            let id = PackageId {
                name: (&*package.manifest.name).into(),
                version: (&*package.manifest.version).into(),
            };
            if self.packages.iter().any(|it| it.id == id) {
                return Err(SchemaError::DuplicatePackage(id.to_string()));
            }
            let (digest, dependencies) = (package.digest, Vec::new());
            self.packages.push(LoadedPackage { id, digest, dependencies });
        }
        for (at, package) in packages.iter().enumerate() {
            self.connect(first + at, package, &mut set)?;
        }
        self.check_dependencies()?;

        let first_entry = self.entries.len();
        for (at, package) in packages.into_iter().enumerate() {
            let at = first + at;
            self.add_sources(package.structure_definitions, at)?;
            for search_parameter in package.search_parameters {
                set.search_parameters.insert(Arc::new(search_parameter), at);
            }
            for operation in package.operation_definitions {
                set.operations.insert(Arc::new(operation), at);
            }
            set.compartments.extend(package.compartment_definitions.into_iter().map(Arc::new));
        }
        self.check_bases()?;
        for at in first_entry..self.entries.len() {
            let structure = self.whole(at)?;
            set.structures.insert(structure, self.entries[at].package);
        }
        set.packages = self.packages;
        Ok(set)
    }

    /// A definition by itself, from both of its views where it has both.
    pub(crate) fn try_source(
        mut self,
        source: StructureSource,
    ) -> Result<StructureDefinition, SchemaError> {
        let is_profile = source.structure.is_profile();
        let has_both = source.snapshot.is_some() && !source.differential.is_empty();
        if is_profile && has_both {
            self.make(StructureSource { snapshot: None, ..source.clone() }, 0)?;
        }
        self.make(source, 0)
    }

    /// Notes which packages another depends on; of several that would do, the latest.
    fn connect(
        &mut self,
        at: usize,
        package: &Package,
        set: &mut DefinitionSet,
    ) -> Result<(), SchemaError> {
        for (name, wanted) in &package.manifest.dependencies {
            if let Some(release) = version::core_release(name) {
                if release != version::fhir_release(&set.fhir_version) {
                    return Err(SchemaError::OtherFhirVersion {
                        package: self.packages[at].id.to_string(),
                        found: version::fhir_release_name(release).to_owned(),
                        expected: version::fhir_release_name(&set.fhir_version).to_owned(),
                    });
                }
                self.packages[at].dependencies.push(0);
                continue;
            }
            let found = self
                .packages
                .iter()
                .enumerate()
                .filter(|(_, it)| {
                    *it.id.name == **name && version::satisfies(&it.id.version, wanted)
                })
                .max_by(|(_, one), (_, other)| version::compare(&one.id.version, &other.id.version))
                .map(|(found, _)| found);
            match found {
                Some(found) => self.packages[at].dependencies.push(found),
                None => set.unmet.push(UnmetDependency {
                    package: self.packages[at].id.clone(),
                    name: (&**name).into(),
                    wanted: (&**wanted).into(),
                }),
            }
        }
        Ok(())
    }

    fn check_dependencies(&self) -> Result<(), SchemaError> {
        // 0 not seen, 1 on the way, 2 done.
        let mut states = vec![0_u8; self.packages.len()];
        for start in 0..self.packages.len() {
            // Each package on the way, and how many of its dependencies were looked at.
            let mut way = vec![(start, 0)];
            while let Some((package, done)) = way.last_mut() {
                let package = *package;
                states[package] = states[package].max(1);
                let Some(next) = self.packages[package].dependencies.get(*done).copied() else {
                    states[package] = 2;
                    way.pop();
                    continue;
                };
                *done += 1;
                match states[next] {
                    0 => way.push((next, 0)),
                    1 => {
                        let from = way.iter().position(|(it, _)| *it == next).unwrap_or_default();
                        let mut circle: Vec<String> = way[from..]
                            .iter()
                            .map(|(it, _)| self.packages[*it].id.to_string())
                            .collect();
                        circle.push(self.packages[next].id.to_string());
                        return Err(SchemaError::DependencyCycle(circle.join(" → ")));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Every definition's chain of bases must end, whether or not its snapshot is there. Each
    /// definition is looked at once, however many derive from it.
    fn check_bases(&self) -> Result<(), SchemaError> {
        // How many definitions stand in the chain that begins here; 0 while that is not known.
        let mut lengths = vec![0_usize; self.entries.len()];
        let mut is_on_the_way = vec![false; self.entries.len()];
        for start in 0..self.entries.len() {
            let mut way = Vec::new();
            let mut next = Some(start);
            let mut length = 0;
            while let Some(at) = next {
                length = lengths[at];
                if length > 0 {
                    break;
                }
                way.push(at);
                if is_on_the_way[at] {
                    let circle: Vec<String> = way.iter().map(|at| self.canonical(*at)).collect();
                    return Err(SchemaError::DefinitionCycle(circle.join(" → ")));
                }
                is_on_the_way[at] = true;
                let Entry { base, package, .. } = &self.entries[at];
                next = base.as_ref().and_then(|base| self.resolve(base, *package));
            }
            for at in way.into_iter().rev() {
                length += 1;
                lengths[at] = length;
                is_on_the_way[at] = false;
                if length > MAX_DEPTH {
                    return Err(SchemaError::TooLarge {
                        what: "definitions that derive from each other",
                        limit: MAX_DEPTH as u64,
                    });
                }
            }
        }
        Ok(())
    }

    fn canonical(&self, at: usize) -> String {
        match &self.entries[at].state {
            State::Whole(structure) => structure.canonical(),
            State::Source(source) => source.structure.canonical(),
            State::Working => self.working.last().cloned().unwrap_or_default(),
        }
    }

    fn resolve(&self, canonical: &str, from: usize) -> Option<usize> {
        let (url, wanted) = split_canonical(canonical);
        let candidates = match self.by_url.get(url) {
            Some(candidates) => candidates,
            None => self.by_url.get(&*format!("{BASE_URL}{url}"))?,
        };
        let near = near(&self.packages, from);
        let candidates = candidates.iter().map(|at| {
            let entry = &self.entries[*at];
            (*at, entry.version.as_deref(), entry.package)
        });
        pick(candidates, wanted, &near)
    }

    fn whole(&mut self, at: usize) -> Result<Arc<StructureDefinition>, SchemaError> {
        if let State::Whole(structure) = &self.entries[at].state {
            return Ok(Arc::clone(structure));
        }
        let canonical = self.canonical(at);
        let State::Source(source) = std::mem::replace(&mut self.entries[at].state, State::Working)
        else {
            self.working.push(canonical);
            return Err(SchemaError::DefinitionCycle(self.working.join(" → ")));
        };
        if self.working.len() >= MAX_DEPTH {
            return Err(SchemaError::TooLarge {
                what: "definitions that need each other",
                limit: MAX_DEPTH as u64,
            });
        }
        self.working.push(canonical);
        let structure = Arc::new(self.make(*source, self.entries[at].package)?);
        self.working.pop();
        self.entries[at].state = State::Whole(Arc::clone(&structure));
        Ok(structure)
    }

    fn is_being_made(&self, at: usize) -> bool {
        matches!(self.entries[at].state, State::Working)
    }

    fn make(
        &mut self,
        mut source: StructureSource,
        package: usize,
    ) -> Result<StructureDefinition, SchemaError> {
        if let Some(drafts) = source.snapshot.take() {
            let mut structure = source.structure;
            structure.elements = published_elements(&structure, drafts, &mut self.interner)?;
            self.check_order(&structure, package)?;
            return Ok(structure);
        }
        let Some(base) = source.structure.base.clone() else {
            return Err(SchemaError::NoSnapshot(source.structure.canonical()));
        };
        let no_base = || SchemaError::NoBase {
            profile: source.structure.canonical(),
            base: base.to_string(),
        };
        let at = self.resolve(&base, package).ok_or_else(no_base)?;
        let base = self.whole(at)?;
        let mut interner = Interner::default();
        let elements =
            snapshot::generate(&source, &base, &mut interner, &mut |canonical, need| match self
                .resolve(canonical, package)
            {
                Some(at) if need == Need::IfMade && self.is_being_made(at) => Ok(None),
                Some(at) => self.whole(at).map(Some),
                None => Ok(None),
            })?;
        let mut structure = source.structure;
        structure.elements = elements;
        for element in &mut structure.elements {
            self.interner.adopt(element);
        }
        Ok(structure)
    }

    /// A profile's elements stand in the order of its type's.
    fn check_order(
        &mut self,
        structure: &StructureDefinition,
        package: usize,
    ) -> Result<(), SchemaError> {
        if structure.kind == StructureKind::Logical || !structure.is_profile() {
            return Ok(());
        }
        let Some(at) = self.resolve(&format!("{BASE_URL}{}", structure.type_name), package) else {
            return Ok(());
        };
        if self.is_being_made(at) {
            return Ok(());
        }
        let base = self.whole(at)?;
        let order: HashMap<&str, usize> =
            base.elements.iter().enumerate().map(|(at, it)| (&*it.path, at)).collect();
        // By the id of the parent: where the last element of it stands in the type.
        let mut last: HashMap<&str, usize> = HashMap::new();
        for element in &structure.elements {
            let Some(at) = order.get(&*element.path) else { continue };
            let parent = element.id.rsplit_once('.').map_or("", |(parent, _)| parent);
            let before = last.insert(parent, *at).unwrap_or_default();
            if before > *at {
                return Err(SchemaError::Snapshot {
                    profile: structure.canonical(),
                    element: element.path.to_string(),
                    problem: format!(
                        "stands after {}, which its type has later",
                        base.elements[before].path
                    ),
                });
            }
        }
        Ok(())
    }
}

fn duplicate(
    package: &PackageId,
    url: &str,
    one: Option<Arc<str>>,
    other: Option<Arc<str>>,
) -> SchemaError {
    let versions = match (one, other) {
        (Some(one), Some(other)) if one != other => format!(", as {one} and {other}"),
        _ => String::new(),
    };
    SchemaError::DuplicateCanonical { package: package.to_string(), url: url.to_owned(), versions }
}

fn check_fhir_version(package: &Package, expected: &str) -> Result<(), SchemaError> {
    let versions = &package.manifest.fhir_versions;
    let release = version::fhir_release(expected);
    if versions.is_empty() || versions.iter().any(|it| version::fhir_release(it) == release) {
        return Ok(());
    }
    let names: Vec<&str> = versions.iter().map(|it| version::fhir_release_name(it)).collect();
    Err(SchemaError::OtherFhirVersion {
        package: format!("{}#{}", package.manifest.name, package.manifest.version),
        found: names.join(", "),
        expected: version::fhir_release_name(expected).to_owned(),
    })
}
