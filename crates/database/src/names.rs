//! What rules may name versions by, once for all versions that are named alike: very many are of
//! one patient and made by one app.

use std::collections::HashSet;
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use parking_lot::Mutex;

/// What one name costs, roughly: type and id with what they are counted by, twice a pointer.
const NAME_BYTES: usize = 160;

/// All that a rule may name a version by ([`crate::compartment::Compartments::named`]).
pub(crate) type Named = Arc<[(ResourceType, ResourceId)]>;

/// Those that are known, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct Names {
    known: Mutex<Known>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Known {
    all: HashSet<Named>,
    bytes: usize,
}

impl Names {
    /// Keeps about this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { known: Mutex::default(), limit: bytes }
    }

    /// The same names as they are kept, or as they are kept from now on if they may be. When there
    /// are too many, all others go; whoever has some keeps them.
    pub(crate) fn one_for(
        &self,
        names: Vec<(ResourceType, ResourceId)>,
        may_be_kept: impl FnOnce() -> bool,
    ) -> Named {
        let mut known = self.known.lock();
        if let Some(named) = known.all.get(names.as_slice()) {
            return Arc::clone(named);
        }
        let size = names.len().saturating_mul(NAME_BYTES).saturating_add(NAME_BYTES);
        let named = Named::from(names);
        // What would take the room of very many others is not kept.
        if size <= self.limit / 8 && may_be_kept() {
            if known.bytes + size > self.limit {
                *known = Known::default();
            }
            known.bytes += size;
            known.all.insert(Arc::clone(&named));
        }
        named
    }

    /// Keeps none of them any more.
    pub(crate) fn forget_all(&self) {
        let forgotten = std::mem::take(&mut *self.known.lock());
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(id: usize) -> Vec<(ResourceType, ResourceId)> {
        vec![("Patient".parse().unwrap(), id.to_string().parse().unwrap())]
    }

    #[test]
    fn versions_that_are_named_alike_share_their_names() {
        let known = Names::new(100 * NAME_BYTES);
        let one = known.one_for(names(1), || true);
        assert!(Arc::ptr_eq(&one, &known.one_for(names(1), || true)));
        let other = known.one_for(names(2), || true);
        assert_eq!((&*one, &*other), (&*names(1), &*names(2)));
        known.forget_all();
        assert!(!Arc::ptr_eq(&one, &known.one_for(names(1), || true)));
        assert_eq!(*one, *names(1));
        let late = known.one_for(names(3), || false);
        assert!(!Arc::ptr_eq(&late, &known.one_for(names(3), || true)), "it may not be kept");
    }

    #[test]
    fn what_is_kept_of_names_has_a_bound() {
        let known = Names::new(100 * NAME_BYTES);
        for id in 0..1000 {
            assert_eq!(*known.one_for(names(id), || true), *names(id));
            assert!(known.known.lock().bytes <= 100 * NAME_BYTES);
        }
        let many: Vec<_> = (0..50).flat_map(names).collect();
        let kept = known.known.lock().bytes;
        assert_eq!(*known.one_for(many.clone(), || true), *many);
        assert_eq!(known.known.lock().bytes, kept);
    }
}
