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

/// Bytes that a Bundle has beside its entries, and that an entry has beside its resource and its
/// URL, roughly at most.
const BUNDLE: usize = 4096;
const ENTRY: usize = 80;

pub(super) struct Writer {
    /// How every `fullUrl` begins, as a JSON string without its last quotation mark.
    base: Vec<u8>,
    page: BundlePage,
}

impl Writer {
    /// A Bundle without links and entries, with room for resources of so many bytes.
    pub(super) fn new(
        (base, id): (&str, &str),
        now: Instant,
        total: Option<u64>,
        (resources, bytes): (usize, usize),
    ) -> Self {
        let mut begin = Vec::with_capacity(base.len() + 3);
        write_string(base, &mut begin);
        begin.pop();
        begin.push(b'/');
        let names = ResourceType::MAX_LENGTH + ResourceId::MAX_LENGTH;
        let each = ENTRY + begin.len() + names;
        let mut out = Vec::with_capacity(BUNDLE + bytes + resources * each);
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"id\":");
        write_string(id, &mut out);
        out.extend_from_slice(b",\"meta\":{\"lastUpdated\":");
        write_string(&now.to_string(), &mut out);
        out.extend_from_slice(b"},\"type\":\"searchset\"");
        if let Some(total) = total {
            out.extend_from_slice(b",\"total\":");
            out.extend_from_slice(total.to_string().as_bytes());
        }
        Self { base: begin, page: BundlePage::new(out) }
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
        // Types and ids have nothing that a string writes otherwise.
        let parts: [&[u8]; 5] =
            [b"\"fullUrl\":", &self.base, of.as_str().as_bytes(), b"/", id.as_str().as_bytes()];
        parts.into_iter().for_each(|part| self.page.raw(part));
        match within {
            None => self.page.raw(b"\","),
            Some(within) => {
                let mut rest = Vec::new();
                write_string(within, &mut rest);
                self.page.raw(b"#");
                self.page.raw(&rest[1..]);
                self.page.raw(b",");
            }
        }
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
