//! Where the processor time of one resource goes: each step by itself over the same resources, one
//! after the other on one thread, and beside their sum what all of it takes together.
//!
//! What happens on the database's own threads is found by leaving it away: the same commits into a
//! store in memory and into the embedded one, with and without keys, with and without an index.
//! That is processor time of the whole process, so what one step makes dearer for another is in.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use database::{
    Action, Body, Change, CommitId, Database, Expect, IndexedBy, Method, Options, Store,
    TenantText, Transaction, Visibility,
};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Instant, Resource, ResourceId};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::Zone;
use fhir_terminology::Terminology;
use fhir_validation::{Depth, Validator};
use search_index::{Index, Settled};
use store::T;
use store::model::ModelStore;

use super::{Failure, clock, processor_time_of_all};
use crate::bench::copies::Copies;
use crate::bench::directory::Directory;
use crate::bench::figures::print;
use crate::bench::indexer::{Indexer, OWN};
use crate::bench::knowledge::processor::processor_time;
use crate::bench::product::{open_database, open_store, sealing};
use crate::bench::runtime;
use database::keys::MemoryKeyStore;

/// Resources in a transaction.
const TOGETHER: usize = 100;
/// An index that does not follow so long has a fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures and prints.
pub(super) fn run(copies: &Copies, count: u64) -> Result<(), Failure> {
    let mut all: Vec<String> = Vec::new();
    for copy in copies.until(count) {
        copy.each_resource(|_, json| {
            all.push(json.to_owned());
            Ok(())
        })?;
    }
    let (indexer, validator) = (Indexer::new(), validator());
    let bytes = all.iter().map(String::len).sum::<usize>() / all.len();
    print(&format!(
        "\na resource of Synthea's step by step, of {} of {bytes} bytes each, {TOGETHER} a transaction; \
         microseconds of a processor\n",
        all.len()
    ))?;
    let each = |of: Duration| of.as_secs_f64() * 1e6 / all.len() as f64;
    // Once to have everything warm.
    of_each(&all, |it| drop(black_box(Document::parse(it.as_bytes()))))?;
    let parse = each(of_each(&all, |it| drop(black_box(Document::parse(it.as_bytes()))))?);
    let and_parsed = |work: &mut dyn FnMut(&Document<'_>, &str)| -> Result<f64, Failure> {
        let taken = of_each(&all, |it| {
            if let Ok(document) = Document::parse(it.as_bytes()) {
                work(&document, it);
            }
        })?;
        Ok((each(taken) - parse).max(0.0))
    };
    let options = fhir_validation::Options { depth: Depth::Base, ..Default::default() };
    let validate = and_parsed(&mut |document, _| {
        black_box(validator.find(document.root(), &options));
    })?;
    let body = and_parsed(&mut |document, _| {
        black_box(body(document).is_ok());
    })?;
    let index = Index::default();
    let prepare = and_parsed(&mut |_, json| {
        black_box(indexer.change(&index, json).is_ok());
    })?;
    // That reads the JSON as well.
    let prepare = (prepare - parse).max(0.0);
    let (apply, settle) = applied(&indexer, &all)?;
    let (apply, settle) = (each(apply), each(settle));

    let plain = each(committed(&all, Kind::InMemory, None)?);
    let sealed = each(committed(&all, Kind::Sealed, None)?);
    let durable = each(committed(&all, Kind::Embedded, None)?);
    let whole = each(committed(&all, Kind::Embedded, Some((&indexer, &validator)))?);
    let serial = (plain - parse - body).max(0.0);
    let (seal, append) = ((sealed - plain).max(0.0), (durable - sealed).max(0.0));
    let steps = [
        ("parse", parse),
        ("validate, depth base", validate),
        ("write, compress, compartments", body),
        ("what is indexed of it", prepare),
        ("seal", seal),
        ("judge and publish, in memory", serial),
        ("append, fdatasync, sled behind", append),
        ("apply to the index", apply),
        ("settle the index, behind", settle),
    ];
    let sum: f64 = steps.iter().map(|(_, taken)| taken).sum();
    for (what, taken) in steps {
        print(&format!("  {what:<36}{taken:>8.1}{:>6.0} %\n", taken / sum * 100.0))?;
    }
    print(&format!(
        "  {:<36}{sum:>8.1}\n  {:<36}{whole:>8.1}   sum / whole {:.2}\n",
        "sum",
        "all of it together",
        sum / whole
    ))?;
    Ok(())
}

