//! The terminology of a tenant: what is built in, on top of it what the tenant's packages have, and
//! on top of that the CodeSystems, ValueSets and ConceptMaps that the tenant's log has. It follows
//! the log: who asks at a position first reads what was committed up to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use contract::Interaction;
use database::{
    Database, FhirVersion, HistoryOrder, ReadError, Snapshot, T, VersionEntry, Visibility, places,
};
use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType};
use fhir_terminology::{Entry, Kind, Layer, Terminology};

use crate::access::{Reach, any, reach};
use crate::call::Call;
use crate::validation::Validation;

/// Versions that are read from the log at a time.
const PAGE: usize = 500;

/// What is built in of a FHIR version: of R4 all, of others the grammars alone.
pub(crate) fn built_in(fhir_version: &str) -> Terminology {
    match FhirVersion::of(fhir_version) {
        Some(FhirVersion::R4) => Terminology::r4(),
        _ => Terminology::empty(),
    }
}

/// The definitions of one tenant.
#[derive(Debug)]
pub(crate) struct Definitions {
    /// Those of FHIR itself, below the tenant's.
    built_in: Terminology,
    current: Mutex<Arc<State>>,
}

/// The definitions as of a position.
#[derive(Debug)]
pub(crate) struct State {
    at: T,
    built_in: Terminology,
    packages: Option<Arc<Layer>>,
    /// One for each kind, in the order of [`Kind::ALL`].
    layers: [Arc<Layer>; 3],
    /// For each kind the position of the last commit that wrote to it.
    changed: [T; 3],
    all: Terminology,
}

impl State {
    fn new(
        at: T,
        built_in: &Terminology,
        packages: Option<Arc<Layer>>,
        (layers, changed): ([Arc<Layer>; 3], [T; 3]),
    ) -> Self {
        let below = below(built_in, packages.as_ref());
        let all = layers.iter().fold(below, |below, layer| below.with(Arc::clone(layer)));
        Self { at, built_in: built_in.clone(), packages, layers, changed, all }
    }

    /// What someone is answered from who may see these kinds of the tenant's resources.
    pub(crate) fn seen(&self, sees: impl Fn(Kind) -> bool) -> Terminology {
        if Kind::ALL.into_iter().all(&sees) {
            return self.all.clone();
        }
        let visible = Kind::ALL.into_iter().zip(&self.layers).filter(|(kind, _)| sees(*kind));
        let below = below(&self.built_in, self.packages.as_ref());
        visible.fold(below, |below, (_, layer)| below.with(Arc::clone(layer)))
    }

    /// The position of the last commit that wrote to one of these kinds of the tenant's own.
    pub(crate) fn changed_at(&self, sees: impl Fn(Kind) -> bool) -> T {
        let seen = Kind::ALL.into_iter().zip(self.changed).filter(|(kind, _)| sees(*kind));
        seen.map(|(_, changed)| changed).max().unwrap_or(T::ZERO)
    }

    /// The resource of the tenant's own with this id.
    pub(crate) fn own(&self, kind: Kind, id: &ResourceId) -> Option<Arc<Entry>> {
        let of_kind = Kind::ALL.into_iter().zip(&self.layers).find(|(it, _)| *it == kind);
        let (_, layer) = of_kind?;
        layer.named(&format!("{}/{id}", kind.as_str())).cloned()
    }

