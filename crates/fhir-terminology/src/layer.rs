//! Definitions by canonical: a package's, a tenant's, those built in. Layers lie over each other
//! in a [`crate::Terminology`]. What a resource says is laid out when somebody asks for it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use fhir_core::json::{Document, Value};

use crate::code_system::{CodeSystem, Status};
use crate::concept_map::{ConceptMap, read_concept_map};
use crate::error::TerminologyError;
use crate::pack::{Pack, Place};
use crate::read_code_system::{boxed, malformed, read_code_system};
use crate::tables;
use crate::value_set::{ValueSet, read_value_set};

/// The kinds of resource that terminology is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the resource type of its name")]
pub enum Kind {
    CodeSystem,
    ValueSet,
    ConceptMap,
}

pub(crate) const STATUSES: [Status; 3] = [Status::Draft, Status::Retired, Status::Active];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CodeSystem, Self::ValueSet, Self::ConceptMap];

    /// The resource type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CodeSystem => "CodeSystem",
            Self::ValueSet => "ValueSet",
            Self::ConceptMap => "ConceptMap",
        }
    }
}

/// What is known of a resource before it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    pub(crate) url: Box<str>,
    /// Empty where there is none.
    pub(crate) version: Box<str>,
    /// Empty where there is none.
    pub(crate) date: Box<str>,
    /// Of a code system the value set of all its codes; of a supplement what it adds to.
    pub(crate) points_to: Box<str>,
}

impl Label {
    pub(crate) fn read(resource: Value<'_>) -> Result<Self, TerminologyError> {
        let name = resource.get_str("resourceType").unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
            malformed("resourceType", "the type must be CodeSystem, ValueSet or ConceptMap")
        })?;
        let text = |name| boxed(resource, name).unwrap_or_default();
        let points_to = match kind {
            Kind::CodeSystem if &*text("content") == "supplement" => text("supplements"),
            Kind::CodeSystem => text("valueSet"),
            _ => Box::default(),
        };
        Ok(Self {
            kind,
            status: Status::parse(&text("status")),
            url: text("url"),
            version: text("version"),
            date: text("date"),
            points_to,
        })
    }
}

/// A resource, laid out once somebody asks for it.
#[derive(Debug)]
pub struct Entry {
    pub(crate) label: Label,
    body: Body,
    laid_out: OnceLock<Result<Parsed, TerminologyError>>,
}

