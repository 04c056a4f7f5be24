//! What is judged in place of a resource that is not there, for callers who see a part of its type
//! alone: to find out that something is not theirs takes reading it, and so takes a time. What is
//! not there is to take the same (access table of the contract: no different timing).
//!
//! A stand-in is a version that was hidden from somebody lately, so that its size is a usual one.
//! What comes of judging it is thrown away.

use std::collections::{HashMap, VecDeque};

use fhir_core::ResourceType;
use parking_lot::Mutex;
use store::VersionEntry;

/// So many are known of each type, in turn: of one alone the time would tell its size.
const MOST_OF_A_TYPE: usize = 32;

/// Versions that were hidden lately.
#[derive(Default)]
pub(crate) struct StandIns(Mutex<HashMap<ResourceType, VecDeque<VersionEntry>>>);

impl StandIns {
    /// Remembers a version that was hidden.
    pub(crate) fn note(&self, hidden: VersionEntry) {
        let mut known = self.0.lock();
        let of_type = known.entry(hidden.resource_type.clone()).or_default();
        if of_type.iter().any(|it| it.t == hidden.t && it.id == hidden.id) {
            return;
        }
        of_type.push_back(hidden);
        if of_type.len() > MOST_OF_A_TYPE {
            of_type.pop_front();
        }
    }

    /// One of a type, if any is known; each in its turn.
    pub(crate) fn next(&self, of: &ResourceType) -> Option<VersionEntry> {
        let mut known = self.0.lock();
        let of_type = known.get_mut(of)?;
        of_type.rotate_left(1);
        of_type.back().cloned()
    }
}

#[cfg(test)]
mod tests {
    use fhir_core::{Instant, ResourceId, VersionId};
    use store::{BodyCoding, Location, Method, T, VersionFlags};

    use super::*;

    fn hidden(t: u64) -> VersionEntry {
        VersionEntry {
            t: T::new(t),
            instant: Instant::from_micros(0),
            resource_type: ResourceType::new("Patient").unwrap(),
            id: ResourceId::new("1").unwrap(),
            version: VersionId::FIRST,
            flags: VersionFlags::of(Method::Put),
            dictionary: BodyCoding::AS_IS,
            length: 2,
            location: Location { segment: 0, offset: 0, length: 2, ordinal: 0, into_commit: 0 },
        }
    }

    #[test]
    fn those_that_were_hidden_lately_stand_in_each_in_its_turn() {
        let stand_ins = StandIns::default();
        let of = ResourceType::new("Patient").unwrap();
        assert!(stand_ins.next(&of).is_none());
        for t in [1, 2, 2, 3] {
            stand_ins.note(hidden(t));
        }
        let turn = || stand_ins.next(&of).unwrap().t.get();
        assert_eq!([turn(), turn(), turn(), turn()], [1, 2, 3, 1]);
        (0..100).for_each(|t| stand_ins.note(hidden(t)));
        assert_eq!(stand_ins.0.lock()[&of].len(), MOST_OF_A_TYPE);
    }
}
