//! The certificate of a purge: what was destroyed, and what is left. Nothing is destroyed here.

use std::collections::BTreeMap;

use database::NotLookedAt;
use serde::{Deserialize, Serialize};

/// What was destroyed, and what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The tenant.
    pub tenant: String,
    /// Whose data.
    pub patient: String,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// When it was asked for.
    pub asked: String,
    /// The position of the commit that says it in the log.
    pub commit: u64,
    /// The number of the key that was destroyed.
    pub key: String,
    /// How many versions nobody can read any more, by type.
    pub versions: BTreeMap<String, u64>,
    /// Bytes of them that stand in the log, sealed with the destroyed key.
    pub sealed_bytes_in_log: u64,
    /// How many blobs of them were removed from the data directory.
    #[serde(default)]
    pub blobs_removed: u64,
    /// Bytes of those.
    #[serde(default)]
    pub blob_bytes_removed: u64,
    /// Copies of the keys in which it was destroyed too.
    pub copies_told: Vec<String>,
    /// Copies of the keys that may still hold it, and why.
    pub copies_not_told: Vec<String>,
    /// What else is left.
    pub left: Vec<String>,
}

impl Certificate {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} of tenant {} is purged.\n  asked for at {} by {}: {}\n  key {} is destroyed; commit {} says so in the log\n  nobody can read any more:\n",
            self.patient, self.tenant, self.asked, self.by, self.reason, self.key, self.commit
        );
        for (of, count) in &self.versions {
            text.push_str(&format!("    {count} versions of {of}\n"));
        }
        if self.blobs_removed > 0 {
            text.push_str(&format!(
                "  {} blobs of {} bytes are removed; backups have them, sealed with that key\n",
                self.blobs_removed, self.blob_bytes_removed
            ));
        }
        let mut list = |head: &str, lines: &[String]| {
            if !lines.is_empty() {
                text.push_str(&format!("  {head}:\n"));
                lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
            }
        };
        list("the key is destroyed in these copies of the keys too", &self.copies_told);
        list(
            "these copies of the keys may still hold it: bring them within reach and run `hearthgate backup --keys-to` for each, or destroy them",
            &self.copies_not_told,
        );
        list("what is left", &self.left);
        text
    }
}

/// Versions of which it is not known whether they name the patient.
pub(super) fn not_looked_at(NotLookedAt { count, listed }: &NotLookedAt) -> Vec<String> {
    let line = |(of, id, version): &(_, _, _)| {
        format!(
            "{of}/{id} version {version}: not looked at, since its blob is missing here; a backup \
             that has it makes it readable, and it may name this patient"
        )
    };
    let mut lines: Vec<String> = listed.iter().map(line).collect();
    let more = count.saturating_sub(listed.len() as u64);
    if more > 0 {
        lines.push(format!("{more} more versions, not looked at since their blobs are missing"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_what_was_not_looked_at() {
        let version = |id: &str| {
            let of = contract::ResourceType::new("DocumentReference").unwrap();
            (of, id.parse().unwrap(), "2".parse().unwrap())
        };
        let listed = vec![version("a"), version("b")];
        assert!(not_looked_at(&NotLookedAt::default()).is_empty());
        let lines = not_looked_at(&NotLookedAt { count: 5, listed });
        assert!(lines[0].starts_with("DocumentReference/a version 2: not looked at"), "{lines:?}");
        assert!(lines[1].contains("DocumentReference/b") && lines[1].contains("a backup"));
        assert_eq!(lines[2], "3 more versions, not looked at since their blobs are missing");
    }
}