#[derive(Debug)]
enum Body {
    Json(Box<[u8]>),
    Packed(&'static Pack, Place),
    Table(&'static tables::Table),
}

/// A resource laid out.
#[derive(Debug, Clone)]
pub(crate) enum Parsed {
    CodeSystem(Arc<CodeSystem>),
    ValueSet(Arc<ValueSet>),
    ConceptMap(Arc<ConceptMap>),
}

impl Entry {
    /// Reads a CodeSystem, ValueSet or ConceptMap.
    ///
    /// # Errors
    /// [`TerminologyError::Malformed`] when it is none.
    pub fn new(resource: Value<'_>) -> Result<Self, TerminologyError> {
        let label = Label::read(resource)?;
        let body = Body::Json(resource.raw().as_bytes().into());
        Ok(Self { label, body, laid_out: OnceLock::new() })
    }

    fn parsed(&self) -> Result<&Parsed, TerminologyError> {
        self.laid_out.get_or_init(|| self.lay_out()).as_ref().map_err(Clone::clone)
    }

    fn lay_out(&self) -> Result<Parsed, TerminologyError> {
        let unpacked;
        let json: &[u8] = match &self.body {
            Body::Json(json) => json,
            Body::Packed(pack, place) => {
                unpacked = pack
                    .json(*place)
                    .map_err(|error| malformed(&*self.label.url, error.to_string()))?;
                &unpacked
            }
            Body::Table(table) => return Ok(Parsed::CodeSystem(Arc::new(table.code_system()?))),
        };
        let document = Document::parse(json)
            .map_err(|error| malformed(&*self.label.url, error.to_string()))?;
        let resource = document.root();
        Ok(match self.label.kind {
            Kind::CodeSystem => Parsed::CodeSystem(Arc::new(read_code_system(resource)?)),
            Kind::ValueSet => Parsed::ValueSet(Arc::new(read_value_set(resource)?)),
            Kind::ConceptMap => Parsed::ConceptMap(Arc::new(read_concept_map(resource)?)),
        })
    }

    pub(crate) fn code_system(&self) -> Result<Arc<CodeSystem>, TerminologyError> {
        match self.parsed()? {
            Parsed::CodeSystem(system) => Ok(Arc::clone(system)),
            _ => Err(malformed(&*self.label.url, "is no CodeSystem")),
        }
    }

    /// The value set that it is.
    ///
    /// # Errors
    /// [`TerminologyError::Malformed`] when it is none or cannot be read.
    pub fn value_set(&self) -> Result<Arc<ValueSet>, TerminologyError> {
        match self.parsed()? {
            Parsed::ValueSet(set) => Ok(Arc::clone(set)),
            _ => Err(malformed(&*self.label.url, "is no ValueSet")),
        }
    }

    pub(crate) fn concept_map(&self) -> Result<Arc<ConceptMap>, TerminologyError> {
        match self.parsed()? {
            Parsed::ConceptMap(map) => Ok(Arc::clone(map)),
            _ => Err(malformed(&*self.label.url, "is no ConceptMap")),
        }
    }
}

/// Definitions by canonical. Cloning one copies no resource.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    named: HashMap<Box<str>, Arc<Entry>>,
    by_url: HashMap<(Kind, Box<str>), Vec<Arc<Entry>>>,
    /// Code systems by the value set of all their codes, supplements by what they add to.
    pointing: HashMap<Box<str>, Vec<Arc<Entry>>>,
    maps: Vec<Arc<Entry>>,
}

impl Layer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The contents of packed definitions.
    pub(crate) fn of_pack(pack: &'static Pack) -> Self {
        let mut layer = Self::default();
        for (label, place) in &pack.index {
            layer.add(Arc::new(Entry {
                label: label.clone(),
                body: Body::Packed(pack, *place),
                laid_out: OnceLock::new(),
            }));
        }
        for table in &tables::TABLES {
            layer.add(Arc::new(Entry {
                label: table.label(),
                body: Body::Table(table),
                laid_out: OnceLock::new(),
            }));
        }
        layer
    }

    /// How many resources it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_url.values().map(Vec::len).sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_url.is_empty()
    }

    /// Adds a resource that nothing will replace: a package's.
    pub fn add(&mut self, entry: Arc<Entry>) {
        let label = &entry.label;
        if !label.points_to.is_empty() {
            let points_to = crate::Canonical::parse(&label.points_to).url.into();
            self.pointing.entry(points_to).or_default().push(Arc::clone(&entry));
        }
        if label.kind == Kind::ConceptMap {
            self.maps.push(Arc::clone(&entry));
        }
        // What has no URL is reached by its instance alone.
        if !label.url.is_empty() {
            let key = (label.kind, label.url.clone());
            self.by_url.entry(key).or_default().push(entry);
        }
    }

    /// Adds a resource under a name, in place of the one that had it: `CodeSystem/7`.
    pub fn put(&mut self, name: &str, entry: Arc<Entry>) {
        self.remove(name);
        self.named.insert(name.into(), Arc::clone(&entry));
        self.add(entry);
    }

    /// Takes the resource with this name out again.
    pub fn remove(&mut self, name: &str) {
        let Some(entry) = self.named.remove(name) else { return };
        let without = |list: &mut Vec<Arc<Entry>>| {
            list.retain(|other| !Arc::ptr_eq(other, &entry));
            !list.is_empty()
        };
        self.by_url.retain(|_, list| without(list));
        self.pointing.retain(|_, list| without(list));
        without(&mut self.maps);
    }

    /// The resource with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Entry>> {
        self.named.get(name)
    }

    pub(crate) fn versions(&self, kind: Kind, url: &str) -> &[Arc<Entry>] {
        self.by_url.get(&(kind, url.into())).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn pointing(&self, url: &str) -> &[Arc<Entry>] {
        self.pointing.get(url).map_or(&[], Vec::as_slice)
    }

    /// The URLs of this kind.
    pub(crate) fn urls(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.by_url.keys().filter(move |(of, _)| *of == kind).map(|(_, url)| &**url)
    }

    pub(crate) fn maps(&self) -> &[Arc<Entry>] {
        &self.maps
    }
}
