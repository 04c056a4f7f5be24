//! `cargo xtask dictionaries`: trains the compression dictionaries that `database` builds in, on
//! one half of the Synthea Bundles of the test data; with `--measure`, says what they save and
//! cost on the other half. docs/storage.md has the figures.
//!
//! A number that was given is never given again: dictionaries that come out otherwise than the
//! newest of their type are added under new numbers, for people to look at before they commit.

mod measure;
pub(crate) mod samples;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use database::dictionary::{self, Dictionary};
use integration_tests::test_data::{folder, say};
use store::ContentHash;
use zstd::bulk::Compressor;

use samples::{Halves, Sample};

/// Bytes of a dictionary: larger ones are no better on resources.
const SIZE: usize = 16 << 10;

/// A type with fewer samples has no dictionary of its own.
const ENOUGH: usize = 100;

/// Samples of each type in the dictionary for types that have none of their own.
const OF_EACH: usize = 40;

const ABOUT: &str = "\
# Compression dictionaries, in dictionaries.zst (format: crates/database/src/dictionary.rs).
# Trained by `cargo xtask dictionaries` on every second of the Synthea Bundles of
#   smart-on-fhir/generated-sample-data (Apache-2.0)
#   google/fhir-data-pipes (Apache-2.0)
# as Hearthgate stores them. Synthea makes people up: nothing of a real patient is in here.
# A number keeps its bytes for ever; the type * stands for all that have no dictionary.
# number type bytes sha256
";

/// The arguments of the command.
#[derive(clap::Args)]
pub(crate) struct Dictionaries {
    /// Write nothing; measure what is built in on the half that was not trained on.
    #[arg(long)]
    measure: bool,
}

impl Dictionaries {
    /// Trains or measures, and says what came of it.
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let data = folder().ok_or("there is nothing to train on without the test data")?;
        let halves = samples::read(&data)?;
        if self.measure { measure::measure(&halves.measured) } else { train(&halves) }
    }
}

fn train(halves: &Halves) -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../database/dictionaries");
    let file = directory.join("dictionaries.zst");
    let mut dictionaries = match fs::read(&file) {
        Ok(bytes) => dictionary::decode(&bytes).ok_or("dictionaries.zst cannot be read")?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut golden = read_or_empty(&directory.join("golden.txt"))?;
    let mut added = 0;
    for (resource_type, samples) in by_dictionary(&halves.trained) {
        let trained = zstd::dict::from_samples(&samples, SIZE)?;
        let newest = dictionaries.iter().rev().find(|it| it.resource_type == resource_type);
        if newest.is_some_and(|it| without_number(&it.bytes) == without_number(&trained)) {
            continue;
        }
        let number = u32::try_from(dictionaries.len())? + dictionary::FIRST_NUMBER;
        let bytes = numbered(trained, number)?;
        let sample = typical(&halves.measured, &resource_type, &halves.trained);
        let sample = sample.ok_or_else(|| format!("no sample of {resource_type} is left"))?;
        writeln!(golden, "{}", golden_line(number, &bytes, sample)?)?;
        dictionaries.push(Dictionary { number, resource_type, bytes });
        added += 1;
    }
    let encoded = dictionary::encode(&dictionaries)?;
    fs::write(&file, &encoded)?;
    fs::write(directory.join("golden.txt"), golden)?;
    fs::write(directory.join("manifest.txt"), manifest(&dictionaries))?;
    say(&format!("{added} added, {} in {} bytes", dictionaries.len(), encoded.len()));
    Ok(())
}

fn read_or_empty(path: &PathBuf) -> std::io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// What each dictionary is trained on, by type; the empty type for all that have too few.
fn by_dictionary(samples: &[Sample]) -> BTreeMap<String, Vec<&[u8]>> {
    let mut of_type = BTreeMap::<&str, Vec<&[u8]>>::new();
    for sample in samples {
        of_type.entry(&sample.resource_type).or_default().push(&sample.json);
    }
    let mut shared = Vec::new();
    let mut dictionaries = BTreeMap::new();
    for (resource_type, samples) in of_type {
        if samples.len() < ENOUGH {
            shared.extend(samples);
        } else {
            let step = samples.len() / OF_EACH.min(samples.len());
            shared.extend(samples.iter().step_by(step).take(OF_EACH));
            dictionaries.insert(resource_type.to_owned(), samples);
        }
    }
    dictionaries.insert(String::new(), shared);
    dictionaries
}

/// Magic_Number, Dictionary_ID, then the rest (RFC 8878, section 5).
fn without_number(dictionary: &[u8]) -> &[u8] {
    dictionary.get(8..).unwrap_or_default()
}

/// The dictionary with its number as Dictionary_ID, which takes one byte of each frame up to 255.
fn numbered(mut dictionary: Vec<u8>, number: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    if !dictionary.starts_with(&[0x37, 0xa4, 0x30, 0xec]) {
        return Err("zstd made a dictionary without a head".into());
    }
    dictionary[4..8].copy_from_slice(&number.to_le_bytes());
    Ok(dictionary)
}

/// The sample of middling length; for the shared dictionary, of a type that has none of its own.
fn typical<'a>(
    measured: &'a [Sample],
    resource_type: &str,
    trained: &[Sample],
) -> Option<&'a Sample> {
    let own = by_dictionary(trained);
    let mut samples: Vec<_> = measured
        .iter()
        .filter(|sample| match resource_type {
            "" => !own.contains_key(&sample.resource_type),
            resource_type => sample.resource_type == resource_type,
        })
        .collect();
    samples.sort_by_key(|sample| sample.json.len());
    samples.get(samples.len() / 2).copied()
}

/// Number, the coded body in hexadecimal, the body.
fn golden_line(number: u32, bytes: &[u8], sample: &Sample) -> Result<String, Box<dyn Error>> {
    let coded = Compressor::with_dictionary(dictionary::LEVEL, bytes)?.compress(&sample.json)?;
    let mut line = format!("{number} ");
    for byte in coded {
        write!(line, "{byte:02x}")?;
    }
    write!(line, " {}", std::str::from_utf8(&sample.json)?)?;
    Ok(line)
}

fn manifest(dictionaries: &[Dictionary]) -> String {
    let mut text = ABOUT.to_owned();
    for Dictionary { number, resource_type, bytes } in dictionaries {
        let name = if resource_type.is_empty() { "*" } else { resource_type };
        let hash: String =
            ContentHash::of(bytes).0.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{number} {name} {} {hash}\n", bytes.len()));
    }
    text
}
