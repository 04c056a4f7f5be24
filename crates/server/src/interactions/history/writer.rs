//! The Bundle of a history; stored bytes are put into it unparsed.

use database::{Method, ReadError, Snapshot, VersionEntry};
use fhir_core::json::write_string;

use crate::error::ServerError;

pub(super) struct Writer<'a> {
    base: &'a str,
    out: Vec<u8>,
    links: usize,
    entries: usize,
}

/// What became of a version's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    AsStored,
    Purged,
}

impl<'a> Writer<'a> {
    /// A Bundle without links and entries.
    pub(super) fn new(base: &'a str, total: Option<u64>) -> Self {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"history\"");
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

    /// Adds a version.
    pub(super) async fn entry(
        &mut self,
        snapshot: &Snapshot,
        entry: VersionEntry,
    ) -> Result<(), ServerError> {
        let created = snapshot.brought_into_being(&entry).await?;
        let (json, body) = match snapshot.load(entry.clone()).await {
            Ok(stored) => (stored.json, Body::AsStored),
            // One version that nobody can read leaves the others to be read (docs/adr/0014).
            Err(ReadError::Purged) => (None, Body::Purged),
            Err(error) => return Err(error.into()),
        };
        let instance = format!("{}/{}", entry.resource_type, entry.id);
        let method = match body {
            Body::AsStored => entry.flags.method(),
            // PUT and POST would say that a resource stands here.
            Body::Purged => Method::Delete,
        };
        let (shown, url) = match method {
            Method::Post => ("POST", entry.resource_type.to_string()),
            // A patch is shown as the update it amounts to (HTTP-146).
            Method::Put | Method::Patch => ("PUT", instance.clone()),
            Method::Delete => ("DELETE", instance.clone()),
        };
        let status = match method {
            _ if body == Body::Purged => "410",
            Method::Delete => "204",
            _ if created => "201",
            _ => "200",
        };
        self.begin_entry();
        self.member("\"fullUrl\":", &format!("{}/{instance}", self.base));
        if let Some(json) = &json {
            self.out.extend_from_slice(b",\"resource\":");
            self.out.extend_from_slice(json);
        }
        self.member(",\"request\":{\"method\":", shown);
        self.member(",\"url\":", &url);
        self.member("},\"response\":{\"status\":", status);
        self.member(",\"etag\":", &format!("W/\"{}\"", entry.version));
        self.member(",\"lastModified\":", &entry.instant.to_string());
        self.out.extend_from_slice(b"}}");
        Ok(())
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
