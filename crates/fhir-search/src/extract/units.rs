//! Units of UCUM, each understood once.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use fhirpath::CanonicalUnit;

/// What codes of UCUM are in base units.
#[derive(Debug, Default)]
pub(super) struct Units {
    by_code: RwLock<HashMap<Box<str>, Option<Arc<CanonicalUnit>>>>,
}

/// Codes that are kept: more than are in use, fewer than harm who sends new ones all the time.
const KEPT: usize = 4096;

impl Units {
    /// The unit with this code; `None` for what cannot be converted.
    pub(super) fn get(&self, code: &str) -> Option<Arc<CanonicalUnit>> {
        // What a panic elsewhere left is still a map of whole entries.
        if let Some(known) = self.by_code.read().unwrap_or_else(PoisonError::into_inner).get(code) {
            return known.clone();
        }
        let unit = CanonicalUnit::of(code).map(Arc::new);
        let mut by_code = self.by_code.write().unwrap_or_else(PoisonError::into_inner);
        if by_code.len() < KEPT {
            by_code.insert(code.into(), unit.clone());
        }
        unit
    }
}
