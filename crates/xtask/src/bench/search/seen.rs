//! The index by itself, without a server: what the same queries take whoever may see everything,
//! one patient's compartment, or those of 200 patients; and what a resource takes of memory.

use std::sync::atomic::AtomicBool;

use fhir_core::{Clock as _, Instant, ResourceId, ResourceType};
use fhir_search::{NoCodes, Query};
use hearthgate::doors::SystemClock;
use search_index::{Context, Index, Settled, Visible, VisiblePart, VisibleTypes, VisibleWithin};

use super::queries::{KINDS, Stored};
use crate::bench::Failure;
use crate::bench::copies::{Copies, Copy};
use crate::bench::figures::print;
use crate::bench::indexer::{Indexer, OWN};
use crate::bench::knowledge::processor::processor_time;
use store::T;

/// Patients that queries are drawn from, and that whoever sees many sees.
const PATIENTS: usize = 200;
/// So often each kind is asked.
const TIMES: usize = 400;
/// How many times what it takes whoever sees everything is wanted at most.
const WANTED: f64 = 1.5;
/// Matches on a page, and what is included on it, as the server has them.
const PAGE: (usize, usize) = (50, 5_000);
/// When the first copy is committed, in microseconds since 1970: in 2026.
const BEGINNING: i64 = 1_770_000_000_000_000;
/// Types whose resources are of no patient's compartment.
const OF_NOBODY: [&str; 2] = ["Organization", "Practitioner"];

/// Measures and prints.
pub(super) fn run(resources: u64, seed: u64, only: Option<&str>) -> Result<(), Failure> {
    let copies = Copies::of_test_data(seed)?.ok_or("there is no test data to copy")?;
    let (indexer, index) = (Indexer::new(), Index::default());
    let stored = build(&index, &indexer, &copies, resources)?;
    let compartments = |count: usize| -> Result<Visible, Failure> {
        let patient = ResourceType::new("Patient")?;
        let seen = stored
            .iter()
            .take(count)
            .map(|it| Ok((patient.clone(), ResourceId::new(&it.patient)?)));
        let within = VisibleWithin::Compartments(seen.collect::<Result<_, Failure>>()?);
        Ok(Visible::Any(vec![VisiblePart { types: VisibleTypes::All, within }]))
    };
    let seen = [Visible::Everything, compartments(1)?, compartments(PATIENTS)?];
    print(&format!(
        "\nthe index by itself, microseconds; wanted: the median <= {WANTED} times that of whoever \
         sees everything\n  {:<36}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "", "found", "p50", "p99", "one p50", "ratio", "200 p50", "ratio", ""
    ))?;
    for kind in KINDS.iter().filter(|it| it.name != "read") {
        if only.is_some_and(|only| !kind.name.contains(only)) {
            continue;
        }
        let queries = stored.iter().map(|it| indexer.query(&(kind.url)(it)));
        let queries = queries.collect::<Result<Vec<_>, _>>()?;
        let taken = seen.each_ref().map(|seen| taken(&index, &queries, seen));
        let [all, one, many] = taken;
        let (all, one, many) = (all?, one?, many?);
        let (first, second) = (one.half / all.half, many.half / all.half);
        let met = if first <= WANTED && second <= WANTED { "met" } else { "SHORT" };
        print(&format!(
            "  {:<36}{:>9}{:>9.0}{:>9.0}{:>9.0}{first:>9.2}{:>9.0}{second:>9.2}{met:>9}\n",
            kind.name, all.total, all.half, all.most, one.half, many.half
        ))?;
    }
    Ok(())
}

/// Indexes copies, and gives what queries are drawn from.
fn build(
    index: &Index,
    indexer: &Indexer,
    copies: &Copies,
    resources: u64,
) -> Result<Vec<Stored>, Failure> {
    let (mut stored, mut count) = (Vec::new(), 0);
    let mut spent = [std::time::Duration::ZERO; 3];
    for (number, copy) in (1..).zip(copies.until(resources)) {
        let patient = copy.patient();
        let begun = processor_time()?;
        let mut changes = Vec::new();
        copy.each_resource(|of, json| {
            let of_whom = patient.as_deref().filter(|_| !OF_NOBODY.contains(&of));
            changes.push(indexer.change(index, json, of_whom)?);
            Ok(())
        })?;
        count += copy.len();
        let prepared = processor_time()?;
        index.apply(
            T::new(number),
            Instant::from_micros(BEGINNING + number.cast_signed() * 1_000_000),
            changes,
        )?;
        let applied = processor_time()?;
        while index.settle(Instant::MIN) == Settled::Some {}
        let steps = [prepared - begun, applied - prepared, processor_time()? - applied];
        spent.iter_mut().zip(steps).for_each(|(all, step)| *all += step);
        // All over the log.
        if number % 17 == 1 && stored.len() < PATIENTS {
            stored.extend(drawn_from(&copy, stored.len())?);
        }
    }
    let each = spent.map(|it| it.as_secs_f64() * 1e6 / count as f64);
    let size = index.size();
    print(&format!(
        "\n{count} resources indexed on one thread, microseconds of a processor each: copied, read and \
         prepared {:.1}, applied {:.1}, settled {:.1}; {} segments, {} bytes of memory each\n",
        each[0],
        each[1],
        each[2],
        size.segments,
        size.bytes as u64 / count,
    ))?;
    Ok(stored)
}

fn drawn_from(copy: &Copy<'_>, number: usize) -> Result<Option<Stored>, Failure> {
    let (mut family, mut observation) = (None, None);
    copy.each_resource(|of, json| {
        let value = || serde_json::from_str::<serde_json::Value>(json);
        match of {
            "Patient" => {
                family =
                    value()?["name"][0]["family"].as_str().map(|it| it.chars().take(4).collect())
            }
            "Observation" if observation.is_none() => {
                observation = value()?["id"].as_str().map(str::to_owned)
            }
            _ => {}
        }
        Ok(())
    })?;
    let found = copy.patient().zip(family).zip(observation);
    Ok(found.map(|((patient, family), observation)| Stored {
        patient,
        observation,
        family,
        number: number as u64,
    }))
}

/// What a kind of query takes, in microseconds.
struct Taken {
    half: f64,
    most: f64,
    total: u64,
}

fn taken(index: &Index, queries: &[Query], seen: &Visible) -> Result<Taken, Failure> {
    let (clock, never) = (SystemClock::start(), AtomicBool::new(false));
    let context = Context { codes: &NoCodes, base: OWN, budget: u64::MAX, cancelled: &never };
    let mut all = Vec::with_capacity(TIMES);
    let mut total = 0;
    for (at, query) in queries.iter().cycle().take(TIMES + TIMES / 4).enumerate() {
        let begun = clock.monotonic();
        let search = index.search(index.head(), seen, context)?;
        let found = search.find(query)?;
        total = found.total();
        let page = found.page(None, query.answer.count.map_or(PAGE.0, |it| it as usize))?;
        search.include(&page.hits, &query.includes, PAGE.1)?;
        // The first ones make views that stay.
        if at >= TIMES / 4 {
            all.push((clock.monotonic() - begun).as_secs_f64() * 1e6);
        }
    }
    all.sort_unstable_by(f64::total_cmp);
    Ok(Taken { half: all[TIMES / 2], most: all[TIMES * 99 / 100], total })
}
