//! JSON to XML to JSON, and what that changed; for tests and for `cargo xtask conformance`.

#![allow(dead_code, reason = "each user takes a part")]

use std::io::Read;

use fhir_core::json::{Document, Kind, Value};
use fhir_schema::Schema;
use fhir_xml::{Limits, Style, to_json, to_xml};

/// The resources of a package's archive and which of them do not come back equal.
#[derive(Debug, Default)]
pub(crate) struct RoundTrips {
    /// How many there are.
    pub(crate) total: usize,
    /// Bytes of their JSON, and of their XML.
    pub(crate) bytes: (usize, usize),
    /// File and first difference.
    pub(crate) failures: Vec<(String, String)>,
}

/// Takes every resource of a package (`.tgz`) there and back in both styles.
///
/// # Errors
/// When the archive cannot be read.
pub(crate) fn of_package(archive: impl Read) -> std::io::Result<RoundTrips> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let mut trips = RoundTrips::default();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let is_manifest = matches!(&*name, "package/package.json" | "package/.index.json");
        if !name.ends_with(".json") || is_manifest {
            continue;
        }
        let mut json = Vec::new();
        entry.read_to_end(&mut json)?;
        trips.total += 1;
        trips.bytes.0 += json.len();
        for style in [Style::Pretty, Style::Compact] {
            match there_and_back(&json, style) {
                Ok(length) if style == Style::Compact => trips.bytes.1 += length,
                Ok(_) => {}
                Err(error) => {
                    trips.failures.push((name, error));
                    break;
                }
            }
        }
    }
    Ok(trips)
}

/// JSON to XML to JSON: the length of the XML, or what changed.
pub(crate) fn there_and_back(json: &[u8], style: Style) -> Result<usize, String> {
    let schema = Schema::r4();
    let document = Document::parse(json).map_err(|error| error.to_string())?;
    let xml = to_xml(document.root(), schema, style).map_err(|issues| issues[0].to_string())?;
    let back = to_json(&xml, schema, &Limits::default()).map_err(|refused| refused.to_string())?;
    let back = Document::parse(&back.json).map_err(|error| error.to_string())?;
    difference(document.root(), back.root(), "").map_or(Ok(xml.len()), Err)
}

/// Where two resources differ: member order does not count, and white space in base64 neither;
/// digits do.
pub(crate) fn difference(one: Value<'_>, other: Value<'_>, path: &str) -> Option<String> {
    let differ = || Some(format!("{path}: {} is not {}", one.raw(), other.raw()));
    if one.kind() != other.kind() {
        return differ();
    }
    match one.kind() {
        Kind::Object => {
            if one.members().count() != other.members().count() {
                return differ();
            }
            one.members().find_map(|(name, value)| match other.get(&name) {
                Some(there) => difference(value, there, &format!("{path}.{name}")),
                None => Some(format!("{path}.{name} is missing")),
            })
        }
        Kind::Array => {
            if one.items().count() != other.items().count() {
                return differ();
            }
            let pairs = one.items().zip(other.items()).enumerate();
            pairs
                .into_iter()
                .find_map(|(at, (one, other))| difference(one, other, &format!("{path}[{at}]")))
        }
        Kind::String => {
            let text = |value: Value<'_>| {
                let text = value.as_str().expect("it is a string").into_owned();
                let is_base64 = path.ends_with(".data") || path.ends_with("Base64Binary");
                if is_base64 { text.split_ascii_whitespace().collect() } else { text }
            };
            (text(one) != text(other)).then(differ).flatten()
        }
        Kind::Number | Kind::Boolean | Kind::Null => {
            (one.raw() != other.raw()).then(differ).flatten()
        }
    }
}
