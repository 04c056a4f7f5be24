//! What may be seen of settled segments, kept for who asks again: documents and keys of a segment
//! never change, so neither does which of its documents say what a [`VisiblePart`] shows. Which
//! versions have ended or were purged is judged apart, by [`crate::documents::Superseded`].
//!
//! Only what a segment says by itself is kept: a condition that leads to other resources (chains,
//! `_has`, `_list`, hierarchies), or asks more of codes than whether case counts in a system that
//! it names, is judged anew each time.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fhir_search::{Clause, Codes, ReferenceTest, SystemTest, Test, TokenTest, UriTest};
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use crate::documents::{Documents, Ended};
use crate::facet::Facet;
use crate::names::Names;
use crate::part::Part;
use crate::postings::Postings;
use crate::visible::{VisiblePart, VisibleTypes, VisibleWithin};

/// Restrictions are told from one another that take so many bytes together.
const MOST_BYTES: usize = 4 << 20;
/// A segment keeps at most so many bytes for each of its documents, or [`LEAST_ROOM`].
const BYTES_PER_DOCUMENT: usize = 2;
const LEAST_ROOM: usize = 64 << 10;
/// About so many types are asked for.
const MOST_TYPES: usize = 8;
/// The documents of so few compartments, and of so few types among them, are soon found.
const FEW: usize = 8;

/// The restrictions that were asked by lately.
#[derive(Debug, Default)]
pub(crate) struct Restrictions {
    known: Mutex<Known>,
    given: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// Each with a hash of whose compartments it has. The one that was asked by last stands last.
    all: VecDeque<(u64, Arc<Restriction>)>,
    bytes: usize,
}

/// Parts of a visibility that a segment can be asked for by itself.
#[derive(Debug)]
pub(crate) struct Restriction {
    /// No other one has had it.
    number: u64,
    parts: Vec<VisiblePart>,
    /// Whether case counts in the systems that its conditions name, in their order.
    case_counts: Vec<bool>,
    resolved: RwLock<Resolved>,
}

/// The resources whose compartments a restriction has.
#[derive(Debug, Default)]
struct Resolved {
    /// For each part.
    ordinals: Arc<[RoaringBitmap]>,
    /// How many names there were. Names are never taken away.
    names: u32,
    /// Whether all resources had one.
    are_all: bool,
}

impl Restrictions {
    /// That of those of `parts` that a segment can be asked for by itself; none where there is
    /// none, or it is found as soon as it is looked up. And the other parts.
    pub(crate) fn of<'p>(
        &self,
        parts: &'p [VisiblePart],
        codes: &dyn Codes,
    ) -> (Option<Arc<Restriction>>, Vec<&'p VisiblePart>) {
        let mut case_counts = Vec::new();
        let (own, others): (Vec<&VisiblePart>, Vec<&VisiblePart>) =
            parts.iter().partition(|part| is_of_segment(part, codes, &mut case_counts));
        if !own.iter().any(|part| takes_long(part)) {
            return (None, parts.iter().collect());
        }
        let hash = hash_of(&own);
        let mut known = self.known.lock();
        let is_it = |(of, it): &(u64, Arc<Restriction>)| {
            *of == hash && it.case_counts == case_counts && are_same(&it.parts, &own)
        };
        let at = known.all.iter().position(is_it);
        let found = match at.and_then(|at| known.all.remove(at)) {
            Some((_, found)) => found,
            None => {
                let found = Arc::new(Restriction {
                    number: self.given.fetch_add(1, Ordering::Relaxed),
                    parts: own.into_iter().cloned().collect(),
                    case_counts,
                    resolved: RwLock::default(),
                });
                known.bytes += found.size();
                found
            }
        };
        known.all.push_back((hash, Arc::clone(&found)));
        while known.bytes > MOST_BYTES && known.all.len() > 1 {
            let Some((_, dropped)) = known.all.pop_front() else { break };
            known.bytes -= dropped.size();
        }
        (Some(found), others)
    }

    /// About how much memory they take, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.known.lock().bytes
    }
}