    /// Whether its packages have this terminology.
    fn has(&self, packages: Option<&Arc<Layer>>) -> bool {
        match (&self.packages, packages) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

/// The definitions of the caller's tenant as of now.
///
/// # Errors
/// [`ReadError`] when the log cannot be read.
pub(crate) async fn current(call: &Call<'_>) -> Result<Arc<State>, ReadError> {
    of(&call.server.validations[&call.grant.tenant], call.database).await
}

/// The definitions of a tenant as of now.
///
/// # Errors
/// [`ReadError`] when the log cannot be read.
pub(crate) async fn of(
    validation: &Validation,
    database: &Database,
) -> Result<Arc<State>, ReadError> {
    let packages = validation.current();
    let packages = packages.as_ref().and_then(|packages| packages.terminology.as_ref());
    validation.terminology.follow(database, packages).await
}

/// Whether the caller may read the tenant's own resources of this kind: others' definitions do
/// not count for whoever may not see them.
pub(crate) fn sees(call: &Call<'_>, kind: Kind) -> bool {
    let of = ResourceType::new(kind.as_str()).expect("the kinds are names of types");
    let read = Interaction::Read(any(&of));
    matches!(reach(call, &read, &of), Ok(Reach::Whole))
}

/// What lies below the tenant's own resources. Packages are for everybody to read.
fn below(built_in: &Terminology, packages: Option<&Arc<Layer>>) -> Terminology {
    packages.map_or(built_in.clone(), |layer| built_in.with(Arc::clone(layer)))
}

impl Definitions {
    /// Of a tenant whose log nobody read yet, and whose resources are of this FHIR version.
    pub(crate) fn of(fhir_version: &str) -> Self {
        let built_in = built_in(fhir_version);
        let layers = std::array::from_fn(|_| Arc::new(Layer::new()));
        let state = State::new(T::ZERO, &built_in, None, (layers, [T::ZERO; 3]));
        Self { built_in, current: Mutex::new(Arc::new(state)) }
    }

    fn current(&self) -> Arc<State> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The definitions as of now, over those of `packages`.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read.
    pub(crate) async fn follow(
        &self,
        database: &Database,
        packages: Option<&Arc<Layer>>,
    ) -> Result<Arc<State>, ReadError> {
        // What is kept is never ahead of a snapshot that is taken after it was looked at.
        let kept = self.current();
        let snapshot = database.snapshot(Visibility::everything());
        if snapshot.at() == kept.at && kept.has(packages) {
            return Ok(kept);
        }
        let (mut layers, mut changed_at) = (kept.layers.clone(), kept.changed);
        let both = layers.iter_mut().zip(&mut changed_at);
        for (kind, (layer, last)) in Kind::ALL.into_iter().zip(both) {
            let of = ResourceType::new(kind.as_str()).expect("the kinds are names of types");
            let changed = changed(&snapshot, &of, kept.at).await?;
            if !changed.is_empty() {
                let layer = Arc::make_mut(layer);
                for (name, entry) in changed {
                    *last = entry.t.max(*last);
                    put(&snapshot, layer, &name, entry).await?;
                }
            }
        }
        let same = layers.iter().zip(&kept.layers).all(|(one, other)| Arc::ptr_eq(one, other));
        let state = Arc::new(if same && kept.has(packages) {
            // Nothing of these kinds was written: what was looked up before stays good.
            let (built_in, all) = (kept.built_in.clone(), kept.all.clone());
            let packages = kept.packages.clone();
            State { at: snapshot.at(), built_in, packages, layers, changed: changed_at, all }
        } else {
            let layers = (layers, changed_at);
            State::new(snapshot.at(), &self.built_in, packages.cloned(), layers)
        });
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.at < state.at || (current.at == state.at && !current.has(packages)) {
            *current = Arc::clone(&state);
        }
        Ok(state)
    }
}

/// The newest version of each resource of a type that was written after a position.
pub(crate) async fn changed(
    snapshot: &Snapshot,
    of: &ResourceType,
    after: T,
) -> Result<BTreeMap<String, VersionEntry>, ReadError> {
    let mut range = places(after, snapshot.at());
    let mut changed = BTreeMap::new();
    loop {
        let order = HistoryOrder::OldestFirst;
        let page = snapshot.log(Some(of), range.clone(), order, PAGE).await?;
        let Some(last) = page.last() else { return Ok(changed) };
        range.start = last.place.next();
        for version in page {
            let entry = version.entry;
            changed.insert(format!("{of}/{}", entry.id), entry);
        }
    }
}

async fn put(
    snapshot: &Snapshot,
    layer: &mut Layer,
    name: &str,
    entry: VersionEntry,
) -> Result<(), ReadError> {
    let json = match snapshot.load(entry).await {
        Ok(version) => version.json,
        // Nobody can read it any more.
        Err(ReadError::Purged) => None,
        Err(error) => return Err(error),
    };
    let read = json.as_ref().and_then(|json| {
        let document = Document::parse(json).ok()?;
        Entry::new(document.root()).ok()
    });
    match read {
        Some(entry) => layer.put(name, Arc::new(entry)),
        None => layer.remove(name),
    }
    Ok(())
}
