//! What the tests of both directions share.

#![allow(dead_code, reason = "each test binary uses a part")]

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhir_xml::{Converted, Limits, Style, to_json, to_xml};

/// FHIR's namespace as it stands in a root.
pub(crate) const FHIR: &str = "xmlns=\"http://hl7.org/fhir\"";

/// An XHTML `div` up to the end of its start tag.
pub(crate) const DIV: &str = "<div xmlns=\"http://www.w3.org/1999/xhtml\">";

/// The JSON, or each issue as `expression: text` line by line.
pub(crate) fn read(xml: &str) -> Result<String, String> {
    read_bytes(xml.as_bytes())
}

pub(crate) fn read_bytes(xml: &[u8]) -> Result<String, String> {
    match to_json(xml, Schema::r4(), &Limits::default()) {
        Ok(Converted { json, .. }) => {
            Document::parse(&json).expect("what is converted is JSON");
            Ok(String::from_utf8(json).expect("JSON is UTF-8"))
        }
        Err(refused) => {
            if let Some(readable) = &refused.readable {
                Document::parse(&readable.json).expect("what is readable is JSON");
            }
            Err(lines(&refused.issues))
        }
    }
}

pub(crate) fn lines(issues: &[fhir_xml::XmlIssue]) -> String {
    let lines: Vec<String> =
        issues.iter().map(|issue| format!("{}: {issue}", issue.expression)).collect();
    lines.join("\n")
}

/// The XML without its declaration, or the issues.
pub(crate) fn write(json: &str) -> Result<String, String> {
    let xml = write_styled(json, Style::Compact)?;
    let start = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    Ok(xml.strip_prefix(start).expect("XML begins with its declaration").to_owned())
}

pub(crate) fn write_styled(json: &str, style: Style) -> Result<String, String> {
    let document = Document::parse(json.as_bytes()).expect("the test gives JSON");
    let xml = to_xml(document.root(), Schema::r4(), style);
    Ok(String::from_utf8(xml.map_err(|issues| lines(&issues))?).expect("XML is UTF-8"))
}

/// Checks that this XML is this JSON, both ways; the XML as we write it.
pub(crate) fn check_both_ways(xml: &str, json: &str) {
    assert_eq!(read(xml).as_deref(), Ok(json));
    assert_eq!(write(json).as_deref(), Ok(xml));
}

/// Checks that reading fails with this element and this part of a text.
pub(crate) fn check_refused(xml: &str, expression: &str, text: &str) {
    let error = read(xml).expect_err(xml);
    let is_right = |line: &str| line.starts_with(&format!("{expression}: ")) && line.contains(text);
    assert!(error.lines().any(is_right), "{xml}\n{error}");
}
