//! What a search would look at is told before it runs.

use fhir_core::ResourceType;
use search_index::{
    Context, Costliest, Plan, Search, Visible, VisiblePart, VisibleTypes, VisibleWithin, Way,
};

use crate::support::{CONTEXT, Site, query};

/// 400 patients in 20 families, each with three observations, and one patient with 500 more.
fn clinic() -> Site {
    let mut site = Site::default();
    for at in 0..400 {
        let family = at % 20;
        site.put(&format!(
            r#"{{"resourceType":"Patient","id":"p{at}","name":[{{"family":"Family{family}"}}],
            "birthDate":"{}-01-01","active":{}}}"#,
            1920 + at % 100,
            at % 2 == 0
        ));
    }
    for at in 0..1_700 {
        let patient = if at < 1_200 { at % 400 } else { 0 };
        site.put(&format!(
            r#"{{"resourceType":"Observation","id":"o{at}","status":"final",
            "code":{{"coding":[{{"system":"s","code":"c{}"}}]}},
            "subject":{{"reference":"Patient/p{patient}"}},
            "effectiveDateTime":"2020-01-{:02}"}}"#,
            at % 10,
            1 + at % 28
        ));
    }
    site
}

fn search<'s>(site: &'s Site, visible: &Visible) -> Search<'s> {
    let context = Context { budget: 1_000_000, ..CONTEXT };
    site.index.search(site.t(), visible, context).unwrap()
}

/// What is planned, and what it costs then.
fn planned(site: &Site, url: &str) -> (Plan, u64) {
    let query = query(url);
    let search = search(site, &Visible::Everything);
    let plan = search.plan(&query, 20, 1_000).unwrap();
    assert_eq!(search.cost(), 0, "a plan looks at nothing: {url}");
    let found = search.find(&query).unwrap();
    let page = found.page(None, 20).unwrap();
    search.include(&page.hits, &query.includes, 1_000).unwrap();
    (plan, search.cost())
}

#[test]
fn what_is_estimated_is_about_what_it_costs() {
    // SRCH-250
    let site = clinic();
    for round in 0..3 {
        for url in [
            "Patient?_id=p7",
            "Patient?family=family7",
            "Patient?name:contains=ily1",
            "Patient?birthdate=ge1950&birthdate=lt1960",
            "Patient?birthdate=gt1900&active=true",
            "Patient?active:not=true",
            "Patient?gender:missing=true",
            "Observation?code=s|c3",
            "Observation?patient=p7&code=s|c3&_sort=-date",
            "Observation?_sort=date",
            "Observation?subject:Patient.family=family7",
            "Observation?subject:Patient.name:contains=ily1&code=s|c1",
            "Patient?_has:Observation:subject:code=s|c3",
            "Patient?_id=p7&_revinclude=Observation:subject",
            "Observation?code=s|c3&_include=Observation:subject",
            "Observation?code=s|c3&_include=*",
            "Patient?family=family7&_include=*",
            "?_type=Patient,Observation&_lastUpdated=gt2000",
        ] {
            let (plan, cost) = planned(&site, url);
            let estimated = plan.cost;
            // What is small differs by what each part takes.
            let (low, high) = (cost / 3, cost * 3 + 40);
            assert!((low..=high).contains(&estimated), "{round} {url}: {estimated}, cost {cost}");
        }
        // As tails, as one segment, and as a segment with a tail.
        site.settle();
    }
}

#[test]
fn each_condition_is_told_by_what_it_is_answered() {
    let site = clinic();
    site.settle();
    let first = |url: &str| planned(&site, url).0.types[0].steps[0].clone();
    for (url, way) in [
        ("Patient?_id=p7", Way::Resources),
        ("Patient?family=family7", Way::Range),
        ("Patient?name:contains=ily1", Way::AllValues),
        ("Patient?active:not=true", Way::Complement),
        ("Patient?gender:missing=false", Way::Nothing),
        ("Patient?active:missing=false", Way::Key),
        ("Patient?_lastUpdated=gt2000", Way::Time),
        ("Observation?patient=p7", Way::References),
        ("Observation?subject:Patient.family=family7", Way::Chain),
        ("Patient?_has:Observation:subject:code=s|c3", Way::Has),
    ] {
        assert_eq!(first(url).way, way, "{url}");
    }
    let chain = first("Observation?subject:Patient.family=family7");
    assert_eq!(chain.within[0].of.as_ref().unwrap().as_str(), "Patient");
    assert_eq!(chain.within[0].documents, 20);
    // What finds few comes first, and then the others are asked of these alone.
    let (plan, _) = planned(&site, "Observation?date=gt2000&patient=p7");
    let turns: Vec<usize> = plan.types[0].steps.iter().map(|it| it.turn).collect();
    assert_eq!(turns, [2, 1]);
    assert!(plan.types[0].steps[0].asks_each, "{plan:?}");
}

#[test]
fn what_costs_most_is_named() {
    let site = clinic();
    site.settle();
    let costliest = |url: &str| planned(&site, url).0.costliest();
    assert_eq!(costliest("Patient?active=true&name:contains=ily1"), Costliest::Clause(0, 1));
    assert_eq!(costliest("Patient?_id=p0&_revinclude=Observation:subject"), Costliest::Includes);
    assert_eq!(costliest("Observation?_sort=status,date"), Costliest::Sort);
    assert_eq!(costliest("?_type=Patient,Observation"), Costliest::Type(1));
}

#[test]
fn of_what_may_not_be_seen_nothing_is_counted() {
    let with = clinic();
    let mut without = Site::default();
    for at in 0..400 {
        without.put(&format!(
            r#"{{"resourceType":"Patient","id":"p{at}","name":[{{"family":"Family{}"}}]}}"#,
            at % 20
        ));
    }
    let patients = [(ResourceType::new("Patient").unwrap(), Vec::new())];
    let types = VisibleTypes::These(patients.into());
    let visible = Visible::Any(vec![VisiblePart { types, within: VisibleWithin::Anywhere }]);
    for url in [
        "Patient?_has:Observation:subject:code=s|c3",
        "Patient?family=family7&_has:Observation:subject:code=s|c3",
        "Patient?_id=p0&_revinclude=Observation:subject",
        "Patient?family=family7&_include=*&_revinclude=*",
    ] {
        let plan = |site: &Site| {
            let plan = search(site, &visible).plan(&query(url), 20, 1_000).unwrap();
            (plan.cost - plan.parts as u64, plan.types, plan.includes)
        };
        with.settle();
        without.settle();
        assert_eq!(plan(&with), plan(&without), "{url}");
    }
}
