//! The Bundle of a search (FHIR R4, 3.1.1.3); stored bytes are put into it unparsed, unless a part
//! of a resource is asked for.

use fhir_core::json::write_string;
use fhir_core::{Instant, ResourceId, ResourceType};

use crate::bundle_page::BundlePage;

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
    page: BundlePage,
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
        Self { base, page: BundlePage::new(out) }
    }

    /// Adds a link; they come before the entries.
    pub(super) fn link(&mut self, relation: &str, url: &str) {
        self.page.link(relation, url);
    }

    /// Adds a resource; of one that is contained in it, that with its id there.
    pub(super) fn resource(
        &mut self,
        (of, id): (&ResourceType, &ResourceId),
        within: Option<&str>,
        json: &[u8],
        mode: Mode,
    ) {
        self.page.begin_entry();
        let mut url = format!("{}/{of}/{id}", self.base);
        if let Some(within) = within {
            url.extend(["#", within]);
        }
        self.page.member("\"fullUrl\":", &url);
        self.page.raw(b",");
        self.end_entry(json, mode);
    }

    /// Adds what is to be said of the search.
    pub(super) fn outcome(&mut self, json: &[u8]) {
        self.page.begin_entry();
        self.end_entry(json, Mode::Outcome);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.page.finish()
    }

    fn end_entry(&mut self, json: &[u8], mode: Mode) {
        self.page.raw(b"\"resource\":");
        self.page.raw(json);
        self.page.raw(b",\"search\":{\"mode\":\"");
        self.page.raw(mode.code());
        self.page.raw(b"\"}}");
    }
}
