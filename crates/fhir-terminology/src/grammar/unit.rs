//! UCUM, read by `octofhir-ucum`, case sensitive. Length is bounded: no unit in use is longer.

const LONGEST: usize = 512;

pub(super) fn is_unit(code: &str) -> bool {
    let well_formed = !code.is_empty()
        && code.len() <= LONGEST
        && code.bytes().all(|byte| byte.is_ascii_graphic());
    // Annotations may hold spaces' neighbours, never spaces: UCUM is of visible characters alone.
    well_formed && octofhir_ucum::validate(code).is_ok()
}

pub(super) fn has_canonical_form(code: &str, canonical: &str) -> bool {
    is_unit(code) && octofhir_ucum::is_comparable(code, canonical).unwrap_or(false)
}
