//! history of an instance (FHIR R4, 3.1.0.9): all versions, the newest first, in pages.

use std::collections::HashSet;

use contract::Instance;
use database::{Method, Snapshot, VersionEntry};
use fhir_core::json::write_string;
use fhir_core::{Instant, VersionId};

use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation::parameters;

/// What the query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    count: usize,
    since: Option<Instant>,
    /// The page begins after this version: what a next link says.
    before: Option<VersionId>,
}

impl Page {
    fn read(query: &str, most: usize) -> Result<Self, ServerError> {
        let mut page = Self { count: most, since: None, before: None };
        let mut seen = Vec::new();
        for (name, value) in parameters(query) {
            let (name, mend) = match name.as_str() {
                "_count" => ("_count", "write a whole number"),
                "_since" => ("_since", "write an instant like 2026-01-02T03:04:05Z"),
                "_before" => ("_before", "follow the next link as it was given"),
                "_at" | "_list" | "_sort" => return Err(ServerError::UnsupportedParameter(name)),
                _ => continue,
            };
            if seen.contains(&name) {
                let mend = "give it once";
                return Err(ServerError::InvalidParameter { name, mend });
            }
            seen.push(name);
            let read = match name {
                "_count" => value.parse().ok().map(|count: usize| page.count = count.min(most)),
                // A plus sign of an offset arrives as a space.
                "_since" => {
                    value.replace(' ', "+").parse().ok().map(|since| page.since = Some(since))
                }
                _ => value.parse().ok().map(|version| page.before = Some(version)),
            };
            read.ok_or(ServerError::InvalidParameter { name, mend })?;
        }
        Ok(page)
    }
}

pub(crate) async fn history_instance(
    call: &Call<'_>,
    instance: &Instance,
) -> Result<Answer, ServerError> {
    let visibility = call.visibility(&instance.resource_type)?;
    let page = Page::read(call.query, call.server.limits.history_page)?;
    let snapshot = call.database.snapshot(visibility);
    let mut entries = snapshot.history(&instance.resource_type, &instance.id).await?;
    if entries.is_empty() {
        return Err(ServerError::NotFound);
    }
    // A version that follows none, or a deletion, brought the resource into being.
    let created: HashSet<VersionId> = entries
        .iter()
        .zip(entries.iter().skip(1).map(Some).chain([None]))
        .filter(|(_, before)| before.is_none_or(|before| before.flags.is_deleted()))
        .map(|(entry, _)| entry.version)
        .collect();
    entries.retain(|entry| page.since.is_none_or(|since| entry.instant >= since));
    let total = entries.len();
    entries.retain(|entry| page.before.is_none_or(|before| entry.version < before));
    let fitting = fitting(&entries, page.count, call.server.limits.answer_bytes);
    let more = entries.len() > fitting;
    entries.truncate(fitting);
    // A count of nought asks for the total alone.
    let next = entries.last().filter(|_| more).map(|entry| entry.version);
    let mut bundle = Writer::new(call, instance, total, page, next);
    for entry in entries {
        let status = match entry.flags.method() {
            Method::Delete => "204",
            _ if created.contains(&entry.version) => "201",
            _ => "200",
        };
        bundle.entry(&snapshot, entry, status).await?;
    }
    Ok(Answer::of(bundle.finish()))
}

/// How many of these fit a page: `count` at most, and as many as have `bytes`, one at least.
fn fitting(entries: &[VersionEntry], count: usize, bytes: usize) -> usize {
    let mut length = 0;
    let within = |entry: &&VersionEntry| {
        length += entry.length as usize;
        length <= bytes
    };
    let fitting = entries.iter().take(count).take_while(within).count();
    fitting.max(count.min(1))
}

/// Writes the Bundle; stored bytes are put into it unparsed.
struct Writer {
    out: Vec<u8>,
    full_url: String,
    first: bool,
}

impl Writer {
    fn new(
        call: &Call<'_>,
        instance: &Instance,
        total: usize,
        page: Page,
        next: Option<VersionId>,
    ) -> Self {
        let base = call.server.base.as_str();
        let full_url = format!("{base}/{}/{}", instance.resource_type, instance.id);
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"history\",\"total\":");
        out.extend_from_slice(total.to_string().as_bytes());
        let link = |before: Option<VersionId>| {
            let mut url = format!("{full_url}/_history?_count={}", page.count);
            if let Some(since) = page.since {
                url.push_str(&format!("&_since={since}"));
            }
            if let Some(before) = before {
                url.push_str(&format!("&_before={before}"));
            }
            url
        };
        out.extend_from_slice(b",\"link\":[{\"relation\":\"self\",\"url\":");
        write_string(&link(page.before), &mut out);
        if next.is_some() {
            out.extend_from_slice(b"},{\"relation\":\"next\",\"url\":");
            write_string(&link(next), &mut out);
        }
        out.extend_from_slice(b"}]");
        Self { out, full_url, first: true }
    }

    async fn entry(
        &mut self,
        snapshot: &Snapshot,
        entry: VersionEntry,
        status: &str,
    ) -> Result<(), ServerError> {
        let stored = snapshot.load(entry).await?;
        let entry = &stored.entry;
        let instance = || format!("{}/{}", entry.resource_type, entry.id);
        let (method, url) = match entry.flags.method() {
            Method::Post => ("POST", entry.resource_type.to_string()),
            // A patch is shown as the update it amounts to (HTTP-146).
            Method::Put | Method::Patch => ("PUT", instance()),
            Method::Delete => ("DELETE", instance()),
        };
        self.out.extend_from_slice(if self.first { b",\"entry\":[{" } else { b",{" });
        self.first = false;
        self.member("\"fullUrl\":", &self.full_url.clone());
        if let Some(json) = &stored.json {
            self.out.extend_from_slice(b",\"resource\":");
            self.out.extend_from_slice(json);
        }
        self.member(",\"request\":{\"method\":", method);
        self.member(",\"url\":", &url);
        self.member("},\"response\":{\"status\":", status);
        self.member(",\"etag\":", &format!("W/\"{}\"", entry.version));
        self.member(",\"lastModified\":", &entry.instant.to_string());
        self.out.extend_from_slice(b"}}");
        Ok(())
    }

    fn member(&mut self, before: &str, value: &str) {
        self.out.extend_from_slice(before.as_bytes());
        write_string(value, &mut self.out);
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(if self.first { b"}" } else { b"]}" });
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn what_cannot_be_read_or_stands_twice_is_refused() {
        // HTTP-155, HTTP-237
        let read = |query| Page::read(query, 100).map(|page| page.count);
        assert_eq!(read("_count=7&_since=2026-01-02T03:04:05%2B01:00").ok(), Some(7));
        assert_eq!(read("_since=2026-01-02T03:04:05+01:00").ok(), Some(100));
        assert_eq!(read("_count=1000000").ok(), Some(100));
        for query in [
            "_since=yesterday",
            "_count=-1",
            "_count=many",
            "_before=x",
            "_at=2026",
            "_since=2026-01-02T03:04:05Z&_since=2026-01-02T03:04:05Z",
        ] {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
