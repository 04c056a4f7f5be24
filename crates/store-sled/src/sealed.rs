//! Whether anything in a log is sealed: asked where its keys are not there.

use std::path::Path;

use store::{OwnerKeyId, T, TenantText};

use crate::copy::segments;
use crate::error::VerifyError;
use crate::layout::Layout;
use crate::scan::{Place, SegmentScan};

/// Whether a body in the log of a tenant's directory is sealed, so that it is lost without its
/// keys. Reads the log up to the first such body: all of it where there is none.
///
/// # Errors
/// [`VerifyError`] when the log is not whole up to there.
pub fn holds_sealed(directory: &Path, tenant: &TenantText) -> Result<bool, VerifyError> {
    let layout = Layout::new(directory);
    let numbers = segments(&layout)?;
    let mut before = None;
    for &number in &numbers {
        let place = if numbers.last() == Some(&number) { Place::Last } else { Place::Inner };
        let path = layout.segment(number);
        let mut scan =
            SegmentScan::open(layout.disk(), &path, number, place, tenant, before, T::ZERO)?;
        while let Some(found) = scan.next()? {
            let versions = found.decoded.iter().flat_map(|decoded| &decoded.commit.versions);
            if versions.into_iter().any(|version| version.owner != OwnerKeyId::NONE) {
                return Ok(true);
            }
        }
        before = Some(scan.head());
    }
    Ok(false)
}