/// The same for restrictions to the same compartments: most have others.
fn hash_of(parts: &[&VisiblePart]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        if let VisibleWithin::Compartments(about) = &part.within {
            about.hash(&mut hasher);
        }
        // Where one ends.
        hasher.write_u8(u8::MAX);
    }
    hasher.finish()
}

impl Restriction {
    /// About how much memory it takes, in bytes.
    fn size(&self) -> usize {
        let of_part = |part: &VisiblePart| {
            let ids = match &part.within {
                VisibleWithin::Anywhere => 0,
                VisibleWithin::Compartments(about) => about.len(),
            };
            let clauses = match &part.types {
                VisibleTypes::All => 0,
                VisibleTypes::These(types) => types.iter().map(|(_, it)| 1 + 4 * it.len()).sum(),
            };
            ids * 64 + clauses * 64
        };
        self.parts.iter().map(of_part).sum::<usize>() + 256
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> &[VisiblePart] {
        &self.parts
    }

    /// For each part the resources whose compartments it shows.
    pub(crate) fn ordinals(&self, names: &RwLock<Names>) -> Arc<[RoaringBitmap]> {
        let now = names.read().len();
        {
            let resolved = self.resolved.read();
            if resolved.ordinals.len() == self.parts.len()
                && (resolved.are_all || resolved.names == now)
            {
                return Arc::clone(&resolved.ordinals);
            }
        }
        let mut are_all = true;
        let mut of_part = |part: &VisiblePart| -> RoaringBitmap {
            let ordinals = part.ordinals(&names.read());
            let asked = match &part.within {
                VisibleWithin::Anywhere => 0,
                VisibleWithin::Compartments(about) => about.len(),
            };
            are_all &= ordinals.len() == asked as u64;
            ordinals
        };
        let ordinals: Arc<[RoaringBitmap]> = self.parts.iter().map(&mut of_part).collect();
        *self.resolved.write() = Resolved { ordinals: Arc::clone(&ordinals), names: now, are_all };
        ordinals
    }
}

impl VisiblePart {
    /// The resources whose compartments it shows, as far as they have ordinals.
    pub(crate) fn ordinals(&self, names: &Names) -> RoaringBitmap {
        match &self.within {
            VisibleWithin::Anywhere => RoaringBitmap::new(),
            VisibleWithin::Compartments(about) => about
                .iter()
                .filter_map(|(of, id)| names.get(of.as_str(), id.as_str()))
                .map(|it| it.0)
                .collect(),
        }
    }
}

/// What one restriction shows of a part of the index, whether or not it has ended.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    all: RoaringBitmap,
    /// Made when first asked for.
    by_type: RwLock<Vec<OfType>>,
}

/// The documents of one type.
#[derive(Debug)]
struct OfType {
    facet: Facet,
    name: Box<str>,
    docs: Arc<RoaringBitmap>,
    /// Those that had not ended when as much had changed as [`Ended::changes`] said.
    current: Option<(u64, Arc<RoaringBitmap>)>,
}

impl Shown {
    pub(crate) fn new(all: RoaringBitmap) -> Self {
        Self { all, by_type: RwLock::default() }
    }

    /// Its documents; what is contained is shown with its container, whether or not it is here.
    pub(crate) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The documents of a type, of the part that it is of: of resources where the facet is
    /// [`Facet::TYPE`], and of contained ones where it is [`Facet::CONTAINED`].
    pub(crate) fn of_type(&self, content: &dyn Part, facet: Facet, of: &str) -> Arc<RoaringBitmap> {
        if let Some(known) = self.by_type.read().iter().find(|it| it.is(facet, of)) {
            return Arc::clone(&known.docs);
        }
        let docs = match content.get(facet, of.as_bytes()) {
            None => RoaringBitmap::new(),
            Some(postings) if facet == Facet::TYPE => postings.and(&self.all),
            Some(postings) => self.contained(content.documents(), postings),
        };
        let docs = Arc::new(docs);
        if content.is_left() {
            return docs;
        }
        let known = OfType { facet, name: of.into(), docs: Arc::clone(&docs), current: None };
        self.by_type.write().push(known);
        docs
    }

