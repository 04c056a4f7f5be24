//! Goes through the whole log while it may be appended to.

use store::{Head, ReadError, T, Walked};

use crate::SledStore;
use crate::scan::{Place, ScanError, SegmentScan};

impl SledStore {
    /// Calls `each` with every version of the commits up to `at`, which is durable.
    pub(crate) fn walk_log(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError> {
        let mut before: Option<Head> = None;
        for number in 1.. {
            // What comes after the head may be half written at this moment.
            let path = self.layout.segment(number);
            let scan = SegmentScan::open(
                self.layout.disk(),
                &path,
                number,
                Place::Last,
                &self.tenant,
                before,
                T::ZERO,
            );
            let mut scan = scan.map_err(|error| read_error(number, error))?;
            while scan.head().t < at {
                let Some(found) = scan.next().map_err(|error| read_error(number, error))? else {
                    break;
                };
                let decoded = found.decoded.expect("nothing is verified only");
                let commit = &decoded.commit;
                for (ordinal, version) in (0..).zip(&commit.versions) {
                    let (t, instant, id, kind) = (commit.t, commit.instant, commit.id, commit.kind);
                    each(Walked { t, instant, commit: id, kind, ordinal, version });
                }
            }
            if scan.head().t >= at {
                break;
            }
            before = Some(scan.head());
        }
        Ok(())
    }
}

fn read_error(segment: u64, error: ScanError) -> ReadError {
    match error {
        ScanError::Damaged(damage) => damage.into(),
        ScanError::Io { source, .. } => ReadError::Io { segment, offset: 0, source },
    }
}
