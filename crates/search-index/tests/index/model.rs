//! Random commits, settling and searches at any `t`, against a list of what was written.

use std::collections::BTreeMap;

use fhir_core::Instant;
use proptest::prelude::*;
use search_index::Visible;
use store::T;

use crate::checkpoint::Saved;
use crate::support::{Act, Site, instant};

/// One version: its code, whether it has a date and which, and which other it refers to.
#[derive(Debug, Clone)]
struct Version {
    code: u8,
    day: Option<u8>,
    member: Option<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A commit: resources with their new version, or none when deleted.
    Commit(BTreeMap<u8, Option<Version>>),
    CloseTail,
    Settle,
    /// Writes it down and makes it again.
    Restore,
    /// Drops what had ended so many commits ago.
    SettleFrom(u64),
}

fn version() -> impl Strategy<Value = Version> {
    (0_u8..4, prop::option::of(1_u8..9), prop::option::of(0_u8..12))
        .prop_map(|(code, day, member)| Version { code, day, member })
}

fn step() -> impl Strategy<Value = Step> {
    let commit =
        prop::collection::btree_map(0_u8..12, prop::option::weighted(0.8, version()), 1..5);
    prop_oneof![
        6 => commit.prop_map(Step::Commit),
        2 => Just(Step::CloseTail),
        2 => Just(Step::Settle),
        1 => Just(Step::Restore),
        1 => (0_u64..20).prop_map(Step::SettleFrom),
    ]
}

/// What there is at a `t`, in the order of the log.
type State = Vec<(u8, Version)>;

fn ids(state: &State, holds: impl Fn(&(u8, Version)) -> bool) -> Vec<String> {
    state.iter().filter(|it| holds(it)).map(|(id, _)| format!("Observation/{id}")).collect()
}

fn json(id: u8, version: &Version) -> String {
    let Version { code, day, member } = version;
    let day = day.map(|day| format!(r#","effectiveDateTime":"2024-01-0{day}""#));
    let member = member.map(|to| format!(r#","hasMember":[{{"reference":"Observation/{to}"}}]"#));
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final",
            "code":{{"coding":[{{"code":"c{code}"}}]}}{}{}}}"#,
        day.unwrap_or_default(),
        member.unwrap_or_default(),
    )
}

fn check(site: &Site, t: u64, state: &State) {
    let refers = |from: &Version, holds: &dyn Fn(&Version) -> bool| {
        from.member.is_some_and(|to| state.iter().any(|(id, it)| *id == to && holds(it)))
    };
    let find = |url: &str| site.find_at(T::new(t), &Visible::Everything, url).unwrap();
    let is = |url: &str, holds: &dyn Fn(&(u8, Version)) -> bool| {
        assert_eq!(find(url), ids(state, holds), "{url} at {t}");
    };
    is("Observation?", &|_| true);
    is("Observation?code=c1,c2", &|(_, it)| matches!(it.code, 1 | 2));
    is("Observation?code:not=c1", &|(_, it)| it.code != 1);
    is("Observation?date:missing=true", &|(_, it)| it.day.is_none());
    is("Observation?date=ge2024-01-05&code=c0,c1", &|(_, it)| {
        it.day.is_some_and(|day| day >= 5) && it.code < 2
    });
    is("Observation?has-member.code=c3", &|(_, it)| refers(it, &|to| to.code == 3));
    is("Observation?has-member:Observation.date:missing=true", &|(_, it)| {
        refers(it, &|to| to.day.is_none())
    });
    is("Observation?_has:Observation:has-member:code=c0", &|(id, _)| {
        state.iter().any(|(_, from)| from.code == 0 && from.member == Some(*id))
    });
    let mut by_day = state.clone();
    by_day.sort_by_key(|(_, it)| it.day.unwrap_or(u8::MAX));
    assert_eq!(find("Observation?_sort=date"), ids(&by_day, |_| true), "by date at {t}");
    let mut by_code = state.clone();
    by_code.sort_by_key(|(_, it)| {
        (std::cmp::Reverse(it.code), it.day.map_or(u8::MAX, |day| 100 - day))
    });
    assert_eq!(find("Observation?_sort=-code,-date"), ids(&by_code, |_| true), "by code at {t}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // SRCH-205, SRCH-245
    #[test]
    fn every_search_at_every_t_finds_what_was_there(steps in prop::collection::vec(step(), 1..40)) {
        let mut site = Site::default();
        let mut furthest = 0;
        let mut states: Vec<State> = vec![Vec::new()];
        for step in steps {
            match step {
                Step::Commit(changes) => {
                    let mut state = states.last().cloned().unwrap_or_default();
                    let mut acts = Vec::new();
                    for (id, version) in changes {
                        state.retain(|(it, _)| *it != id);
                        match version {
                            Some(version) => {
                                acts.push(Act::Put(json(id, &version)));
                                state.push((id, version));
                            }
                            None => acts.push(Act::Delete("Observation", id.to_string())),
                        }
                    }
                    site.commit(acts);
                    states.push(state);
                }
                Step::CloseTail => site.index.close_tail(),
                Step::Settle => { site.index.settle(Instant::MIN); }
                Step::Restore => {
                    site = Site::over(Saved::of(&site.index).restored().unwrap());
                    prop_assert_eq!(site.t().get() + 1, states.len() as u64);
                }
                Step::SettleFrom(ago) => {
                    let horizon = site.t().get().saturating_sub(ago);
                    site.index.settle(instant(horizon));
                    furthest = horizon.max(furthest);
                    prop_assert!(site.index.oldest().get() <= furthest);
                }
            }
        }
        for (t, state) in (0..).zip(&states).skip(usize::try_from(site.index.oldest().get()).unwrap()) {
            check(&site, t, state);
        }
    }
}