    /// Those of [`Self::of_type`] that have not ended by now.
    pub(crate) fn current(
        &self,
        content: &dyn Part,
        (facet, of): (Facet, &str),
        ended: &Ended,
    ) -> Arc<RoaringBitmap> {
        let changes = ended.changes();
        if let Some(known) = self.by_type.read().iter().find(|it| it.is(facet, of))
            && let Some((at, current)) = &known.current
            && *at == changes
        {
            return Arc::clone(current);
        }
        let mut current = self.of_type(content, facet, of);
        if ended.has_some_of(&current) {
            ended.take_from(Arc::make_mut(&mut current));
        }
        if content.is_left() {
            return current;
        }
        if let Some(known) = self.by_type.write().iter_mut().find(|it| it.is(facet, of)) {
            known.current = Some((changes, Arc::clone(&current)));
        }
        current
    }

    /// Those of contained documents whose container is shown: looked for from the containers where
    /// they are fewer, so that it takes no longer for what is not shown.
    fn contained(&self, documents: &Documents, postings: Postings<'_>) -> RoaringBitmap {
        let mut found = Vec::new();
        if self.all.len() < postings.len() {
            for doc in &self.all {
                found.extend(documents.with_contained(doc).skip(1));
            }
            return postings.and(&RoaringBitmap::from_sorted_iter(found).unwrap_or_default());
        }
        postings.for_each(|doc| {
            if self.all.contains(documents.container(doc)) {
                found.push(doc);
            }
        });
        RoaringBitmap::from_sorted_iter(found).unwrap_or_default()
    }

    /// The same without some documents.
    pub(crate) fn without(&self, docs: &RoaringBitmap) -> Self {
        Self::new(&self.all - docs)
    }

    /// At most how much memory it comes to take, in bytes: the types have no document in common,
    /// and there are no more of them than documents.
    fn size(&self) -> usize {
        let types = usize::try_from(self.all.len()).unwrap_or(usize::MAX).min(MOST_TYPES);
        3 * self.all.serialized_size() + 64 + types * 64
    }
}

impl OfType {
    fn is(&self, facet: Facet, of: &str) -> bool {
        self.facet == facet && *self.name == *of
    }
}

/// What a segment keeps.
#[derive(Debug, Default)]
pub(crate) struct KeptSets {
    /// By the number of the restriction. The one that was asked for last stands last.
    shown: Mutex<VecDeque<(u64, Arc<Shown>)>>,
    bytes: AtomicUsize,
}

impl KeptSets {
    /// What a restriction shows, if it is kept.
    pub(crate) fn get(&self, restriction: &Restriction) -> Option<Arc<Shown>> {
        let mut shown = self.shown.lock();
        let at = shown.iter().position(|(number, _)| *number == restriction.number)?;
        let kept = shown.remove(at)?;
        let found = Arc::clone(&kept.1);
        shown.push_back(kept);
        Some(found)
    }

