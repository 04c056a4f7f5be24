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

#[test]
fn a_range_of_a_quantity_costs_what_is_within_it() {
    // SRCH-131
    let mut site = Site::default();
    for at in 0..3000 {
        site.put(&format!(
            r#"{{"resourceType":"Observation","id":"o{at}","valueQuantity":{{"value":{}.{},
                "system":"http://unitsofmeasure.org","code":"cm"}}}}"#,
            at / 10,
            at % 10
        ));
    }
    site.settle();
    let ask = |url: &str| {
        let search = site.index.search(site.t(), &Visible::Everything, CONTEXT).unwrap();
        let total = search.find(&query(url)).unwrap().total();
        (total, search.cost())
    };
    let unit = "|http://unitsofmeasure.org|cm";
    let (most, wide) = ask(&format!("Observation?value-quantity=ge10{unit}"));
    let both = format!("value-quantity=ge10{unit}&value-quantity=lt11.5{unit}");
    let (few, narrow) = ask(&format!("Observation?{both}"));
    assert_eq!((most, few), (2900, 15));
    assert!(narrow < wide, "{narrow} of {wide}");
}

#[test]
fn what_is_hidden_costs_nothing() {
    // SRCH-253
    let mut site = many();
    let visible = crate::visibility::of_types(&["Patient", "Medication", "Observation"]);
    let costs = |site: &Site| {
        let urls = [
            "Patient?family=family7",
            "Patient?_lastUpdated=gt2000",
            "Medication?status=active",
            "Medication?_contained=true",
            "Medication?_contained=both&_lastUpdated=gt2000",
            "Patient?_has:Observation:subject:status=final",
            "Observation?subject:Patient.family=family7",
        ];
        urls.map(|url| {
            let query = query(url);
            let search = site.index.search(site.t(), &visible, CONTEXT).unwrap();
            search.find(&query).unwrap().page(None, 10).unwrap();
            search.cost()
        })
    };
    let before = costs(&site);
    for at in 0..100 {
        site.put(&format!(
            r##"{{"resourceType":"MedicationRequest","id":"m{at}","contained":[
                {{"resourceType":"Medication","id":"a","status":"active"}}],
                "subject":{{"reference":"Patient/p{at}"}},"medicationReference":{{"reference":"#a"}}}}"##
        ));
    }
    assert_eq!(costs(&site), before);
}

#[test]
fn to_look_at_what_has_changed_since_is_paid_for() {
    // LEAK-17
    let observation = |at: u64| {
        format!(
            r#"{{"resourceType":"Observation","id":"o{at}","status":"final","code":{{}},
                "subject":{{"reference":"Patient/p{}"}}}}"#,
            at % 2
        )
    };
    let mut site = Site::default();
    for at in 0..200 {
        site.put(&observation(at));
    }
    let before = site.t();
    let visible = crate::visibility::of_patients(&["p0"]);
    let cost = |site: &Site| site.index.search(before, &visible, CONTEXT).unwrap().cost();
    let unchanged = cost(&site);
    for at in 0..200 {
        site.put(&observation(at));
    }
    // Of those that may be seen each is looked at again; the others, and they alone, are free.
    let changed = cost(&site) - unchanged;
    assert!((100..200).contains(&changed), "{changed}");
}
