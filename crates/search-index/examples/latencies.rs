//! How long searches take over generated resources: `cargo run --release -p search-index
//! --example latencies -- 300000`. Prints what it took to build, how much memory it is about, and
//! for each query the median and the 99th percentile in microseconds. With a second number, keys and
//! orders may take so many bytes of memory, and what is more is read from compressed pieces; then
//! the queries are also asked by turns, so that each needs what others have used since.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures and tells")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant as Moment};

use fhir_core::json::Document;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{
    Asked, ExtractOptions, Extractor, Handling, Limits, NoCodes, Parameters, Query, Reader, Zone,
    decode_form,
};
use fhir_terminology::Terminology;
use search_index::{
    Change, Context, Damaged, Index, PieceOf, SegmentSource, Settled, SourceError, Subject,
    Visible, VisiblePart, VisibleTypes, VisibleWithin,
};
use store::T;

/// Resources of a commit.
const TOGETHER: u64 = 100;
/// Observations of a patient, on the average.
const OBSERVATIONS: u64 = 99;
const RUNS: usize = 200;

const QUERIES: &[&str] = &[
    "Observation?patient=p7&code=http://loinc.org|c3&_sort=-date",
    "Observation?patient=p7&date=ge2020-01-01",
    "Observation?patient=p7&code=c1&date=ge2020-01-01&date=lt2021-01-01",
    "Observation?code=http://loinc.org|c3&_sort=-date",
    "Observation?code=http://loinc.org|c3",
    "Observation?date=ge2020-01-01&date=lt2021-01-01",
    "Observation?value-quantity=gt50",
    "Observation?",
    "Observation?_sort=-_lastUpdated",
    "Observation?_sort=date",
    "Observation?_sort=-date",
    "Observation?code:not=c3",
    "Observation?value-quantity:missing=true",
    "Observation?patient.gender=male&code=c3",
    "Observation?patient.family=family3&code=c3",
    "Patient?family=family3",
    "Patient?name:contains=ily77",
    "Patient?identifier=http://id|n55",
    "Patient?_id=p7",
    "Patient?_has:Observation:patient:code=c3",
    "Patient?birthdate=ge1980&gender=female&_sort=family",
    "Observation?code-value-quantity=c3$gt90",
    "Observation?code=http://loinc.org|c3&date=ge2015-01-01&date=lt2016-01-01",
    "Observation?status=final",
    "Observation?value-quantity=ge50|http://unitsofmeasure.org|mg/dL&value-quantity=lt60|http://unitsofmeasure.org|mg/dL",
    "Observation?code=http://loinc.org|c3&_sort=-date,status,value-quantity",
    "Patient?_id=p7&_revinclude=Observation:patient",
    "Observation?_lastUpdated=ge1970-01-01&_sort=_lastUpdated",
];

fn main() {
    let count = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(100_000_u64);
    let parameters = Arc::new(Parameters::new(DefinitionSet::r4(), Schema::r4()));
    let extractor = Extractor::new(
        Schema::r4(),
        Arc::clone(&parameters),
        DefinitionSet::r4().clone(),
        Terminology::r4(),
    );
    let memory = std::env::args().nth(2).and_then(|it| it.parse().ok());
    let index = memory.map_or_else(Index::default, Index::within);
    build(&index, &extractor, count);
    let everything = Visible::Everything;
    let head = index.head();
    let old = T::new(head.get() / 2);
    let [one, twenty, many] = [1, 20, 200].map(of_patients);
    for (what, visible, t) in [
        ("at the head", &everything, head),
        ("at half", &everything, old),
        ("of one patient", &one, head),
        ("of 20 patients", &twenty, head),
        ("of 200 patients", &many, head),
    ] {
        println!(
            "\n{what}: microseconds: median, 99 %, first; total; cost; estimated, microseconds"
        );
        for url in QUERIES {
            measure(&index, &read(&parameters, url), url, visible, t);
        }
    }
    if memory.is_some() {
        println!("\nby turns: microseconds: median, 99 %; facets read for each; bytes held");
        by_turns(&index, &parameters);
    }
}

/// A segment in compressed pieces, by facet.
#[derive(Debug)]
struct Packed(Vec<(u32, Vec<u8>, usize)>);

impl SegmentSource for Packed {
    fn facet(
        &self,
        facet: u32,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Damaged>,
    ) -> Result<(), SourceError> {
        let start = self.0.partition_point(|(it, ..)| *it < facet);
        for (_, packed, length) in self.0[start..].iter().take_while(|(it, ..)| *it == facet) {
            let piece = zstd::bulk::decompress(packed, *length);
            take(&piece.map_err(|error| SourceError::Unreadable(error.into()))?)?;
        }
        Ok(())
    }
}

