//! Layers of definitions, and what they have for a canonical.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::canonical::{Canonical, compare_versions};
use crate::code_system::{CodeSystem, Content, Status};
use crate::concept_map::ConceptMap;
use crate::error::TerminologyError;
use crate::grammar::Grammar;
use crate::kept::Kept;
use crate::layer::{Entry, Kind, Layer};
use crate::pack::Pack;
use crate::resolved::ResolvedSet;
use crate::value_set::ValueSet;

static R4: &[u8] = include_bytes!("../definitions/r4.zst");

/// A code system that questions are answered about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSystem {
    /// Its canonical URL.
    pub url: String,
    /// The versions that are here; none where it has no version.
    pub versions: Vec<String>,
    /// The one that counts where none is named.
    pub default: Option<String>,
}

/// Definitions to answer from. Cloning one is cheap; adding a layer leaves the others as they are.
#[derive(Debug, Clone)]
pub struct Terminology {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The last lies on top.
    layers: Vec<Arc<Layer>>,
    resolved: RwLock<Kept>,
}

fn built_in() -> &'static (&'static Pack, Terminology) {
    static BUILT_IN: OnceLock<(&'static Pack, Terminology)> = OnceLock::new();
    BUILT_IN.get_or_init(|| {
        let pack = Pack::open(R4).expect("the built-in file is read by a test");
        // It is there as long as the process is, and so are the layers that point into it.
        let pack: &'static Pack = Box::leak(Box::new(pack));
        (pack, Terminology::empty().with(Layer::of_pack(pack)))
    })
}

impl Terminology {
    /// Nothing but the grammars.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(Vec::new())
    }

    /// What FHIR R4 core defines, and the tables of codes that are built in. The first call opens
    /// the index; resources are laid out as they are asked for.
    #[must_use]
    pub fn r4() -> Self {
        built_in().1.clone()
    }

    fn of(layers: Vec<Arc<Layer>>) -> Self {
        Self { inner: Arc::new(Inner { layers, resolved: RwLock::default() }) }
    }

    /// The same with another layer on top.
    #[must_use]
    pub fn with(&self, layer: impl Into<Arc<Layer>>) -> Self {
        let mut layers = self.inner.layers.clone();
        layers.push(layer.into());
        Self::of(layers)
    }

    fn versions(&self, kind: Kind, url: &str) -> Vec<&Arc<Entry>> {
        let layers = self.inner.layers.iter();
        layers.flat_map(|layer| layer.versions(kind, url)).collect()
    }

    /// The entry for a canonical: the version named; else the latest that is active, or the
    /// latest of what there is. With a date, versions of later dates count only if there is no
    /// other. Of the same version the layer on top has it.
    fn choose<'a>(
        candidates: Vec<&'a Arc<Entry>>,
        version: Option<&str>,
        date: Option<&str>,
    ) -> Option<&'a Arc<Entry>> {
        let in_time = |label: &crate::layer::Label| {
            date.is_none_or(|date| label.date.is_empty() || not_later(&label.date, date))
        };
        candidates
            .into_iter()
            .filter(|entry| version.is_none_or(|version| &*entry.label.version == version))
            .enumerate()
            .max_by(|(one_at, one), (other_at, other)| {
                let (one, other) = (&one.label, &other.label);
                in_time(one)
                    .cmp(&in_time(other))
                    .then(one.status.cmp(&other.status))
                    .then_with(|| compare_versions(&one.version, &other.version))
                    .then(one_at.cmp(other_at))
            })
            .map(|(_, entry)| entry)
    }

    fn find(&self, kind: Kind, of: Canonical<'_>, date: Option<&str>) -> Option<&Arc<Entry>> {
        Self::choose(self.versions(kind, of.url), of.version, date)
    }

    /// The code system with this canonical, `None` if none is here. Grammars are none.
    ///
    /// # Errors
    /// [`TerminologyError::Malformed`] when it is here and cannot be read.
    pub fn code_system(
        &self,
        of: Canonical<'_>,
        date: Option<&str>,
    ) -> Result<Option<Arc<CodeSystem>>, TerminologyError> {
        self.find(Kind::CodeSystem, of, date).map(|entry| entry.code_system()).transpose()
    }

    /// The value set with this canonical, those that code systems imply included.
    ///
    /// # Errors
    /// [`TerminologyError::UnknownCanonical`], or [`TerminologyError::Malformed`] when it cannot
    /// be read.
    pub fn value_set(
        &self,
        of: Canonical<'_>,
        date: Option<&str>,
    ) -> Result<Arc<ValueSet>, TerminologyError> {
        let implied = || crate::implicit::value_set(of.url).map(Arc::new);
        self.defined(of, date)?.or_else(implied).ok_or_else(|| TerminologyError::UnknownCanonical {
            kind: "ValueSet",
            canonical: of.to_string(),
        })
    }

    /// The value set that a resource defines, or that a code system says has all its codes.
    fn defined(
        &self,
        of: Canonical<'_>,
        date: Option<&str>,
    ) -> Result<Option<Arc<ValueSet>>, TerminologyError> {
        if let Some(entry) = self.find(Kind::ValueSet, of, date) {
            return entry.value_set().map(Some);
        }
        let pointing = self.inner.layers.iter().flat_map(|layer| layer.pointing(of.url));
        let systems = pointing
            .filter(|entry| &*entry.label.points_to == of.url)
            // A supplement points to what it adds to, which is no value set.
            .filter(|entry| {
                !entry.code_system().is_ok_and(|system| system.content == Content::Supplement)
            })
            .collect();
        let Some(entry) = Self::choose(systems, of.version, date) else { return Ok(None) };
        Ok(Some(Arc::new(crate::implicit::all_codes(&*entry.code_system()?, of.url))))
    }

    /// The concept map with this canonical.
    ///
    /// # Errors
    /// [`TerminologyError::UnknownCanonical`], or [`TerminologyError::Malformed`] when it cannot
    /// be read.
    pub fn concept_map(&self, of: Canonical<'_>) -> Result<Arc<ConceptMap>, TerminologyError> {
        let entry = self.find(Kind::ConceptMap, of, None).ok_or_else(|| {
            TerminologyError::UnknownCanonical { kind: "ConceptMap", canonical: of.to_string() }
        })?;
        entry.concept_map()
    }

    /// All concept maps; those that cannot be read are passed over. Of one canonical the layer on
    /// top has it.
    pub fn concept_maps(&self) -> Vec<Arc<ConceptMap>> {
        let mut seen = std::collections::HashSet::new();
        let mut maps: Vec<_> = self
            .inner
            .layers
            .iter()
            .rev()
            .flat_map(|layer| layer.maps().iter().rev())
            .filter(|entry| {
                let label = &entry.label;
                label.url.is_empty() || seen.insert((label.url.clone(), label.version.clone()))
            })
            .filter_map(|entry| entry.concept_map().ok())
            .collect();
        maps.reverse();
        maps
    }

    /// The active supplements of a code system. Those that cannot be read are passed over: what
    /// they add to stands without them.
    #[must_use]
    pub fn supplements(&self, system: &str) -> Vec<Arc<CodeSystem>> {
        let layers = self.inner.layers.iter();
        layers
            .flat_map(|layer| layer.pointing(system))
            .filter(|entry| entry.label.status == Status::Active)
            .filter_map(|entry| entry.code_system().ok())
            .filter(|system| system.content == Content::Supplement)
            .collect()
    }

    /// The supplement with this canonical.
    ///
    /// # Errors
    /// [`TerminologyError::UnknownCanonical`], or [`TerminologyError::Malformed`] when it cannot
    /// be read.
    pub fn supplement(&self, of: Canonical<'_>) -> Result<Arc<CodeSystem>, TerminologyError> {
        let found = self.code_system(of, None)?;
        let is_one = |it: &Arc<CodeSystem>| it.content == Content::Supplement;
        found.filter(is_one).ok_or_else(|| TerminologyError::UnknownCanonical {
            kind: "supplement",
            canonical: of.to_string(),
        })
    }

    /// The URLs of all definitions of a kind, each once, in order.
    #[must_use]
    pub fn canonicals(&self, kind: Kind) -> Vec<String> {
        let layers = self.inner.layers.iter();
        let urls: std::collections::BTreeSet<&str> =
            layers.flat_map(|layer| layer.urls(kind)).collect();
        urls.into_iter().map(str::to_owned).collect()
    }

    /// The code systems of which concepts or a grammar are here, in the order of their URLs.
    /// Those that cannot be read are passed over. Lays out every one.
    #[must_use]
    pub fn code_systems(&self) -> Vec<KnownSystem> {
        let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let urls = self.canonicals(Kind::CodeSystem);
        // R4 has some with a version in their URLs, which no canonical can name.
        for url in urls.into_iter().filter(|url| !url.contains('|')) {
            let all = self.versions(Kind::CodeSystem, &url).into_iter();
            let versions: Vec<String> = all
                .filter_map(|entry| entry.code_system().ok())
                .filter(|system| {
                    !matches!(system.content, Content::Supplement) && !system.is_empty()
                })
                .map(|system| system.naming.version.as_deref().unwrap_or_default().to_owned())
                .collect();
            if !versions.is_empty() {
                known.insert(url, versions);
            }
        }
        for grammar in Grammar::ALL {
            known.entry(grammar.url().to_owned()).or_default();
        }
        let known = known.into_iter().map(|(url, mut versions)| {
            let of = Canonical { url: &url, version: None };
            let default = self.find(Kind::CodeSystem, of, None);
            let default = default.map(|entry| entry.label.version.to_string());
            versions.retain(|version| !version.is_empty());
            versions.dedup();
            KnownSystem { default: default.filter(|it| versions.contains(it)), url, versions }
        });
        known.collect()
    }

    /// A value set with everything that it names looked up, kept for the next who asks.
    ///
    /// # Errors
    /// As [`Terminology::value_set`], and when its imports go in a circle.
    pub fn resolve(&self, canonical: &str) -> Result<Arc<ResolvedSet>, TerminologyError> {
        let kept = self.inner.resolved.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = kept.get(canonical) {
            return Ok(Arc::clone(set));
        }
        drop(kept);
        let of = Canonical::parse(canonical);
        let (set, is_defined) = match self.defined(of, None)? {
            Some(set) => (set, true),
            None => (self.value_set(of, None)?, false),
        };
        let set = Arc::new(ResolvedSet::new(self, &set, &crate::resolved::Pins::default())?);
        // Any text with the right form implies a value set: there is no end of those.
        if is_defined || set.knows_its_systems() {
            let mut kept = self.inner.resolved.write().unwrap_or_else(PoisonError::into_inner);
            kept.keep(canonical, &set);
        }
        Ok(set)
    }
}

/// Whether one FHIR date or dateTime is not after another, as far as both are given.
fn not_later(one: &str, other: &str) -> bool {
    let length = one.len().min(other.len());
    one.as_bytes()[..length].cmp(&other.as_bytes()[..length]) != Ordering::Greater
}

/// Where the built-in definitions come from.
#[must_use]
pub fn r4_source() -> &'static crate::pack::Source {
    &built_in().0.source
}
