//! What is added to a page.

use crate::support::{CONTEXT, Site, query};
use search_index::Visible;

const RESOURCES: &[&str] = &[
    r#"{"resourceType":"Organization","id":"root"}"#,
    r#"{"resourceType":"Organization","id":"ward","partOf":{"reference":"Organization/root"}}"#,
    r#"{"resourceType":"Patient","id":"a","managingOrganization":{"reference":"Organization/ward"}}"#,
    r#"{"resourceType":"Group","id":"g","type":"person","actual":true}"#,
    r#"{"resourceType":"Observation","id":"1","status":"final","code":{},"subject":{"reference":"Patient/a"}}"#,
    r#"{"resourceType":"Observation","id":"2","status":"final","code":{},"subject":{"reference":"Group/g"},
        "hasMember":[{"reference":"Observation/1"}]}"#,
    r#"{"resourceType":"Observation","id":"3","status":"final","code":{},"subject":{"reference":"Patient/gone"}}"#,
];

fn included(site: &Site, visible: &Visible, url: &str, limit: usize) -> (Vec<String>, bool) {
    let query = query(url);
    let search = site.index.search(site.t(), visible, CONTEXT).unwrap();
    let found = search.find(&query).unwrap();
    let page = found.page(None, 100).unwrap();
    let included = search.include(&page.hits, &query.includes, limit).unwrap();
    let text = |hit: &search_index::Hit| format!("{}/{}", hit.resource_type, hit.id);
    let mut all: Vec<String> = included.hits.iter().map(text).collect();
    all.sort();
    (all, included.is_cut)
}

fn check(url: &str, expected: &[&str]) {
    let site = Site::with(RESOURCES);
    for _ in 0..2 {
        let (all, is_cut) = included(&site, &Visible::Everything, url, 100);
        assert_eq!(all, expected, "{url}");
        assert!(!is_cut);
        site.settle();
    }
}

#[test]
fn what_hits_refer_to_is_added_once_and_what_is_not_there_is_not() {
    // SRCH-170, SRCH-172, SRCH-182, SRCH-183
    check("Observation?_include=Observation:subject", &["Group/g", "Patient/a"]);
    check("Observation?_include=Observation:subject:Patient", &["Patient/a"]);
    check("Observation?_id=2&_include=Observation:has-member", &["Observation/1"]);
    check("Observation?_include=Observation:has-member", &[]);
}

#[test]
fn what_refers_to_hits_is_added() {
    // SRCH-171
    check("Patient?_revinclude=Observation:subject", &["Observation/1"]);
    check("Group?_revinclude=Observation:subject", &["Observation/2"]);
}

#[test]
fn iterating_goes_on_from_what_was_added_and_ends_in_a_circle() {
    // SRCH-175
    check("Patient?_include=Patient:organization", &["Organization/ward"]);
    check(
        "Patient?_include=Patient:organization&_include:iterate=Organization:partof",
        &["Organization/root", "Organization/ward"],
    );
    check(
        "Organization?_id=root&_revinclude:iterate=Organization:partof&_include:iterate=Organization:partof",
        &["Organization/ward"],
    );
    check(
        "Organization?_id=root&_revinclude:iterate=Organization:partof&_revinclude:iterate=Patient:organization",
        &["Organization/ward", "Patient/a"],
    );
}

#[test]
fn a_star_follows_every_reference() {
    // SRCH-176
    check("Observation?_id=2&_include=*", &["Group/g", "Observation/1"]);
    check("Observation?_id=2&_include=Observation:*", &["Group/g", "Observation/1"]);
}

#[test]
fn no_more_is_added_than_may_be() {
    // SRCH-177
    let site = Site::with(RESOURCES);
    let url = "Observation?_include=Observation:subject";
    let (all, is_cut) = included(&site, &Visible::Everything, url, 1);
    assert_eq!((all.len(), is_cut), (1, true));
    assert!(!included(&site, &Visible::Everything, url, 2).1);
}

