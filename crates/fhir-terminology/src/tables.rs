//! Code systems that are short lists kept by others than HL7, built in as plain tables: ISO 4217,
//! ISO 3166-1 and the time zones of IANA. Codes only are facts; where a table has no names, a
//! display is not checked.
//!
//! Sources: ISO 4217's list one (the maintenance agency is SIX), ISO 3166-1's codes with the
//! names of the time zone database's `iso3166.tab` (public domain), and the zone names of the
//! time zone database 2025b (public domain). Currencies that were withdrawn lately are still in it.

use fhir_core::json::{Document, write_string};

use crate::code_system::{CodeSystem, Status};
use crate::error::TerminologyError;
use crate::layer::{Kind, Label};
use crate::read_code_system::{malformed, read_code_system};

/// One code system: a line a code, a name after a tab.
#[derive(Debug)]
pub(crate) struct Table {
    url: &'static str,
    version: &'static str,
    name: &'static str,
    lines: &'static str,
}

pub(crate) static TABLES: [Table; 3] = [
    Table {
        url: "urn:iso:std:iso:4217",
        version: "2025",
        name: "ISO4217",
        lines: include_str!("../definitions/currencies.txt"),
    },
    Table {
        url: "urn:iso:std:iso:3166",
        version: "2025",
        name: "ISO3166Part1",
        lines: include_str!("../definitions/countries.txt"),
    },
    Table {
        url: "https://www.iana.org/time-zones",
        version: "2025b",
        name: "IANATimeZones",
        lines: include_str!("../definitions/time-zones.txt"),
    },
];

impl Table {
    pub(crate) fn label(&self) -> Label {
        Label {
            kind: Kind::CodeSystem,
            status: Status::Active,
            url: self.url.into(),
            version: self.version.into(),
            date: Box::default(),
            points_to: Box::default(),
        }
    }

    /// Lays it out as the resource that it stands for.
    pub(crate) fn code_system(&self) -> Result<CodeSystem, TerminologyError> {
        let mut json = b"{\"resourceType\":\"CodeSystem\",\"status\":\"active\",\
            \"content\":\"complete\",\"caseSensitive\":true"
            .to_vec();
        for (name, value) in [("url", self.url), ("version", self.version), ("name", self.name)] {
            json.extend_from_slice(b",\"");
            json.extend_from_slice(name.as_bytes());
            json.extend_from_slice(b"\":");
            write_string(value, &mut json);
        }
        let mut separator: &[u8] = b",\"concept\":[";
        for line in self.lines.lines() {
            json.extend_from_slice(separator);
            separator = b",";
            let (code, display) = line.split_once('\t').unwrap_or((line, ""));
            json.extend_from_slice(b"{\"code\":");
            write_string(code, &mut json);
            if !display.is_empty() {
                json.extend_from_slice(b",\"display\":");
                write_string(display, &mut json);
            }
            json.push(b'}');
        }
        json.extend_from_slice(b"]}");
        let document =
            Document::parse(&json).map_err(|error| malformed(self.url, error.to_string()))?;
        read_code_system(document.root())
    }

    /// Whether a code is in the table with this URL.
    pub(crate) fn has(url: &str, code: &str) -> bool {
        let table = TABLES.iter().find(|table| table.url == url);
        table.is_some_and(|table| {
            table.lines.lines().any(|line| line.split('\t').next() == Some(code))
        })
    }
}
