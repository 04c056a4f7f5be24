//! What the dictionaries that are built in save and cost.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use contract::Clock as _;
use database::dictionary::{self, Dictionary};
use hearthgate::doors::SystemClock;
use integration_tests::test_data::say;
use store::BodyCoding;
use zstd::bulk::Compressor;
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use super::samples::Sample;

/// Each figure is the best of so many turns: other work on the machine only adds.
const TURNS: usize = 5;

/// The levels that a dictionary is tried with.
const LEVELS: [i32; 6] = [-5, -3, -1, 1, 2, 3];

/// Prints bytes a resource by type with and without dictionary, the time that takes, and what
/// other levels would do.
pub(crate) fn measure(samples: &[Sample]) -> Result<(), Box<dyn Error>> {
    say(&format!(
        "{:<24}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}",
        "type", "number", "JSON", "zstd", "coded", "us in", "us out"
    ));
    let mut of_type = BTreeMap::<&str, Vec<&Sample>>::new();
    for sample in samples {
        of_type.entry(&sample.resource_type).or_default().push(sample);
    }
    for (resource_type, samples) in &of_type {
        row(resource_type, samples)?;
    }
    let all: Vec<_> = samples.iter().collect();
    row("all", &all)?;
    levels(&all)?;
    memory();
    Ok(())
}

fn row(name: &str, samples: &[&Sample]) -> Result<(), Box<dyn Error>> {
    let mut plain = Compressor::new(dictionary::LEVEL)?;
    let mut without = 0;
    for sample in samples {
        without += plain.compress(&sample.json)?.len();
    }
    let coded: Vec<_> = samples.iter().map(|sample| code(sample)).collect();
    let given = samples.iter().map(|sample| sample.json.len()).sum::<usize>();
    let kept = coded.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let time_in = best(|| samples.iter().map(|sample| code(sample).1.len()).sum::<usize>());
    let mut expanded = Ok(0);
    let time_out = best(|| {
        expanded = samples.iter().zip(&coded).try_fold(0, |sum, (sample, (coding, bytes))| {
            let length = u32::try_from(sample.json.len()).expect("a resource is small");
            dictionary::expand(*coding, length, bytes).map(|json| sum + json.len())
        });
    });
    if expanded? != given {
        return Err(format!("{name}: what was expanded is not what was coded").into());
    }
    let each = |bytes: usize| bytes as f64 / samples.len() as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / samples.len() as f64;
    let number = match coded.first() {
        Some((coding, _)) if name != "all" => coding.0.to_string(),
        _ => samples.len().to_string(),
    };
    say(&format!(
        "{name:<24}{number:>9}{:>9.0}{:>9.0}{:>9.0}{:>8.1}{:>8.1}",
        each(given),
        each(without),
        each(kept),
        micros(time_in),
        micros(time_out)
    ));
    Ok(())
}

fn code(sample: &Sample) -> (BodyCoding, Vec<u8>) {
    dictionary::code(&sample.resource_type, &sample.json)
        .unwrap_or_else(|| (BodyCoding::AS_IS, sample.json.to_vec()))
}

/// The same dictionaries with other levels.
fn levels(samples: &[&Sample]) -> Result<(), Box<dyn Error>> {
    for level in LEVELS {
        let prepared: BTreeMap<&str, EncoderDictionary<'static>> = dictionary::shipped()
            .map(|it| (it.resource_type.as_str(), EncoderDictionary::copy(&it.bytes, level)))
            .collect();
        let shared = prepared.get("").ok_or("there is no dictionary for all other types")?;
        let mut compressor = Compressor::new(level)?;
        let mut buffer = Vec::new();
        let mut outcome = Ok(0);
        let time = best(|| {
            outcome = samples.iter().try_fold(0, |sum, sample| {
                let ready = prepared.get(sample.resource_type.as_str()).unwrap_or(shared);
                compressor.set_prepared_dictionary(ready)?;
                buffer.clear();
                buffer.reserve(zstd::zstd_safe::compress_bound(sample.json.len()));
                compressor.compress_to_buffer(&sample.json, &mut buffer).map(|size| sum + size)
            });
        });
        let count = samples.len() as f64;
        let bytes = outcome? as f64 / count;
        let micros = time.as_secs_f64() * 1e6 / count;
        say(&format!("level {level:>2}: {bytes:.0} bytes, {micros:.1} us in"));
    }
    Ok(())
}

/// What the dictionaries take once they are ready.
fn memory() {
    let (mut count, mut encoders, mut decoders) = (0, 0, 0);
    for Dictionary { bytes, .. } in dictionary::shipped() {
        count += 1;
        encoders += EncoderDictionary::copy(bytes, dictionary::LEVEL).as_cdict().sizeof();
        decoders += DecoderDictionary::copy(bytes).as_ddict().sizeof();
    }
    say(&format!(
        "{count} dictionaries ready: {encoders} bytes to code with, {decoders} to expand with"
    ));
}

fn best<T>(mut turn: impl FnMut() -> T) -> Duration {
    let clock = SystemClock::start();
    let mut times = (0..TURNS).map(|_| {
        let start = clock.monotonic();
        std::hint::black_box(turn());
        clock.monotonic() - start
    });
    let first = times.next().expect("there is a turn");
    times.fold(first, Duration::min)
}