#[test]
fn a_reference_to_a_version_adds_that_version() {
    // SRCH-179
    let mut site = Site::with(&[r#"{"resourceType":"Patient","id":"a"}"#]);
    site.put(r#"{"resourceType":"Patient","id":"a","active":true}"#);
    site.put(
        r#"{"resourceType":"Observation","id":"1","status":"final","code":{},
            "subject":{"reference":"Patient/a/_history/1"}}"#,
    );
    let query = query("Observation?_include=Observation:subject");
    let search = site.index.search(site.t(), &Visible::Everything, CONTEXT).unwrap();
    let page = search.find(&query).unwrap().page(None, 10).unwrap();
    let included = search.include(&page.hits, &query.includes, 10).unwrap();
    let versions: Vec<u64> = included.hits.iter().map(|hit| hit.version.get()).collect();
    assert_eq!(versions, [1]);
}

#[test]
fn what_may_not_be_seen_is_not_added() {
    // SRCH-181, LEAK-01, LEAK-03
    let site = Site::with(RESOURCES);
    let visible = crate::visibility::of_types(&["Observation", "Group"]);
    let url = "Observation?_include=Observation:subject&_revinclude=Patient:organization";
    assert_eq!(included(&site, &visible, url, 100).0, ["Group/g"]);
}

#[test]
fn a_version_that_was_dropped_is_said_to_be_lacking() {
    // SRCH-179
    let mut site = Site::with(&[r#"{"resourceType":"Patient","id":"a"}"#]);
    site.put(r#"{"resourceType":"Patient","id":"a","active":true}"#);
    for (id, version) in [("dropped", 1), ("there", 2), ("never", 9)] {
        site.put(&format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{}},
                "subject":{{"reference":"Patient/a/_history/{version}"}}}}"#
        ));
    }
    site.index.close_tail();
    while site.index.settle(crate::support::instant(site.t().get())) == search_index::Settled::Some
    {
    }
    for (id, lacking, versions) in [("dropped", true, 0), ("there", false, 1), ("never", false, 0)]
    {
        let query = query(&format!("Observation?_id={id}&_include=Observation:subject"));
        let search = site.index.search(site.t(), &Visible::Everything, CONTEXT).unwrap();
        let page = search.find(&query).unwrap().page(None, 10).unwrap();
        let included = search.include(&page.hits, &query.includes, 10).unwrap();
        assert_eq!((included.lacks_a_version, included.hits.len()), (lacking, versions), "{id}");
    }
}

#[test]
fn canonicals_are_followed_both_ways() {
    // SRCH-180
    let site = Site::with(&[
        r#"{"resourceType":"Questionnaire","id":"1","url":"http://q","version":"1","status":"active"}"#,
        r#"{"resourceType":"Questionnaire","id":"2","url":"http://q","version":"2","status":"active"}"#,
        r#"{"resourceType":"QuestionnaireResponse","id":"any","questionnaire":"http://q"}"#,
        r#"{"resourceType":"QuestionnaireResponse","id":"two","questionnaire":"http://q|2"}"#,
    ]);
    let all = |url: &str| included(&site, &Visible::Everything, url, 100).0;
    let forward = "QuestionnaireResponse?_include=QuestionnaireResponse:questionnaire&_id=";
    assert_eq!(all(&format!("{forward}any")), ["Questionnaire/1", "Questionnaire/2"]);
    assert_eq!(all(&format!("{forward}two")), ["Questionnaire/2"]);
    let back = "Questionnaire?_revinclude=QuestionnaireResponse:questionnaire&_id=";
    assert_eq!(all(&format!("{back}1")), ["QuestionnaireResponse/any"]);
    let both = ["QuestionnaireResponse/any", "QuestionnaireResponse/two"];
    assert_eq!(all(&format!("{back}2")), both);
    let hidden = crate::visibility::of_types(&["QuestionnaireResponse"]);
    assert_eq!(included(&site, &hidden, &format!("{forward}any"), 9).0, [""; 0]);
}

#[test]
fn what_may_not_be_seen_is_not_added_by_a_later_hop_either() {
    // LEAK-03
    let site = Site::with(RESOURCES);
    let url = "Observation?_id=1&_include=Observation:subject&_include:iterate=Patient:organization\
               &_include:iterate=Organization:partof";
    let visible = crate::visibility::of_types(&["Observation", "Patient"]);
    assert_eq!(included(&site, &visible, url, 100).0, ["Patient/a"]);
    let all = ["Organization/root", "Organization/ward", "Patient/a"];
    assert_eq!(included(&site, &Visible::Everything, url, 100).0, all);
}

#[test]
fn a_version_of_anothers_time_is_not_added() {
    // LEAK-01, LEAK-08
    let mut site = Site::with(&[
        r#"{"resourceType":"Observation","id":"1","status":"final","code":{},"subject":{"reference":"Patient/b"}}"#,
    ]);
    for json in [
        r#"{"resourceType":"Observation","id":"1","status":"final","code":{},"subject":{"reference":"Patient/a"}}"#,
        r#"{"resourceType":"Observation","id":"2","status":"final","code":{},"subject":{"reference":"Patient/a"},
            "hasMember":[{"reference":"Observation/1/_history/1"}]}"#,
    ] {
        site.put(json);
    }
    let url = "Observation?_id=2&_include=Observation:has-member";
    assert_eq!(included(&site, &Visible::Everything, url, 9).0, ["Observation/1"]);
    let visible = crate::visibility::of_patients(&["a"]);
    assert_eq!(included(&site, &visible, url, 9).0, [""; 0]);
}