/// Puts aside what need not stay in memory.
fn keep(index: &Index) {
    for segment in index.segments().iter().filter(|it| !it.is_kept()) {
        let mut pieces = Vec::new();
        let written = segment.write(&mut |of, piece| {
            if let PieceOf::Keys(facet) = of {
                pieces.push((facet, zstd::bulk::compress(piece, 1)?, piece.len()));
            }
            Ok(())
        });
        match written {
            Ok(()) => segment.keep_in(Arc::new(Packed(pieces)), index),
            Err(error) => println!("{error}"),
        }
    }
}

fn by_turns(index: &Index, parameters: &Parameters) {
    let cancelled = AtomicBool::new(false);
    let (codes, base, budget) = (&NoCodes, "http://own/fhir", u64::MAX);
    let context = Context { codes, base, budget, cancelled: &cancelled };
    let queries: Vec<Query> = QUERIES.iter().filter_map(|url| read(parameters, url)).collect();
    let mut took = vec![Vec::new(); queries.len()];
    let mut loaded = vec![0; queries.len()];
    for _ in 0..RUNS {
        for (at, query) in queries.iter().enumerate() {
            let before = index.size().loaded;
            let start = Moment::now();
            let search = index.search(index.head(), &Visible::Everything, context);
            let page = search.and_then(|search| search.find(query)?.page(None, 20));
            if let Err(error) = page {
                println!("{error}");
            }
            took[at].push(start.elapsed().as_nanos());
            loaded[at] += index.size().loaded - before;
        }
    }
    for ((url, took), loaded) in QUERIES.iter().zip(&mut took).zip(loaded) {
        took.sort_unstable();
        let micros = |share: usize| took[took.len() * share / 100] as f64 / 1000.0;
        println!(
            "{:>9.1} {:>9.1} {:>7.1}  {url}",
            micros(50),
            micros(99),
            loaded as f64 / RUNS as f64
        );
    }
    println!("{:?}", index.size());
}

/// What is in the compartments of so many patients, all over the log.
fn of_patients(count: u64) -> Visible {
    let patients = (0..count).filter_map(|at| {
        let id = ResourceId::new(&format!("p{}", 7 + at * 13)).ok()?;
        Some((ResourceType::new("Patient").ok()?, id))
    });
    let within = VisibleWithin::Compartments(patients.collect());
    Visible::Any(vec![VisiblePart { types: VisibleTypes::All, within }])
}

/// How long this thread has been running, waiting for a processor not counted. It is accurate to
/// a tick of the system, so for many steps together.
fn running() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn build(index: &Index, extractor: &Extractor<'_>, count: u64) {
    let mut spent = [Duration::ZERO; 3];
    let mut commits = Vec::new();
    for t in 1..=count.div_ceil(TOGETHER) {
        let resources: Vec<String> =
            (0..TOGETHER).map(|at| resource((t - 1) * TOGETHER + at)).collect();
        let start = running();
        let changes = resources.iter().filter_map(|json| change(index, extractor, json)).collect();
        let prepared = running();
        let instant = Instant::from_micros(i64::try_from(t).unwrap_or(0) * 1_000_000);
        let moment = Moment::now();
        if let Err(error) = index.apply(T::new(t), instant, changes) {
            println!("{error}");
        }
        commits.push(moment.elapsed().as_nanos());
        let applied = running();
        while index.settle(Instant::MIN) == Settled::Some {}
        if index.is_over_budget() {
            keep(index);
        }
        for (spent, step) in
            spent.iter_mut().zip([prepared - start, applied - prepared, running() - applied])
        {
            *spent += step;
        }
    }
    if index.is_over_budget() {
        keep(index);
    }
    let [preparing, applying, settling] = spent.map(|it| it.as_secs_f64() * 1e6 / count as f64);
    commits.sort_unstable();
    let of_commits = |share: usize| commits[(commits.len() - 1) * share / 100] / 1000;
    let size = index.size();
    println!(
        "{count} resources, CPU each: parse and prepare {preparing:.1} us, apply {applying:.1}, \
         settle {settling:.1}; a commit of {TOGETHER} is applied in {} us, 99 % in {}",
        of_commits(50),
        of_commits(99),
    );
    println!("{} segments, about {} bytes a resource", size.segments, size.bytes as u64 / count);
}

