//! Which resource has which ordinal, and what each parameter's number is.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use fhir_core::{ResourceId, ResourceType};
use fhir_search::Kind;
use roaring::RoaringBitmap;
use smallvec::SmallVec;
use store::T;

use crate::documents::Ordinal;
use crate::facet::{AsItIs, FIRST_NUMBER, Number};
use crate::prepare::is_contained;

/// The resources that the index knows of: those that were there, and those that are referred to.
#[derive(Debug, Default)]
pub(crate) struct Names {
    types: Vec<ResourceType>,
    type_numbers: HashMap<Box<str>, u32>,
    /// Type, and where the id ends in `ids`, by ordinal.
    names: Vec<(u32, u64)>,
    ids: Vec<u8>,
    /// By a keyed hash, so that nobody can make names that collide.
    table: HashMap<u64, SmallVec<[u32; 2]>, AsItIs>,
    hasher: RandomState,
    /// The commit of each resource's newest version that has not ended; [`T::ZERO`] for none.
    current: Vec<T>,
    /// Those that are contained in others.
    contained: RoaringBitmap,
}

impl Names {
    /// The ordinal of a resource, if it has one.
    pub(crate) fn get(&self, resource_type: &str, id: &str) -> Option<Ordinal> {
        let of = *self.type_numbers.get(resource_type)?;
        let found = self.table.get(&self.hasher.hash_one((of, id)))?;
        found.iter().copied().map(Ordinal).find(|ordinal| self.is(*ordinal, of, id))
    }

    /// The ordinal of a resource, which is given if it has none.
    pub(crate) fn get_or_give(&mut self, resource_type: &ResourceType, id: &str) -> Ordinal {
        let of = match self.type_numbers.get(resource_type.as_str()) {
            Some(of) => *of,
            None => {
                let of = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
                self.types.push(resource_type.clone());
                self.type_numbers.insert(resource_type.as_str().into(), of);
                of
            }
        };
        let hash = self.hasher.hash_one((of, id));
        let same_hash = self.table.get(&hash).map_or(&[][..], |found| found);
        if let Some(known) = same_hash.iter().find(|it| self.is(Ordinal(**it), of, id)) {
            return Ordinal(*known);
        }
        let ordinal = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.ids.extend_from_slice(id.as_bytes());
        self.names.push((of, self.ids.len() as u64));
        self.current.push(T::ZERO);
        if is_contained(id) {
            self.contained.insert(ordinal);
        }
        self.table.entry(hash).or_default().push(ordinal);
        Ordinal(ordinal)
    }

    fn is(&self, ordinal: Ordinal, of: u32, id: &str) -> bool {
        self.names[ordinal.0 as usize].0 == of && self.id_bytes(ordinal) == id.as_bytes()
    }

    fn id_bytes(&self, ordinal: Ordinal) -> &[u8] {
        let at = ordinal.0 as usize;
        let start = if at == 0 { 0 } else { self.names[at - 1].1 };
        let (start, end) = (usize::try_from(start), usize::try_from(self.names[at].1));
        match (start, end) {
            (Ok(start), Ok(end)) => &self.ids[start..end],
            _ => &[],
        }
    }

    /// The resources that are contained in others.
    pub(crate) fn contained(&self) -> &RoaringBitmap {
        &self.contained
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// The number of a resource's type among [`Names::types`], and its id.
    pub(crate) fn parts(&self, ordinal: u32) -> (u32, &[u8]) {
        (self.names[ordinal as usize].0, self.id_bytes(Ordinal(ordinal)))
    }

    /// Every type that a resource has had, or has been referred to by.
    pub(crate) fn types(&self) -> &[ResourceType] {
        &self.types
    }

    /// The type of a resource.
    pub(crate) fn type_of(&self, ordinal: Ordinal) -> &ResourceType {
        &self.types[self.names[ordinal.0 as usize].0 as usize]
    }

    /// The id of a resource, as text.
    pub(crate) fn id_text(&self, ordinal: Ordinal) -> &str {
        std::str::from_utf8(self.id_bytes(ordinal)).unwrap_or_default()
    }

    /// Type and id of a resource. `None` for the target of a reference whose id breaks FHIR's
    /// rules, which no resource has.
    pub(crate) fn name(&self, ordinal: Ordinal) -> Option<(ResourceType, ResourceId)> {
        let id = ResourceId::new(self.id_text(ordinal)).ok()?;
        Some((self.type_of(ordinal).clone(), id))
    }

    /// The commit of a resource's version at the head of the log.
    pub(crate) fn current(&self, ordinal: Ordinal) -> Option<T> {
        Some(self.current[ordinal.0 as usize]).filter(|t| *t != T::ZERO)
    }

    /// Notes the commit of a resource's version at the head of the log, or that it has none.
    pub(crate) fn set_current(&mut self, ordinal: Ordinal, t: Option<T>) {
        self.current[ordinal.0 as usize] = t.unwrap_or(T::ZERO);
    }

    /// Notes that no resource has a version.
    pub(crate) fn end_all(&mut self) {
        self.current.fill(T::ZERO);
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let contained = self.contained.serialized_size();
        self.ids.len() + self.names.len() * (16 + 8) + self.table.len() * 40 + contained
    }
}

/// Numbers of parameters, by type and code: they stay when the definitions are read again.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    by_type: HashMap<Box<str>, HashMap<Box<str>, Number>>,
    /// Those of reference parameters, by type and code: in an order that does not tell which of
    /// them some resource had first.
    references: BTreeMap<(Box<str>, Box<str>), Number>,
    count: u32,
}