    /// Keeps what a restriction shows of a segment of so many documents, and drops for it what
    /// was not asked for the longest, or the set itself where it is too large.
    pub(crate) fn keep(&self, restriction: &Restriction, set: &Arc<Shown>, documents: u32) {
        let room = (documents as usize * BYTES_PER_DOCUMENT).max(LEAST_ROOM);
        let mut shown = self.shown.lock();
        shown.retain(|(number, _)| *number != restriction.number);
        shown.push_back((restriction.number, Arc::clone(set)));
        let mut bytes: usize = shown.iter().map(|(_, it)| it.size()).sum();
        while bytes > room {
            let Some((_, dropped)) = shown.pop_front() else { break };
            bytes -= dropped.size();
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// About how much memory they take, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Whether to find what it shows takes so long that it is worth to be kept.
fn takes_long(part: &VisiblePart) -> bool {
    let are_many = match &part.within {
        VisibleWithin::Anywhere => true,
        VisibleWithin::Compartments(about) => about.len() > FEW,
    };
    match &part.types {
        VisibleTypes::All => are_many && part.within != VisibleWithin::Anywhere,
        VisibleTypes::These(types) => {
            are_many || types.len() > FEW || types.iter().any(|(_, clauses)| !clauses.is_empty())
        }
    }
}

/// Whether two restrictions are the same. Those of many callers have the same types, and others'
/// compartments.
fn are_same(own: &[VisiblePart], asked: &[&VisiblePart]) -> bool {
    own.len() == asked.len()
        && own.iter().zip(asked).all(|(own, asked)| own.within == asked.within)
        && own.iter().zip(asked).all(|(own, asked)| own.types == asked.types)
}

/// Whether a segment says by itself which of its documents it shows. Adds whether case counts in
/// the systems of which that depends.
fn is_of_segment(part: &VisiblePart, codes: &dyn Codes, case_counts: &mut Vec<bool>) -> bool {
    let VisibleTypes::These(types) = &part.types else { return true };
    let mut clauses = types.iter().flat_map(|(_, clauses)| clauses);
    clauses.all(|it| clause_is(it, codes, case_counts))
}

fn clause_is(clause: &Clause, codes: &dyn Codes, case_counts: &mut Vec<bool>) -> bool {
    match clause {
        Clause::Value(clause) => clause.tests.iter().all(|test| test_is(test, codes, case_counts)),
        Clause::Missing { .. } => true,
        Clause::Chain(_)
        | Clause::Has(_)
        | Clause::List(_)
        | Clause::Text(_)
        | Clause::Content(_) => false,
        Clause::All(clauses) | Clause::Any(clauses) => {
            clauses.iter().all(|it| clause_is(it, codes, case_counts))
        }
        Clause::Not(clause) => clause_is(clause, codes, case_counts),
    }
}

fn test_is(test: &Test, codes: &dyn Codes, case_counts: &mut Vec<bool>) -> bool {
    match test {
        Test::Number(_) | Test::Date(_) | Test::String(_) | Test::Quantity(_) | Test::Near(_) => {
            true
        }
        Test::Token(token) | Test::Reference(ReferenceTest::Identifier(token)) => {
            token_is(token, codes, case_counts)
        }
        Test::Reference(ReferenceTest::Hierarchy { .. })
        | Test::Uri(UriTest::OfResource { .. }) => false,
        // A resource that had no ordinal when the segment was made is referred to by none of it.
        Test::Reference(_) | Test::Uri(_) => true,
        Test::Composite(composite) => {
            composite.parts.iter().all(|test| test_is(test, codes, case_counts))
        }
    }
}

fn token_is(token: &TokenTest, codes: &dyn Codes, case_counts: &mut Vec<bool>) -> bool {
    match token {
        TokenTest::Code { system: SystemTest::Is(system), .. } => {
            case_counts.push(codes.is_case_sensitive(system));
            true
        }
        TokenTest::Code { system: SystemTest::None, .. }
        | TokenTest::System(_)
        | TokenTest::Text(_)
        | TokenTest::MimeBelow(_) => true,
        // Whatever systems the values have.
        TokenTest::Code { system: SystemTest::Any, .. }
        | TokenTest::OfType { .. }
        | TokenTest::In(_)
        | TokenTest::Below { .. }
        | TokenTest::Above { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fhir_core::{ResourceId, ResourceType};
    use fhir_search::NoCodes;
    use roaring::RoaringBitmap;

    use super::{FEW, KeptSets, LEAST_ROOM, MOST_BYTES, Restriction, Restrictions, Shown};
    use crate::visible::{VisiblePart, VisibleTypes, VisibleWithin};

    fn of_patients(first: usize) -> Vec<VisiblePart> {
        let about = (first..=first + FEW).map(|at| {
            (ResourceType::new("Patient").unwrap(), ResourceId::new(&at.to_string()).unwrap())
        });
        let within = VisibleWithin::Compartments(about.collect());
        vec![VisiblePart { types: VisibleTypes::All, within }]
    }

    fn known(restrictions: &Restrictions, first: usize) -> Arc<Restriction> {
        restrictions.of(&of_patients(first), &NoCodes).0.unwrap()
    }

    #[test]
    fn what_is_asked_by_again_is_known_again_until_others_take_its_place() {
        let restrictions = Restrictions::default();
        let first = known(&restrictions, 0);
        assert_eq!(known(&restrictions, 0).number, first.number);
        assert_ne!(known(&restrictions, 1).number, first.number);
        let room = MOST_BYTES / first.size();
        (2..room).for_each(|at| drop(known(&restrictions, at)));
        assert_eq!(known(&restrictions, 0).number, first.number);
        (room..2 * room).for_each(|at| drop(known(&restrictions, at)));
        assert_ne!(known(&restrictions, 0).number, first.number);
        assert!((MOST_BYTES / 2..=MOST_BYTES).contains(&restrictions.size()));
    }

    #[test]
    fn a_thousand_callers_that_see_one_patient_each_are_known_at_once() {
        let (restrictions, kept) = (Restrictions::default(), KeptSets::default());
        let types = ["Patient", "Observation", "Condition", "Encounter", "Procedure"];
        let types = types.iter().cycle().take(FEW + 2);
        let types: Vec<_> = types.map(|of| (ResourceType::new(of).unwrap(), Vec::new())).collect();
        let asked = |at: u32| {
            let patient = ResourceType::new("Patient").unwrap();
            let about = [(patient, ResourceId::new(&at.to_string()).unwrap())];
            let within = VisibleWithin::Compartments(about.into_iter().collect());
            let part = VisiblePart { types: VisibleTypes::These(types.clone().into()), within };
            restrictions.of(&[part], &NoCodes).0.unwrap()
        };
        let numbers: Vec<u64> = (0..1000).map(|at| asked(at).number).collect();
        let again: Vec<u64> = (0..1000).map(|at| asked(at).number).collect();
        assert_eq!(again, numbers);
        // A segment of 200,000 documents has room for what 250 of them see of it, and of most it
        // has nothing.
        for at in 0..1000 {
            let docs = if at % 4 == 0 { at * 100..at * 100 + 100 } else { 0..0 };
            kept.keep(&asked(at), &Arc::new(Shown::new(docs.collect())), 200_000);
        }
        assert!((0..1000).all(|at| kept.get(&asked(at)).is_some()), "{}", kept.size());
    }

    #[test]
    fn a_segment_keeps_no_more_than_it_has_room_for() {
        let (restrictions, kept) = (Restrictions::default(), KeptSets::default());
        let keep = |at: usize, docs: u32| {
            let restriction = known(&restrictions, at);
            let every_second: RoaringBitmap = (0..docs).map(|it| it * 2).collect();
            kept.keep(&restriction, &Arc::new(Shown::new(every_second)), 1_000);
            restriction
        };
        let all: Vec<_> = (0..LEAST_ROOM / 512).map(|at| keep(at, 10)).collect();
        assert!(kept.get(&all[0]).is_none());
        assert!(all[all.len() - 64..].iter().all(|it| kept.get(it).is_some()));
        // A large one takes the place of the others, and one that is too large has none.
        let large = keep(100, 14_000);
        assert!(kept.get(&large).is_some() && kept.get(&all[1]).is_none());
        assert!((1..=LEAST_ROOM).contains(&kept.size()), "{}", kept.size());
        let too_large = keep(101, 1_000_000);
        assert!(kept.get(&too_large).is_none() && kept.size() == 0);
    }
}