/// Every hundredth is a patient, the others are observations; of these one in twenty is a new
/// version of an older one.
fn resource(number: u64) -> String {
    let scramble = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let patient = number / (OBSERVATIONS + 1);
    if number.is_multiple_of(OBSERVATIONS + 1) {
        let gender = if scramble.is_multiple_of(2) { "male" } else { "female" };
        return format!(
            r#"{{"resourceType":"Patient","id":"p{patient}","gender":"{gender}","active":true,
                "birthDate":"{}-0{}-1{}","identifier":[{{"system":"http://id","value":"n{patient}"}}],
                "name":[{{"family":"Family{}","given":["Given{}"]}}]}}"#,
            1940 + scramble % 80,
            1 + scramble % 9,
            scramble % 10,
            scramble % 1000,
            scramble % 500
        );
    }
    let id = if scramble.is_multiple_of(20) { number / 2 } else { number };
    format!(
        r#"{{"resourceType":"Observation","id":"o{id}","status":"final",
            "category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"Laboratory"}}]}}],
            "code":{{"coding":[{{"system":"http://loinc.org","code":"c{}","display":"Code {}"}}],"text":"Code"}},
            "subject":{{"reference":"Patient/p{patient}"}},"encounter":{{"reference":"Encounter/e{}"}},
            "effectiveDateTime":"20{}-0{}-1{}T1{}:00:00Z","issued":"2022-01-01T10:00:00.{:03}Z",
            "valueQuantity":{{"value":{}.{},"unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"}}}}"#,
        scramble % 40,
        scramble % 40,
        number / 10,
        10 + scramble % 14,
        1 + scramble % 9,
        scramble % 10,
        scramble % 10,
        scramble % 1000,
        scramble % 100,
        scramble % 10
    )
}

fn change(index: &Index, extractor: &Extractor<'_>, json: &str) -> Option<Change> {
    let document = Document::parse(json.as_bytes()).ok()?;
    let root = document.root();
    let resource_type = ResourceType::new(&root.get_str("resourceType")?).ok()?;
    let id = ResourceId::new(&root.get_str("id")?).ok()?;
    let patient = ResourceType::new("Patient").ok()?;
    let about = root.get("subject").and_then(|it| it.get_str("reference"));
    let about = about.as_deref().and_then(|it| it.strip_prefix("Patient/"));
    let compartment = ResourceId::new(about.unwrap_or(id.as_str())).ok()?;
    let compartments = [(patient, compartment)];
    let subject = Subject { resource_type: &resource_type, id: &id, compartments: &compartments };
    let prepared = index.prepare(root, subject, extractor, &ExtractOptions::default());
    Some(Change::Put { prepared, version: VersionId::FIRST })
}

fn read(parameters: &Parameters, url: &str) -> Option<Query> {
    let (of, query) = url.split_once('?')?;
    let reader = Reader {
        parameters,
        definitions: DefinitionSet::r4(),
        schema: Schema::r4(),
        base: "http://own/fhir",
        zone: Zone::UTC,
        now: Instant::from_micros(0),
        handling: Handling::Strict,
        limits: &Limits::default(),
    };
    let parameters = decode_form(query.as_bytes()).ok()?;
    let resource_type = Some(ResourceType::new(of).ok()?);
    reader.read(&Asked { resource_type, compartment: None, parameters: &parameters }).ok()
}

fn measure(index: &Index, query: &Option<Query>, url: &str, visible: &Visible, t: T) {
    let Some(query) = query else {
        println!("{url}: not understood");
        return;
    };
    let cancelled = AtomicBool::new(false);
    let context = Context {
        codes: &NoCodes,
        base: "http://own/fhir",
        budget: u64::MAX,
        cancelled: &cancelled,
    };
    let mut took = Vec::with_capacity(RUNS);
    let mut planned = Vec::with_capacity(RUNS);
    let (mut total, mut cost, mut estimated, mut first) = (0, 0, 0, 0.0);
    for run in 0..=RUNS {
        if let Ok(search) = index.search(t, visible, context) {
            let start = Moment::now();
            let plan = search.plan(query, 20, 1_000);
            planned.push(start.elapsed().as_nanos());
            estimated = plan.map_or(0, |it| it.cost);
        }
        let start = Moment::now();
        let asked = index.search(t, visible, context).and_then(|search| {
            let found = search.find(query)?;
            let page = found.page(None, 20)?;
            search.include(&page.hits, &query.includes, 1_000)?;
            Ok((found.total(), page.hits.len(), search.cost()))
        });
        // The first makes views that stay.
        match run {
            0 => first = start.elapsed().as_nanos() as f64 / 1000.0,
            _ => took.push(start.elapsed().as_nanos()),
        }
        match asked {
            Ok((all, _, spent)) => (total, cost) = (all, spent),
            Err(error) => println!("{url}: {error}"),
        }
    }
    took.sort_unstable();
    planned.sort_unstable();
    let micros = |took: &[u128], share: usize| took[took.len() * share / 100] as f64 / 1000.0;
    println!(
        "{:>9.1} {:>9.1} {first:>9.1} {total:>8} {cost:>8} {estimated:>8} {:>9.1}  {url}",
        micros(&took, 50),
        micros(&took, 99),
        micros(&planned, 50)
    );
}