impl Numbers {
    /// The number of a parameter that some resource has been indexed for.
    pub(crate) fn get(&self, resource_type: &str, code: &str) -> Option<Number> {
        self.by_type.get(resource_type)?.get(code).copied()
    }

    /// The number of a parameter, which is given if it has none.
    pub(crate) fn get_or_give(&mut self, resource_type: &str, code: &str, kind: Kind) -> Number {
        if let Some(known) = self.get(resource_type, code) {
            return known;
        }
        let number = Number(FIRST_NUMBER + self.count);
        self.count += 1;
        self.by_type.entry(resource_type.into()).or_default().insert(code.into(), number);
        if kind == Kind::Reference {
            self.references.insert((resource_type.into(), code.into()), number);
        }
        number
    }

    /// All in the order of their numbers: type, code, and whether it is one of references.
    pub(crate) fn all(&self) -> Vec<(&str, &str, bool)> {
        let all = self.by_type.iter().flat_map(|(of, codes)| {
            codes.iter().map(move |(code, number)| (*number, &**of, &**code))
        });
        let mut all: Vec<(Number, &str, &str)> = all.collect();
        all.sort_unstable();
        let is_reference = |number: Number| self.references.values().any(|it| *it == number);
        all.into_iter().map(|(number, of, code)| (of, code, is_reference(number))).collect()
    }

    /// The types of which some resource has been indexed for a parameter with this code.
    pub(crate) fn types_with(&self, code: &str) -> Vec<Box<str>> {
        let with = self.by_type.iter().filter(|(_, codes)| codes.contains_key(code));
        let mut types: Vec<Box<str>> = with.map(|(of, _)| of.clone()).collect();
        types.sort_unstable();
        types
    }

    /// The reference parameters of a type, or of every type, that some resource has been indexed
    /// for, in the order of their types and codes; each with its type.
    pub(crate) fn references(&self, of: Option<&str>) -> Vec<(Box<str>, Number)> {
        let all = self.references.iter();
        let all = all.filter(|((it, _), _)| of.is_none_or(|of| **it == *of));
        all.map(|((it, _), number)| (it.clone(), *number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, Numbers};
    use fhir_core::ResourceType;
    use fhir_search::Kind;

    #[test]
    fn a_resource_keeps_its_ordinal_and_gives_back_its_name() {
        let mut names = Names::default();
        let (patient, group) =
            (ResourceType::new("Patient").unwrap(), ResourceType::new("Group").unwrap());
        let given = [
            names.get_or_give(&patient, "a"),
            names.get_or_give(&group, "a"),
            names.get_or_give(&patient, "b"),
            names.get_or_give(&patient, "a"),
        ];
        assert_eq!(given.map(|it| it.0), [0, 1, 2, 0]);
        assert_eq!(names.get("Group", "a"), Some(given[1]));
        assert_eq!(names.get("Group", "b"), None);
        let (of, id) = names.name(given[2]).unwrap();
        assert_eq!((of.as_str(), id.as_str()), ("Patient", "b"));
    }

    #[test]
    fn no_number_of_types_makes_two_resources_one() {
        let mut names = Names::default();
        let letters = |at: u32| ['a', 'b', 'c', 'd'].map(|_| at).into_iter().enumerate();
        let name = |at: u32| {
            let each = letters(at).map(|(place, at)| {
                char::from(b'a' + u8::try_from(at / 26_u32.pow(place as u32) % 26).unwrap())
            });
            format!("A{}", each.collect::<String>())
        };
        for at in 0..70_000 {
            let of = ResourceType::new(&name(at)).unwrap();
            assert_eq!(names.get_or_give(&of, "1").0, at);
        }
        let last = names.get(&name(69_999), "1").unwrap();
        assert_eq!(names.name(last).unwrap().0.as_str(), name(69_999));
    }

    #[test]
    fn a_parameter_keeps_its_number() {
        let mut numbers = Numbers::default();
        let first = numbers.get_or_give("Patient", "name", Kind::String);
        assert_ne!(numbers.get_or_give("Practitioner", "name", Kind::String), first);
        assert_eq!(numbers.get_or_give("Patient", "name", Kind::String), first);
        assert_eq!(numbers.get("Patient", "name"), Some(first));
        assert_eq!(numbers.get("Patient", "family"), None);
    }
}
