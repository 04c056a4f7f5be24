//! Questions to the state: versions and bearers of identifiers, run by run, the newest first. How
//! runs come and go is not here.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use fhir_core::ResourceId;
use store::T;

use super::filter::Sought;
use super::{State, run};
use crate::keys::{Pointer, all_versions, bearer, first_position, position, sought};

impl State {
    /// Calls `found` for each key within `keys`, which are sought by the same, run by run, the
    /// newest run first, until it answers false.
    fn each(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        mut found: impl FnMut(&[u8], &[u8]) -> Result<bool, String>,
    ) -> Result<(), String> {
        let common = sought(keys.start()).ok_or("what is sought in it is no key")?;
        let common = Sought::of(common);
        let mut more = true;
        for run in self.runs().iter().rev().filter(|run| run.may_hold(common)) {
            run::each(&self.trees, run.entry.number, keys, |key, value| {
                more = found(key, value)?;
                Ok(more)
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// The first of these keys, which is the newest version's.
    pub(crate) fn first(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
    ) -> Result<Option<(T, Pointer)>, String> {
        self.find(keys, |_| true)
    }

    /// The first of these keys whose version is wanted.
    pub(crate) fn find(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        wanted: impl Fn(&Pointer) -> bool,
    ) -> Result<Option<(T, Pointer)>, String> {
        self.guarded(|| {
            let mut wanted_one = None;
            // A newer run has the newer versions.
            self.each(keys, |key, value| {
                let (t, pointer) = version(key, value)?;
                if wanted(&pointer) {
                    wanted_one = Some((t, pointer));
                }
                Ok(wanted_one.is_none())
            })?;
            Ok(wanted_one)
        })
    }

    /// Adds all of these keys, the newest version's first.
    pub(crate) fn all(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        into: &mut Vec<(T, Pointer)>,
    ) -> Result<(), String> {
        self.guarded(|| {
            self.each(keys, |key, value| {
                into.push(version(key, value)?);
                Ok(true)
            })
        })
    }

    /// Adds the resources whose keys begin with `prefix`, a bearers' key, and that stood there at
    /// `at`.
    pub(crate) fn bearers(
        &self,
        prefix: &[u8],
        at: T,
        into: &mut BTreeSet<ResourceId>,
    ) -> Result<(), String> {
        // No id begins with this byte.
        let end = [prefix, &[u8::MAX]].concat();
        self.guarded(|| {
            self.each(&(prefix.to_vec()..=end), |key, value| {
                let first = first_position(value).ok_or_else(|| malformed("identifier"))?;
                let id = bearer(prefix, key).ok_or_else(|| malformed("bearer"))?;
                if first <= at {
                    into.insert(id);
                }
                Ok(true)
            })
        })
    }

    /// The first position at which the resource of this key bore its identifier.
    pub(crate) fn first_borne(&self, key: &[u8]) -> Result<Option<T>, String> {
        self.guarded(|| {
            let mut first: Option<T> = None;
            self.each(&(key.to_vec()..=key.to_vec()), |_, value| {
                let borne = first_position(value).ok_or_else(|| malformed("identifier"))?;
                first = Some(first.map_or(borne, |first| first.min(borne)));
                Ok(true)
            })?;
            Ok(first)
        })
    }

    /// How many versions up to `at` have a key.
    pub(crate) fn count_versions(&self, at: T) -> Result<u64, String> {
        self.guarded(|| {
            let mut count = 0;
            for run in self.runs().iter() {
                run::each(&self.trees, run.entry.number, &all_versions(), |key, value| {
                    let (t, _) = version(key, value)?;
                    count += u64::from(t <= at);
                    Ok(true)
                })?;
            }
            Ok(count)
        })
    }
}

fn version(key: &[u8], value: &[u8]) -> Result<(T, Pointer), String> {
    let t = position(key).ok_or_else(|| malformed("key"))?;
    let pointer = Pointer::decode(value).ok_or_else(|| malformed("pointer"))?;
    Ok((t, pointer))
}

fn malformed(what: &str) -> String {
    format!("a {what} in it is not one")
}
