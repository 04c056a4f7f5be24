//! XML each way, as a ratio to the bare events of quick-xml over the same text: the least that
//! whoever reads XML must do.

use std::hint::black_box;

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhir_xml::{Limits, Style, to_json, to_xml};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::{Failure, Moments, best, say};

/// Measures and prints; `json` is a resource.
pub(super) fn run(rounds: Moments, json: &str) -> Result<(), Failure> {
    let schema = Schema::r4();
    let document = Document::parse(json.as_bytes())?;
    let xml = to_xml(document.root(), schema, Style::Compact).map_err(|mut all| all.remove(0))?;
    let text = std::str::from_utf8(&xml)?;
    // One byte a microsecond is one megabyte a second.
    let rate = |micros: f64| xml.len() as f64 / micros;

    let events = rate(best(rounds, || {
        let mut reader = Reader::from_str(text);
        while let Ok(event) = reader.read_event() {
            if matches!(black_box(event), Event::Eof) {
                break;
            }
        }
    }));
    let limits = Limits::default();
    let read = rate(best(rounds, || {
        black_box(to_json(&xml, schema, &limits).is_ok());
    }));
    let written = rate(best(rounds, || {
        black_box(to_xml(document.root(), schema, Style::Compact).is_ok());
    }));
    say(&format!("as XML {} bytes; bare events        {events:>8.1} MB/s", xml.len()));
    for (what, rate) in [("XML to JSON", read), ("JSON to XML", written)] {
        say(&format!(
            "{what}                       {rate:>8.1} MB/s, {:.2} of that",
            rate / events
        ));
    }
    Ok(())
}
