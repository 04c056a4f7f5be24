//! A search stops when it costs too much, and when nobody waits for it any more.

use std::sync::atomic::{AtomicBool, Ordering};

use search_index::{Context, Cursor, SearchError, Visible};

use crate::support::{CONTEXT, Site, query};

fn many() -> Site {
    let mut site = Site::default();
    for at in 0..300 {
        site.put(&format!(
            r#"{{"resourceType":"Patient","id":"p{at}","name":[{{"family":"Family{at}"}}]}}"#
        ));
    }
    site
}

#[test]
fn a_search_that_looks_at_too_much_is_refused_and_says_how_much_it_may() {
    // SRCH-250
    let site = many();
    let ask = |url: &str, budget| {
        let query = query(url);
        let context = Context { budget, ..CONTEXT };
        let search = site.index.search(site.t(), &Visible::Everything, context).unwrap();
        let found = search.find(&query)?;
        let page = found.page(None, 10)?;
        Ok((found.total(), page.hits.len(), search.cost()))
    };
    for _ in 0..2 {
        let everywhere = "Patient?name:contains=ily29";
        assert_eq!(ask(everywhere, 100), Err(SearchError::TooCostly { limit: 100 }));
        let (total, hits, cost) = ask(everywhere, 10_000).unwrap();
        assert_eq!((total, hits), (11, 10));
        assert!((300..1000).contains(&cost), "{cost}");
        // What is looked up costs little.
        assert!(ask("Patient?_id=p7", 100).is_ok());
        assert!(ask("Patient?family=family77", 100).is_ok());
        site.settle();
    }
}

#[test]
fn a_cancelled_search_stops() {
    let site = many();
    let cancelled = AtomicBool::new(false);
    let context = Context { cancelled: &cancelled, ..CONTEXT };
    let search = site.index.search(site.t(), &Visible::Everything, context).unwrap();
    let query = query("Patient?name:contains=ily29");
    assert_eq!(search.find(&query).map(|found| found.total()), Ok(11));
    cancelled.store(true, Ordering::Relaxed);
    assert_eq!(search.find(&query).map(|found| found.total()), Err(SearchError::Cancelled));
}

#[test]
fn a_page_deep_in_the_result_costs_no_more_than_the_first() {
    // SRCH-207
    let mut site = Site::default();
    for at in 0..3000 {
        let (year, family) = (1900 + at * 7 % 100, at % 13);
        site.put(&format!(
            r#"{{"resourceType":"Patient","id":"p{at}","birthDate":"{year}",
                "name":[{{"family":"Family{family}"}}]}}"#
        ));
    }
    site.settle();
    for url in ["Patient", "Patient?_sort=birthdate", "Patient?_sort=family,-birthdate"] {
        let query = query(url);
        let page = |after: Option<&Cursor>, most: usize| {
            let search = site.index.search(site.t(), &Visible::Everything, CONTEXT).unwrap();
            let found = search.find(&query).unwrap();
            let page = found.page(after, most).unwrap();
            assert_eq!(page.hits.len(), most, "{url}");
            (page.next.unwrap(), search.cost())
        };
        // The orders are kept from here on.
        let (deep, _) = page(None, 2900);
        let (_, first) = page(None, 10);
        let (_, later) = page(Some(&deep), 10);
        assert!(later <= first + 20, "{url}: {later} after {first}");
    }
}
