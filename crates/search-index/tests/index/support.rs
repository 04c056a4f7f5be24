//! An index with resources from JSON, asked by URLs.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use fhir_core::json::Document;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{
    Asked, Codes, CodesError, Compartment, ExtractOptions, Extractor, Handling, Limits, Parameters,
    Query, Reader, Zone, decode_form,
};
use fhir_terminology::Terminology;
use search_index::{
    Change, Context, Cursor, Index, PieceOf, SearchError, Settled, Subject, Visible,
};
use store::T;

use crate::memory::{MEMORY, Pieces};

pub(crate) const BASE: &str = "http://own/fhir";

pub(crate) static PARAMETERS: LazyLock<Arc<Parameters>> =
    LazyLock::new(|| Arc::new(Parameters::new(DefinitionSet::r4(), Schema::r4())));
pub(crate) static EXTRACTOR: LazyLock<Extractor<'static>> = LazyLock::new(|| {
    let definitions = DefinitionSet::r4().clone();
    Extractor::new(Schema::r4(), Arc::clone(&PARAMETERS), definitions, Terminology::r4())
});
static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

/// Reads what stands behind a server's base.
pub(crate) fn query(url: &str) -> Query {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let parameters = decode_form(query.as_bytes()).unwrap();
    let of = |text: &str| ResourceType::new(text).unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let (compartment, resource_type) = match parts[..] {
        [""] => (None, None),
        [only] => (None, Some(of(only))),
        [kind, id, member] => {
            let id = ResourceId::new(id).unwrap();
            let compartment = Compartment { resource_type: of(kind), id };
            (Some(compartment), (member != "*").then(|| of(member)))
        }
        _ => panic!("{url}"),
    };
    let reader = Reader {
        parameters: &PARAMETERS,
        definitions: DefinitionSet::r4(),
        schema: Schema::r4(),
        base: BASE,
        zone: Zone::UTC,
        now: "2024-01-01T00:00:00Z".parse().unwrap(),
        handling: Handling::Strict,
        limits: &LIMITS,
    };
    let asked = Asked { resource_type, compartment, parameters: &parameters };
    reader.read(&asked).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Codes of two systems: those of `counts` are compared with regard to case, and in `tree` a code
/// subsumes those that it begins. A value set is named by the code that it begins with.
pub(crate) struct TestCodes;

impl Codes for TestCodes {
    fn check_value_set(&self, value_set: &str) -> Result<(), CodesError> {
        self.is_member(value_set, None, "").map(drop)
    }

    fn check_hierarchy(&self, system: &str) -> Result<(), CodesError> {
        self.subsumes(system, "", "").map(drop)
    }

    fn is_case_sensitive(&self, system: &str) -> bool {
        system == "counts"
    }

    fn is_member(&self, value_set: &str, _: Option<&str>, code: &str) -> Result<bool, CodesError> {
        match value_set.strip_prefix("http://vs/") {
            Some(start) => Ok(code.starts_with(start)),
            None => Err(CodesError::UnknownValueSet(value_set.into())),
        }
    }

    fn subsumes(&self, system: &str, above: &str, code: &str) -> Result<bool, CodesError> {
        match system {
            "tree" => Ok(code.starts_with(above)),
            _ => Err(CodesError::UnknownHierarchy(system.into())),
        }
    }
}

pub(crate) static GOES_ON: AtomicBool = AtomicBool::new(false);

pub(crate) const CONTEXT: Context<'static> =
    Context { codes: &TestCodes, base: BASE, budget: u64::MAX, cancelled: &GOES_ON };

/// What a commit does.
pub(crate) enum Act {
    Put(String),
    Delete(&'static str, String),
}

/// An index that is written to.
pub(crate) struct Site {
    pub(crate) index: Index,
    t: u64,
}

/// An index that takes as much memory as this run is about.
pub(crate) fn new_index() -> Index {
    MEMORY.map_or_else(Index::default, Index::within)
}

/// Writes segments down, so that what they say need not stay in memory; not where all of it may.
pub(crate) fn keep(index: &Index) {
    if MEMORY.is_none() {
        return;
    }
    for segment in index.segments().iter().filter(|it| !it.is_kept()) {
        let mut pieces = Vec::new();
        segment
            .write(&mut |of, piece| {
                if let PieceOf::Keys(facet) = of {
                    pieces.push((facet, piece.to_vec()));
                }
                Ok(())
            })
            .unwrap();
        segment.keep_in(Arc::new(Pieces::of(pieces)), index);
    }
}

impl Default for Site {
    fn default() -> Self {
        Self { index: new_index(), t: 0 }
    }
}

impl Site {
    /// With these resources, each in a commit of its own.
    pub(crate) fn with(resources: &[&str]) -> Self {
        let mut site = Self::default();
        for resource in resources {
            site.put(resource);
        }
        site
    }

    /// Over an index that is there.
    pub(crate) fn over(index: Index) -> Self {
        let t = index.head().get();
        Self { index, t }
    }

    /// How many a query finds now, if it is answered.
    pub(crate) fn search(&self, url: &str) -> Result<u64, SearchError> {
        keep(&self.index);
        let search = self.index.search(self.t(), &Visible::Everything, CONTEXT)?;
        Ok(search.find(&query(url))?.page(None, 1000)?.hits.len() as u64)
    }

    pub(crate) fn t(&self) -> T {
        T::new(self.t)
    }

    pub(crate) fn put(&mut self, resource: &str) -> T {
        self.commit(vec![Act::Put(resource.to_owned())])
    }

    pub(crate) fn delete(&mut self, of: &'static str, id: &str) -> T {
        self.commit(vec![Act::Delete(of, id.to_owned())])
    }

    pub(crate) fn commit(&mut self, acts: Vec<Act>) -> T {
        self.t += 1;
        let (t, instant) = (T::new(self.t), instant(self.t));
        let changes = acts.into_iter().map(|act| change(&self.index, t, act)).collect();
        self.index.apply(t, instant, changes).unwrap();
        t
    }

    /// Makes a segment of the tail, and merges what can be merged.
    pub(crate) fn settle(&self) {
        self.index.close_tail();
        while self.index.settle(Instant::MIN) == Settled::Some {}
    }

    /// `Type/id` of what a query finds now, in its order.
    pub(crate) fn find(&self, url: &str) -> Vec<String> {
        self.find_at(self.t(), &Visible::Everything, url).unwrap()
    }

    /// The same at some `t`, restricted, and page by page.
    pub(crate) fn find_at(
        &self,
        t: T,
        visible: &Visible,
        url: &str,
    ) -> Result<Vec<String>, SearchError> {
        let query = query(url);
        keep(&self.index);
        let search = self.index.search(t, visible, CONTEXT)?;
        let found = search.find(&query)?;
        let page = found.page(None, 10_000)?;
        assert_eq!(found.total(), page.hits.len() as u64, "{url}");
        assert_eq!(page.next, None);
        let text = |hit: &search_index::Hit| format!("{}/{}", hit.resource_type, hit.id);
        let all: Vec<String> = page.hits.iter().map(text).collect();
        let mut paged = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = found.page(after.as_ref(), 3)?;
            paged.extend(page.hits.iter().map(text));
            match page.next {
                Some(next) => after = Some(Cursor::decode(&next.encode())?),
                None => break,
            }
        }
        assert_eq!(paged, all, "{url} page by page");
        Ok(all)
    }
}

pub(crate) fn instant(t: u64) -> Instant {
    Instant::from_micros(1_700_000_000_000_000 + i64::try_from(t).unwrap() * 1_000_000)
}

/// The change that an act is: its compartments are those of the patients that it refers to.
pub(crate) fn change(index: &Index, t: T, act: Act) -> Change {
    match act {
        Act::Delete(of, id) => Change::Delete {
            resource_type: ResourceType::new(of).unwrap(),
            id: ResourceId::new(&id).unwrap(),
        },
        Act::Put(json) => {
            let document = Document::parse(json.as_bytes()).unwrap();
            let root = document.root();
            let resource_type = ResourceType::new(&root.get_str("resourceType").unwrap()).unwrap();
            let id = ResourceId::new(&root.get_str("id").unwrap()).unwrap();
            let patient = ResourceType::new("Patient").unwrap();
            let mut compartments = Vec::new();
            if resource_type == patient {
                compartments.push((patient.clone(), id.clone()));
            }
            for name in ["subject", "patient"] {
                let reference = root.get(name).and_then(|it| it.get_str("reference"));
                let id = reference.as_deref().and_then(|it| it.strip_prefix("Patient/"));
                let id = id.and_then(|it| it.split('/').next());
                if let Some(id) = id {
                    compartments.push((patient.clone(), ResourceId::new(id).unwrap()));
                }
            }
            let subject =
                Subject { resource_type: &resource_type, id: &id, compartments: &compartments };
            let options = ExtractOptions { base: Some(BASE), ..ExtractOptions::default() };
            let prepared = index.prepare(root, subject, &EXTRACTOR, &options);
            Change::Put { prepared, version: VersionId::new(t.get()).unwrap() }
        }
    }
}
