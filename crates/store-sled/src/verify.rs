//! Verifies everything that a store has: the log, the bodies' hashes, and that the derived state
//! finds every version and every identifier and nothing else.

use store::{ContentHash, Head, Store, T};

use crate::SledStore;
use crate::error::{Damage, Flaw, VerifyError};
use crate::keys::position;
use crate::open::{derive_identifiers, unit};
use crate::report::VerifyReport;
use crate::scan::{Found, Place, SegmentScan};
use crate::unit::Unit;

impl SledStore {
    /// Verifies everything up to the head. Blocks, reads the whole log, and may run while commits
    /// are appended.
    ///
    /// # Errors
    /// [`VerifyError`] for the first thing found wrong.
    pub fn verify(&self) -> Result<VerifyReport, VerifyError> {
        let head = self.head();
        self.memory.wait_for(head.t).map_err(state_failed)?;
        let versions = self.verify_log(head)?;
        let found = self
            .state
            .get()
            .and_then(|state| state.count_versions(head.t))
            .map_err(state_failed)?;
        if found != versions {
            return Err(VerifyError::KeysBeyondLog { found, expected: versions });
        }
        Ok(VerifyReport { head, versions })
    }

    fn verify_log(&self, head: Head) -> Result<u64, VerifyError> {
        let (mut versions, mut before) = (0, None);
        for number in 1.. {
            // What comes after the head may be half written at this moment.
            let path = self.layout.segment(number);
            let mut scan =
                SegmentScan::open(&path, number, Place::Last, &self.tenant, before, T::ZERO)?;
            while scan.head().t < head.t {
                let Some(found) = scan.next()? else {
                    break;
                };
                versions += self.verify_commit(number, found)?;
            }
            if scan.head().t >= head.t {
                break;
            }
            if let Some(length) = scan.torn() {
                return Err(VerifyError::Damaged(Damage {
                    segment: number,
                    offset: scan.end(),
                    lost: format!("commit {} and what follows it", scan.head().t.next()),
                    flaw: Flaw::Short { needed: length + 1, available: length },
                }));
            }
            before = Some(scan.head());
        }
        Ok(versions)
    }

    fn verify_commit(&self, segment: u64, found: Found) -> Result<u64, VerifyError> {
        let Some(mut decoded) = found.decoded else {
            return Ok(0);
        };
        for (version, block) in decoded.commit.versions.iter().zip(&decoded.blocks) {
            if ContentHash::of(&version.body) != version.content_hash {
                return Err(VerifyError::Damaged(Damage {
                    segment,
                    offset: found.offset + block.start as u64,
                    lost: format!("{}/{}", version.resource_type, version.id),
                    flaw: Flaw::ContentHash,
                }));
            }
        }
        derive_identifiers(self.derive.as_ref(), &mut decoded)?;
        let unit = unit(&decoded, segment, found.offset);
        self.verify_keys(&unit)?;
        Ok(unit.versions.len() as u64)
    }

    fn verify_keys(&self, unit: &Unit) -> Result<(), VerifyError> {
        let t = unit.t;
        for (key, pointer) in &unit.versions {
            let keys = key.to_vec()..=key.to_vec();
            let stored =
                self.state.get().and_then(|state| state.first(&keys)).map_err(state_failed)?;
            if stored != position(key).map(|t| (t, *pointer)) {
                let resource = resource_name(key);
                return Err(VerifyError::PointerLost { t, resource });
            }
        }
        for (key, _) in &unit.identifiers {
            let first =
                self.state.get().and_then(|state| state.first_borne(key)).map_err(state_failed)?;
            if first.is_none_or(|first| first > t) {
                let resource = resource_name(key);
                return Err(VerifyError::IdentifierLost { t, resource });
            }
        }
        Ok(())
    }
}

/// The type, and for a version the id, in a key. Of an identifier's key no more is shown.
fn resource_name(key: &[u8]) -> String {
    let mut parts = key.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    match (parts.next(), parts.next()) {
        (Some(resource_type), Some(id)) if fhir_core::ResourceId::is_valid(&id) => {
            format!("{resource_type}/{id}")
        }
        (resource_type, _) => resource_type.unwrap_or_default().into_owned(),
    }
}

fn state_failed(reason: String) -> VerifyError {
    VerifyError::StateFailed { reason }
}
