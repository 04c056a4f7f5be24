//! Verifies everything that a store has: the log, the bodies' hashes, and that the derived state
//! finds every version and every identifier and nothing else.

use store::record::Decoded;
use store::{ContentHash, Head, OwnerKeyId, Store, T, Version};

use crate::SledStore;
use crate::error::{Damage, Flaw, VerifyError};
use crate::keys::{Value, position, resource_name};
use crate::open::{derive_identifiers, unit};
use crate::report::VerifyReport;
use crate::scan::{Found, Place, SegmentScan};
use crate::table::Unit;

impl SledStore {
    /// Verifies everything up to the head. Blocks, reads the whole log, and may run while commits
    /// are appended.
    ///
    /// # Errors
    /// [`VerifyError`] for the first thing found wrong.
    pub fn verify(&self) -> Result<VerifyReport, VerifyError> {
        let head = self.head();
        self.memory.wait_for(head.t).map_err(state_failed)?;
        let (versions, unsealed) = self.verify_log(head)?;
        let found = self
            .state
            .get()
            .and_then(|state| state.count_versions(head.t))
            .map_err(state_failed)?;
        if found != versions {
            return Err(VerifyError::KeysBeyondLog { found, expected: versions });
        }
        Ok(VerifyReport { head, versions, unsealed })
    }

    /// Counts versions, and bodies of them that are not sealed.
    fn verify_log(&self, head: Head) -> Result<(u64, u64), VerifyError> {
        let (mut versions, mut plain, mut before) = (0, 0, None);
        for number in 1.. {
            // What comes after the head may be half written at this moment.
            let path = self.layout.segment(number);
            let mut scan = SegmentScan::open(
                self.layout.disk(),
                &path,
                number,
                Place::Last,
                &self.tenant,
                before,
                T::ZERO,
            )?
            .with_rows();
            while scan.head().t < head.t {
                let Some(found) = scan.next()? else {
                    break;
                };
                plain += found.decoded.as_ref().map_or(0, unsealed);
                versions += self.verify_commit(number, found)?;
            }
            let reached = scan.head();
            if reached.t >= head.t {
                self.verify_history(number, scan)?;
                break;
            }
            // Another segment follows, so that nothing may stand behind the groups of this one.
            let behind = scan.is_followed_by_zeros().then_some(scan.end());
            if let Some(length) = scan.torn().or(behind) {
                return Err(VerifyError::Damaged(Damage {
                    segment: number,
                    offset: scan.end(),
                    lost: format!("commit {} and what follows it", scan.head().t.next()),
                    flaw: Flaw::Short { needed: length + 1, available: length },
                }));
            }
            before = Some(reached);
            self.verify_history(number, scan)?;
        }
        Ok((versions, plain))
    }

    /// Compares what is kept of a segment's history with the segment, as far as it was read.
    fn verify_history(&self, segment: u64, scan: SegmentScan) -> Result<(), VerifyError> {
        let rows = scan.rows().expect("they were asked for");
        match self.histories.agrees(segment, &rows) {
            Ok(true) => Ok(()),
            Ok(false) => Err(VerifyError::HistoryDiffers { segment }),
            Err(error) => Err(VerifyError::HistoryUnreadable { segment, source: error }),
        }
    }

    fn verify_commit(&self, segment: u64, found: Found) -> Result<u64, VerifyError> {
        let Some(mut decoded) = found.decoded else {
            return Ok(0);
        };
        check_bodies(segment, found.offset, &decoded)?;
        // Every blob is read by this but those of whom was purged.
        derive_identifiers(self.derive.as_ref(), &self.blobs, &mut decoded)?;
        let unit = unit(&decoded, segment, found.offset);
        self.verify_keys(&unit)?;
        Ok(unit.versions as u64)
    }

    fn verify_keys(&self, unit: &Unit) -> Result<(), VerifyError> {
        let t = unit.through.t;
        let state = self.state.get().map_err(state_failed)?;
        for (key, value) in &unit.entries {
            match value {
                Value::Version(pointer) => {
                    let keys = key.to_vec()..=key.to_vec();
                    let stored = state.first(&keys).map_err(state_failed)?;
                    if stored != position(key).map(|t| (t, *pointer)) {
                        let resource = resource_name(key);
                        return Err(VerifyError::PointerLost { t, resource });
                    }
                }
                Value::Bearer(_) => {
                    let first = state.first_borne(key).map_err(state_failed)?;
                    if first.is_none_or(|first| first > t) {
                        let resource = resource_name(key);
                        return Err(VerifyError::IdentifierLost { t, resource });
                    }
                }
            }
        }
        Ok(())
    }
}

/// How many bodies of a commit are not sealed.
pub(crate) fn unsealed(decoded: &Decoded) -> u64 {
    let plain =
        |version: &&Version| version.owner == OwnerKeyId::NONE && !version.flags.is_deleted();
    decoded.commit.versions.iter().filter(plain).count() as u64
}

/// Compares the bodies of a commit, whose record stands at `offset`, with their hashes.
pub(crate) fn check_bodies(
    segment: u64,
    offset: u64,
    decoded: &Decoded,
) -> Result<(), VerifyError> {
    for (version, block) in decoded.commit.versions.iter().zip(&decoded.blocks) {
        if ContentHash::of(&version.body) != version.content_hash {
            return Err(VerifyError::Damaged(Damage {
                segment,
                offset: offset + block.start as u64,
                lost: format!("{}/{}", version.resource_type, version.id),
                flaw: Flaw::ContentHash,
            }));
        }
    }
    Ok(())
}

fn state_failed(reason: String) -> VerifyError {
    VerifyError::StateFailed { reason }
}
