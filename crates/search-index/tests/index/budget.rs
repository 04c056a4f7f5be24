//! What of an index is in memory is bounded, and what cannot be read again is not answered for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use search_index::{
    Context, Index, PieceOf, SearchError, Visible, VisiblePart, VisibleTypes, VisibleWithin,
};
use store::T;

use crate::pieces::Pieces;
use crate::support::{Act, CONTEXT, Site, change, instant, query};

const RESOURCES: u64 = 3000;

fn observation(at: u64) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"o{at}","status":"final",
            "code":{{"coding":[{{"system":"s","code":"c{}"}}]}},
            "subject":{{"reference":"Patient/p{}"}},
            "effectiveDateTime":"2024-01-01T{:02}:{:02}:00Z"}}"#,
        at % 50,
        at % 300,
        at / 60 % 24,
        at % 60
    )
}

/// Several segments, each kept in one of the sources.
fn kept(budget: usize) -> (Site, Vec<Arc<Pieces>>) {
    let index = Index::within(budget);
    for t in 1..=RESOURCES {
        let put = change(&index, T::new(t), Act::Put(observation(t)));
        index.apply(T::new(t), instant(t), vec![put]).unwrap();
        if t % 1000 == 0 {
            index.close_tail();
            index.settle(fhir_core::Instant::MIN);
        }
    }
    let mut sources = Vec::new();
    for segment in index.segments() {
        let mut pieces = Vec::new();
        segment
            .write(&mut |of, piece| {
                if let PieceOf::Keys(facet) = of {
                    pieces.push((facet, piece.to_vec()));
                }
                Ok(())
            })
            .unwrap();
        let source = Arc::new(Pieces::of(pieces));
        segment.keep_in(Arc::clone(&source) as _, &index);
        sources.push(source);
    }
    (Site::over(index), sources)
}

const ASKED: [&str; 6] = [
    "Observation?code=s|c7&_sort=-date",
    "Observation?patient=p7",
    "Observation?date=ge2024-01-01T12:00:00Z&code=c3",
    "Observation?_sort=date&status=final",
    "Observation?code:not=c1",
    "Observation?subject:missing=true",
];

#[test]
fn whatever_is_asked_no_more_is_held_than_may_be_and_the_same_is_found() {
    let (all, sources) = kept(usize::MAX);
    let bytes = all.index.size().held;
    let expected = ASKED.map(|url| all.find(url));
    assert!(sources.iter().all(|source| source.read.load(Ordering::Acquire) == 0));
    for budget in [0, bytes / 10, bytes / 2] {
        let (site, sources) = kept(budget);
        assert!(site.index.size().held <= budget, "{budget}");
        for _ in 0..3 {
            for (url, expected) in ASKED.iter().zip(&expected) {
                assert_eq!(site.find(url), *expected, "{url} within {budget}");
                assert!(site.index.size().held <= budget, "{url} within {budget}");
            }
        }
        let size = site.index.size();
        assert!(size.evicted > 0 && size.loaded > 0, "{size:?}");
        let read = sources.iter().map(|source| source.read.load(Ordering::Acquire) as u64);
        assert_eq!(read.sum::<u64>(), size.loaded);
    }
}

#[test]
fn what_is_asked_again_is_not_read_again_while_there_is_room() {
    let (site, _sources) = kept(0);
    let (roomy, sources) = kept(site.index.size().bytes + (8 << 20));
    roomy.find(ASKED[0]);
    let read = |sources: &[Arc<Pieces>]| -> usize {
        sources.iter().map(|it| it.read.load(Ordering::Acquire)).sum()
    };
    assert_eq!(read(&sources), 0);
    roomy.index.load(&|| false).unwrap();
    assert_eq!(read(&sources), 0);
    assert_eq!(site.index.size().held, 0);
    site.index.load(&|| false).unwrap();
    assert_eq!(site.index.size().held, 0);
}

#[test]
fn a_search_reads_the_keys_of_what_it_asks_by_and_no_others() {
    let (site, sources) = kept(0);
    let facets = site.index.segments()[0].facets().len();
    assert!(facets > 12, "{facets}");
    for url in ASKED {
        sources.iter().for_each(|source| source.facets.lock().unwrap().clear());
        site.find(url);
        for source in &sources {
            let read = source.facets.lock().unwrap().len();
            assert!((1..=4).contains(&read), "{url} reads {read} of {facets}");
        }
    }
}

#[test]
fn who_has_left_waits_for_no_reading_and_leaves_nothing_behind() {
    let patient = |at: u64| {
        let of = fhir_core::ResourceType::new("Patient").unwrap();
        (of, fhir_core::ResourceId::new(&format!("p{at}")).unwrap())
    };
    let within = VisibleWithin::Compartments((0..100).map(patient).collect());
    let some = Visible::Any(vec![VisiblePart { types: VisibleTypes::All, within }]);
    let (all, _sources) = kept(usize::MAX);
    for visible in [Visible::Everything, some] {
        let (site, sources) = kept(0);
        let count =
            || -> usize { sources.iter().map(|source| source.read.load(Ordering::Acquire)).sum() };
        for url in ASKED {
            let before = (count(), site.index.size().loaded);
            let expected = all.find_at(all.t(), &visible, url).unwrap();
            let left = Arc::new(AtomicBool::new(false));
            for source in &sources {
                *source.leaves.lock().unwrap() = Some(Arc::clone(&left));
            }
            let context = Context { cancelled: &left, ..CONTEXT };
            let query = query(url);
            let search = site.index.search(site.t(), &visible, context);
            let found = search.and_then(|search| search.find(&query)?.page(None, 10));
            assert_eq!(found.err(), Some(SearchError::Cancelled), "{url}");
            let after = (count(), site.index.size().loaded);
            assert_eq!(after, (before.0 + 1, before.1), "{url}");
            assert_eq!(site.index.harm(), None);
            for source in &sources {
                *source.leaves.lock().unwrap() = None;
            }
            assert_eq!(site.find_at(site.t(), &visible, url).unwrap(), expected, "{url}");
        }
    }
}

