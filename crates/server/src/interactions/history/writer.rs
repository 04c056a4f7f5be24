//! The Bundle of a history; stored bytes are put into it unparsed.

use database::{Method, ReadError, Snapshot, VersionEntry};

use crate::audit::Trail;
use crate::bundle_page::BundlePage;
use crate::error::ServerError;

pub(super) struct Writer<'a> {
    base: &'a str,
    page: BundlePage,
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
        Self { base, page: BundlePage::new(out) }
    }

    /// Adds a link; they come before the entries.
    pub(super) fn link(&mut self, relation: &str, url: &str) {
        self.page.link(relation, url);
    }

    /// Adds a version.
    pub(super) async fn entry(
        &mut self,
        snapshot: &Snapshot,
        entry: VersionEntry,
        trail: &Trail,
    ) -> Result<(), ServerError> {
        let created = snapshot.brought_into_being(&entry).await?;
        let (json, body) = match snapshot.load(entry.clone()).await {
            Ok(stored) => (stored.json, Body::AsStored),
            // One version that nobody can read leaves the others to be read (docs/adr/0014).
            Err(ReadError::Purged) => (None, Body::Purged),
            Err(error) => return Err(error.into()),
        };
        let name = (&entry.resource_type, &entry.id);
        trail.shown(name, entry.version, json.as_deref(), self.base);
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
        self.page.begin_entry();
        self.page.member("\"fullUrl\":", &format!("{}/{instance}", self.base));
        if let Some(json) = &json {
            self.page.raw(b",\"resource\":");
            self.page.raw(json);
        }
        self.page.member(",\"request\":{\"method\":", shown);
        self.page.member(",\"url\":", &url);
        self.page.member("},\"response\":{\"status\":", status);
        self.page.member(",\"etag\":", &format!("W/\"{}\"", entry.version));
        self.page.member(",\"lastModified\":", &entry.instant.to_string());
        self.page.raw(b"}}");
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.page.finish()
    }
}