fn validator() -> Validator<'static> {
    Validator::new(Schema::r4(), DefinitionSet::r4().clone(), Terminology::r4())
}

fn of_each(all: &[String], mut work: impl FnMut(&str)) -> Result<Duration, Failure> {
    let begun = processor_time()?;
    all.iter().for_each(|it| work(it));
    Ok(processor_time()?.saturating_sub(begun))
}

fn body<'d>(document: &'d Document<'_>) -> Result<(Resource<'d>, ResourceId, Body), Failure> {
    let resource = Resource::new(document.root())?;
    let id = document.root().get_str("id").ok_or("a resource without an id")?;
    let id = ResourceId::new(&id)?;
    let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
    Ok((resource, id, body))
}

/// What an index takes to apply what was prepared before, and to settle it.
fn applied(indexer: &Indexer, all: &[String]) -> Result<(Duration, Duration), Failure> {
    let index = Index::default();
    let (mut applying, mut settling) = (Duration::ZERO, Duration::ZERO);
    for (t, some) in (1_u32..).zip(all.chunks(TOGETHER)) {
        let changes = some.iter().map(|it| indexer.change(&index, it));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        let begun = processor_time()?;
        index.apply(T::new(t.into()), Instant::from_micros(t.into()), changes)?;
        let applied = processor_time()?;
        while index.settle(Instant::MIN) == Settled::Some {}
        applying += applied.saturating_sub(begun);
        settling += processor_time()?.saturating_sub(applied);
    }
    Ok((applying, settling))
}

/// What commits go into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A store in memory, without keys.
    InMemory,
    /// The same, with keys.
    Sealed,
    /// The embedded store, with keys.
    Embedded,
}

/// Reads, perhaps validates, commits and perhaps indexes all, one transaction after the other.
fn committed(
    all: &[String],
    into: Kind,
    with: Option<(&Indexer, &Validator<'static>)>,
) -> Result<Duration, Failure> {
    let directory = Directory::new("steps")?;
    let model = || -> Result<Arc<dyn Store>, Failure> {
        Ok(Arc::new(ModelStore::new(TenantText::new("default")?)))
    };
    let database = match into {
        Kind::InMemory => {
            let (tenant, options) = (TenantText::new("default")?, Options::default());
            Database::open(model()?, tenant, Schema::r4(), clock(), options)?
        }
        Kind::Sealed => open_database(model()?, sealing(Box::new(MemoryKeyStore::default()))?)?,
        Kind::Embedded => {
            let (store, sealing) = open_store(directory.path())?;
            open_database(store, sealing)?
        }
    };
    if let Some((indexer, _)) = with {
        let extractor = Arc::clone(&indexer.extractor);
        database.index_by(IndexedBy { extractor, base: OWN.into(), zone: Zone::UTC })?;
        if !database.wait_for_index(PATIENCE) {
            return Err("the index does not follow".into());
        }
    }
    let options = fhir_validation::Options { depth: Depth::Base, ..Default::default() };
    let runtime = runtime()?;
    let begun = processor_time_of_all()?;
    for (number, some) in (1_u128..).zip(all.chunks(TOGETHER)) {
        let change = |json: &String| -> Result<Change, Failure> {
            let document = Document::parse(json.as_bytes())?;
            if let Some((_, validator)) = with {
                black_box(validator.find(document.root(), &options));
            }
            let (resource, id, body) = body(&document)?;
            let resource_type = resource.resource_type().clone();
            let action = Action::Write { body: Box::new(body), method: Method::Post };
            Ok(Change { resource_type, id, action, expect: Expect::New })
        };
        let transaction = Transaction {
            id: CommitId(number),
            prepared_at: database.snapshot(Visibility::everything()).at(),
            changes: some.iter().map(change).collect::<Result<_, _>>()?,
            conditions: Vec::new(),
        };
        runtime.block_on(database.commit(transaction))?;
    }
    // What follows behind is part of it.
    database.close()?;
    Ok(processor_time_of_all()?.saturating_sub(begun))
}
