//! The Bundle of a search (FHIR R4, 3.1.1.3); stored bytes are put into it unparsed, unless a part
//! of a resource is asked for.

use fhir_core::json::write_string;
use fhir_core::{Instant, ResourceId, ResourceType};

/// Why an entry is there (`Bundle.entry.search.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Match,
    Include,
    Outcome,
}

impl Mode {
    fn code(self) -> &'static [u8] {
        match self {
            Self::Match => b"match",
            Self::Include => b"include",
            Self::Outcome => b"outcome",
        }
    }
}

pub(super) struct Writer<'a> {
    base: &'a str,
    out: Vec<u8>,
    links: usize,
    entries: usize,
}

impl<'a> Writer<'a> {
    /// A Bundle without links and entries.
    pub(super) fn new(base: &'a str, id: &str, now: Instant, total: Option<u64>) -> Self {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"id\":");
        write_string(id, &mut out);
        out.extend_from_slice(b",\"meta\":{\"lastUpdated\":");
        write_string(&now.to_string(), &mut out);
        out.extend_from_slice(b"},\"type\":\"searchset\"");
        if let Some(total) = total {
            out.extend_from_slice(b",\"total\":");
            out.extend_from_slice(total.to_string().as_bytes());
        }
        Self { base, out, links: 0, entries: 0 }
    }

    /// Adds a link; they come before the entries.
    pub(super) fn link(&mut self, relation: &str, url: &str) {
        let before: &[u8] = if self.links == 0 { b",\"link\":[{" } else { b",{" };
        self.out.extend_from_slice(before);
        self.links += 1;
        self.member("\"relation\":", relation);
        self.member(",\"url\":", url);
        self.out.push(b'}');
    }

    /// Adds a resource.
    pub(super) fn resource(
        &mut self,
        (of, id): (&ResourceType, &ResourceId),
        json: &[u8],
        mode: Mode,
    ) {
        self.begin_entry();
        let url = format!("{}/{of}/{id}", self.base);
        self.member("\"fullUrl\":", &url);
        self.out.push(b',');
        self.end_entry(json, mode);
    }

    /// Adds what is to be said of the search.
    pub(super) fn outcome(&mut self, json: &[u8]) {
        self.begin_entry();
        self.end_entry(json, Mode::Outcome);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.entries == 0 {
            self.end_links();
        } else {
            self.out.push(b']');
        }
        self.out.push(b'}');
        self.out
    }

    fn begin_entry(&mut self) {
        if self.entries == 0 {
            self.end_links();
            self.out.extend_from_slice(b",\"entry\":[{");
        } else {
            self.out.extend_from_slice(b",{");
        }
        self.entries += 1;
    }

    fn end_entry(&mut self, json: &[u8], mode: Mode) {
        self.out.extend_from_slice(b"\"resource\":");
        self.out.extend_from_slice(json);
        self.out.extend_from_slice(b",\"search\":{\"mode\":\"");
        self.out.extend_from_slice(mode.code());
        self.out.extend_from_slice(b"\"}}");
    }

    fn end_links(&mut self) {
        if self.links > 0 {
            self.out.push(b']');
        }
    }

    fn member(&mut self, before: &str, value: &str) {
        self.out.extend_from_slice(before.as_bytes());
        write_string(value, &mut self.out);
    }
}
