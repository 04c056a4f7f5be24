//! Of which FHIR version the resources in a log are.

use std::path::Path;

use store::{FhirVersion, T, TenantText};

use crate::copy::segments;
use crate::error::VerifyError;
use crate::layout::Layout;
use crate::scan::{Place, SegmentScan};

/// The FHIR version of the resources in the log of a tenant's directory: that of its first commit,
/// which all others share. `None` where nothing was committed. Reads that commit alone; the store
/// may be open.
///
/// # Errors
/// [`VerifyError`] when there is no log, or it is not whole up to there.
pub fn fhir_version(
    directory: &Path,
    tenant: &TenantText,
) -> Result<Option<FhirVersion>, VerifyError> {
    let layout = Layout::new(directory);
    let numbers = segments(&layout)?;
    let first = numbers[0];
    let place = if numbers.len() == 1 { Place::Last } else { Place::Inner };
    let path = layout.segment(first);
    let mut scan = SegmentScan::open(layout.disk(), &path, first, place, tenant, None, T::ZERO)?;
    let found = scan.next()?.and_then(|found| found.decoded);
    Ok(found.map(|decoded| decoded.commit.fhir_version))
}
