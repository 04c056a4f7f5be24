//! The rules that every group keeps before a backend writes a byte of it.

use std::collections::HashSet;

use crate::{AppendError, BlobReference, Commit, Head, MalformedGroup, T, TenantText};

/// Judges whether `group` may follow `head` in the log of `tenant`.
///
/// # Errors
/// [`AppendError::HeadMoved`] or [`AppendError::Malformed`].
pub fn judge_group(head: &Head, tenant: &TenantText, group: &[Commit]) -> Result<(), AppendError> {
    let Some(first) = group.first() else {
        return Ok(());
    };
    if first.t != head.t.next() {
        return Err(AppendError::HeadMoved { head: head.t, first: first.t });
    }
    let (mut t, mut instant) = (head.t, head.instant);
    for commit in group {
        let expected = t.next();
        judge_commit(commit, tenant).map_err(AppendError::Malformed)?;
        if commit.t != expected {
            return Err(AppendError::Malformed(MalformedGroup::NotConsecutive {
                expected,
                found: commit.t,
            }));
        }
        if commit.instant <= instant {
            return Err(AppendError::Malformed(MalformedGroup::InstantNotAfter { t: commit.t }));
        }
        (t, instant) = (commit.t, commit.instant);
    }
    Ok(())
}

/// The blobs that the commits of a group name, each with its commit's position.
pub fn named_blobs(group: &[Commit]) -> impl Iterator<Item = (T, BlobReference)> + '_ {
    group.iter().flat_map(|commit| {
        commit.versions.iter().filter_map(|version| Some((commit.t, version.blob()?)))
    })
}

fn judge_commit(commit: &Commit, tenant: &TenantText) -> Result<(), MalformedGroup> {
    if commit.tenant != *tenant {
        return Err(MalformedGroup::OtherTenant { t: commit.t });
    }
    if let [_, _, ..] = commit.versions.as_slice() {
        let mut seen = HashSet::with_capacity(commit.versions.len());
        for version in &commit.versions {
            if !seen.insert((version.resource_type.as_str(), version.id.as_str())) {
                return Err(MalformedGroup::ResourceTwice {
                    t: commit.t,
                    resource: format!("{}/{}", version.resource_type, version.id),
                });
            }
        }
    }
    Ok(())
}