#[test]
fn where_nothing_can_go_nothing_more_stays_and_nothing_is_looked_for() {
    let index = Index::within(1000);
    for t in 1..=RESOURCES {
        let put = change(&index, T::new(t), Act::Put(observation(t)));
        index.apply(T::new(t), instant(t), vec![put]).unwrap();
    }
    index.close_tail();
    index.settle(fhir_core::Instant::MIN);
    let (all, _sources) = kept(usize::MAX);
    let held = index.size().held;
    assert!(held > 1000);
    // As its segments are not kept anywhere.
    let search = index.search(index.head(), &Visible::Everything, CONTEXT).unwrap();
    for url in ASKED {
        let query = query(url);
        let found = search.find(&query).unwrap();
        found.page(None, 10).unwrap();
        assert_eq!(found.total(), all.find(url).len() as u64, "{url}");
    }
    let size = index.size();
    assert_eq!((size.held, size.evicted, size.loaded), (held, 0, 0));
}

#[test]
fn what_cannot_be_read_is_never_taken_for_nothing_and_is_known() {
    for url in ASKED {
        let (site, sources) = kept(0);
        assert_eq!(site.index.harm(), None);
        sources[1].is_gone.store(true, Ordering::Release);
        assert_eq!(site.search(url), Err(SearchError::Unreadable), "{url}");
        let search = site.index.search(site.t(), &Visible::Everything, CONTEXT);
        let refused = search.unwrap_err();
        assert_eq!(refused, SearchError::Unreadable);
        assert!(site.index.may_be_harmed());
        let why = site.index.harm().unwrap();
        assert_eq!(why, "it cannot be read: it was removed");
        // A merge does not take it for nothing either.
        assert!(site.index.segments()[1].write(&mut |_, _| Ok(())).is_err());
        site.index.forget_all();
        assert_eq!((site.index.harm(), site.index.may_be_harmed()), (None, false));
        assert_eq!(site.index.size().documents, 0);
        let search = site.index.search(T::ZERO, &Visible::Everything, CONTEXT).unwrap();
        assert_eq!(search.find(&query(url)).unwrap().total(), 0);
    }
}

#[test]
fn an_index_that_began_anew_finds_what_the_log_says() {
    let (mut site, sources) = kept(0);
    let expected = ASKED.map(|url| site.find(url));
    sources[0].is_gone.store(true, Ordering::Release);
    assert!(site.search(ASKED[0]).is_err());
    let old = site.index.segments().len();
    site.index.forget_all();
    let head = site.t();
    site = Site::over(site.index);
    for t in 1..=head.get() {
        assert_eq!(site.put(&observation(t)), T::new(t));
    }
    assert!(old > 1 && site.index.segments().is_empty());
    assert_eq!(ASKED.map(|url| site.find(url)), expected);
    site.settle();
    assert_eq!(ASKED.map(|url| site.find(url)), expected);
}

#[test]
fn searches_at_once_find_the_same_while_what_they_read_leaves_the_memory() {
    let (all, _sources) = kept(usize::MAX);
    let expected = ASKED.map(|url| all.find(url));
    let (site, _sources) = kept(all.index.size().held / 10);
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (site, expected) = (&site, &expected);
            scope.spawn(move || {
                for round in 0..30 {
                    let at = (round + reader) % ASKED.len();
                    assert_eq!(site.find(ASKED[at]), expected[at], "{}", ASKED[at]);
                }
            });
        }
    });
    assert!(site.index.size().evicted > 0);
}

#[test]
fn segments_that_are_kept_are_merged_and_purged_like_others() {
    let (site, _sources) = kept(0);
    let before = ASKED.map(|url| site.find(url));
    let name = |at: u64| {
        let of = fhir_core::ResourceType::new("Observation").unwrap();
        (of, fhir_core::ResourceId::new(&format!("o{at}")).unwrap())
    };
    site.index.forget(&[name(7), name(1507)]);
    for (url, before) in ASKED.iter().zip(before) {
        let without = before
            .into_iter()
            .filter(|it| !matches!(&**it, "Observation/o7" | "Observation/o1507"));
        assert_eq!(site.find(url), without.collect::<Vec<_>>(), "{url}");
    }
    assert_eq!(site.index.size().documents, RESOURCES - 2);
}

#[test]
fn no_resource_is_said_to_be_hidden_by_what_cannot_be_read_any_more() {
    // LEAK-07: whoever asks looks at the resources themselves then.
    let of: fhir_core::ResourceType = "Observation".parse().unwrap();
    let names = [1, 1500, RESOURCES].map(|at| format!("o{at}").parse::<fhir_core::ResourceId>());
    let names = names.map(Result::unwrap);
    let (site, sources) = kept(0);
    let search = site.index.search(site.t(), &Visible::Everything, CONTEXT).unwrap();
    let shown = || search.shows_resources(names.iter().map(|id| (&of, id)));
    assert_eq!(shown(), Ok(vec![true; 3]));
    sources[1].is_gone.store(true, Ordering::Release);
    assert_eq!(site.search(ASKED[0]), Err(SearchError::Unreadable));
    assert_eq!(shown(), Err(SearchError::Unreadable));
    let (site, _sources) = kept(0);
    let search = site.index.search(site.t(), &Visible::Everything, CONTEXT).unwrap();
    site.index.forget_all();
    let shown = search.shows_resources(names.iter().map(|id| (&of, id)));
    assert_eq!(shown, Err(SearchError::Unreadable));
}
