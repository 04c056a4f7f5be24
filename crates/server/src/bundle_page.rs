//! A page of a Bundle as it is written: links, then entries; stored bytes are put into it unparsed.

use fhir_core::json::write_string;

/// A Bundle that is begun.
pub(crate) struct BundlePage {
    out: Vec<u8>,
    links: usize,
    entries: usize,
}

impl BundlePage {
    /// A Bundle without links and entries: `begin` is its JSON up to them, without a comma.
    pub(crate) fn new(begin: Vec<u8>) -> Self {
        Self { out: begin, links: 0, entries: 0 }
    }

    /// Adds a link; they come before the entries.
    pub(crate) fn link(&mut self, relation: &str, url: &str) {
        self.raw(if self.links == 0 { b",\"link\":[{" } else { b",{" });
        self.links += 1;
        self.member("\"relation\":", relation);
        self.member(",\"url\":", url);
        self.raw(b"}");
    }

    /// Begins an entry, which whoever fills it ends with its brace.
    pub(crate) fn begin_entry(&mut self) {
        if self.entries == 0 {
            self.end_links();
            self.raw(b",\"entry\":[{");
        } else {
            self.raw(b",{");
        }
        self.entries += 1;
    }

    /// Adds bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Adds `before`, which ends with a name, and a string.
    pub(crate) fn member(&mut self, before: &str, value: &str) {
        self.raw(before.as_bytes());
        write_string(value, &mut self.out);
    }

    /// The Bundle.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.entries == 0 {
            self.end_links();
        } else {
            self.raw(b"]");
        }
        self.raw(b"}");
        self.out
    }

    fn end_links(&mut self) {
        if self.links > 0 {
            self.raw(b"]");
        }
    }
}
