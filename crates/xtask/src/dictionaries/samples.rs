//! The resources of the Synthea Bundles as the database stores them, in two halves.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use database::Body;
use fhir_core::json::{Document, Kind, Replacements, Value};
use fhir_core::{Resource, ResourceId};
use fhir_schema::Schema;
use integration_tests::bundle::Bundle;
use integration_tests::test_data::documents;
use store::ContentHash;

/// A body before coding.
pub(crate) struct Sample {
    /// Its type.
    pub(crate) resource_type: String,
    /// As `database` makes it: what stands in a stored version.
    pub(crate) json: Bytes,
}

/// Every second Bundle to train on, and the others.
#[derive(Default)]
pub(crate) struct Halves {
    /// What dictionaries are trained on.
    pub(crate) trained: Vec<Sample>,
    /// What they are measured on.
    pub(crate) measured: Vec<Sample>,
}

/// Reads them, always into the same halves.
pub(crate) fn read(data: &Path) -> Result<Halves, Box<dyn Error>> {
    let mut halves = Halves::default();
    for file in ["synthea/bundles.ndjson.zst", "synthea/bundles-uscore.ndjson.zst"] {
        for (at, text) in documents(&data.join(file)).iter().enumerate() {
            let half = if at % 2 == 0 { &mut halves.trained } else { &mut halves.measured };
            read_bundle(text, half)?;
        }
    }
    Ok(halves)
}

fn read_bundle(text: &str, samples: &mut Vec<Sample>) -> Result<(), Box<dyn Error>> {
    let bundle = Bundle::read(text);
    let becomes: HashMap<_, _> = bundle
        .entry
        .iter()
        .map(|entry| {
            let id = id_for(&entry.full_url);
            (entry.full_url.as_str(), format!("{}/{}", entry.request.url, id.as_str()))
        })
        .collect();
    for entry in &bundle.entry {
        let document = Document::parse(entry.resource.get().as_bytes())?;
        let resource = Resource::new(document.root())?;
        let mut replacements = Replacements::default();
        rewrite_references(document.root(), &becomes, &mut replacements);
        let id = id_for(&entry.full_url);
        let body = Body::of(&resource, &id, &replacements, Schema::r4());
        samples.push(Sample {
            resource_type: resource.resource_type().as_str().to_owned(),
            json: body.plain().clone(),
        });
    }
    Ok(())
}

/// An id as the server gives them, the same at each run.
fn id_for(text: &str) -> ResourceId {
    const VERSION: u128 = 0x7 << 76;
    const VARIANT: u128 = 0x2 << 62;
    const RANDOM: u128 = !(0xffff_ffff_ffff << 80 | 0xf << 76 | 0x3 << 62);
    let hash = ContentHash::of(text.as_bytes()).0;
    let mut drawn = [0; 16];
    drawn.copy_from_slice(&hash[..16]);
    // The time in milliseconds: some of a few hours of one day.
    let time = 0x019a_0000_0000 + u128::from(u32::from_le_bytes([hash[16], hash[17], hash[18], 0]));
    ResourceId::from_uuid(time << 80 | VERSION | VARIANT | (u128::from_le_bytes(drawn) & RANDOM))
}

/// What the server makes of references into the Bundle and of conditional ones.
fn rewrite_references(
    value: Value<'_>,
    becomes: &HashMap<&str, String>,
    replacements: &mut Replacements,
) {
    match value.kind() {
        Kind::Object => {
            for (name, value) in value.members() {
                let text = value.as_str().filter(|_| name == "reference");
                match text {
                    Some(text) => {
                        if let Some(new) = rewritten(&text, becomes) {
                            replacements.push(value, new);
                        }
                    }
                    None => rewrite_references(value, becomes, replacements),
                }
            }
        }
        Kind::Array => {
            value.items().for_each(|item| rewrite_references(item, becomes, replacements));
        }
        _ => {}
    }
}

fn rewritten(text: &str, becomes: &HashMap<&str, String>) -> Option<String> {
    let criteria = || {
        let (resource_type, _) = text.split_once('?')?;
        Some(format!("{resource_type}/{}", id_for(text).as_str()))
    };
    becomes.get(text).cloned().or_else(criteria)
}
