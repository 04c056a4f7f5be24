//! A tenant's packages, as clients come to see them.

use serde_json::json;

use crate::support::package::{self, COLOUR, COLOURS, GUIDE};
use crate::support::{Access, Site};

#[tokio::test]
async fn a_package_counts_at_once_and_until_it_is_removed() {
    // TERM-012, TERM-136
    let site = Site::start().await;
    let lookup = format!("CodeSystem/$lookup?system={COLOURS}&code=red");
    site.get(&lookup).await.is(404);
    assert_eq!(site.get("metadata").await.json().get("implementationGuide"), None);
    let added = site.add_package(package::tgz()).await;
    assert_eq!(added.packages, ["test#1.0.0"]);
    assert_eq!(added.unmet, ["absent#2.0.0, which test#1.0.0 depends on"]);
    site.get(&lookup).await.is(200);
    assert_eq!(site.get("metadata").await.json()["implementationGuide"], json!([GUIDE]));
    let other = Access::owner().in_tenant("other");
    site.ask("GET", &lookup).by(&other).send().await.is(404);
    let elsewhere = site.ask("GET", "metadata").by(&other).send().await.json();
    assert_eq!(elsewhere.get("implementationGuide"), None);
    site.remove_package("test#1.0.0").await;
    site.get(&lookup).await.is(404);
    assert_eq!(site.get("metadata").await.json().get("implementationGuide"), None);
}

#[tokio::test]
async fn a_search_parameter_of_a_package_is_one_of_its_tenant() {
    // SRCH-237
    let site = Site::start().await;
    for (id, colour) in [("1", "red"), ("2", "blue")] {
        let extension = json!([{ "url": "http://x/colour", "valueCode": colour }]);
        let patient = json!({ "resourceType": "Patient", "id": id, "extension": extension });
        site.put(&format!("Patient/{id}"), patient).await.is(201);
    }
    let other = Access::owner().in_tenant("other");
    let strict = async |access: &Access| {
        let ask = site.ask("GET", "Patient?colour=red").by(access);
        ask.header("prefer", "handling=strict").send().await
    };
    let is_stated = async || site.get("metadata").await.text().contains(COLOUR);
    strict(&Access::owner()).await.is(400);
    assert!(!is_stated().await);
    site.add_package(package::tgz()).await;
    let found = strict(&Access::owner()).await.is(200).json();
    assert_eq!((&found["total"], &found["entry"][0]["resource"]["id"]), (&json!(1), &json!("1")));
    assert!(is_stated().await);
    strict(&other).await.is(400);
    site.remove_package("test#1.0.0").await;
    strict(&Access::owner()).await.is(400);
    assert!(!is_stated().await);
}

#[tokio::test]
async fn how_packages_are_stored_nobody_sees() {
    let site = Site::start().await;
    site.put("Patient/1", json!({ "resourceType": "Patient", "id": "1" })).await.is(201);
    site.add_package(package::tgz()).await;
    site.put("Patient/1", json!({ "resourceType": "Patient", "id": "1", "active": true })).await;
    for target in ["_history", "_history?_count=1", "_history?_count=0"] {
        let history = site.get(target).await.is(200);
        assert_eq!(history.json()["total"], 2, "{target}");
        assert!(!history.text().contains("HearthgatePackage"), "{target}");
    }
    // Page by page there are as many as in one.
    let first = site.get("_history?_count=1").await.json();
    let links = first["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").unwrap();
    let next = next["url"].as_str().unwrap().split_once("/fhir/").unwrap().1;
    let second = site.get(next).await.is(200).json();
    assert_eq!(second["entry"][0]["request"]["url"], "Patient/1");
    assert!(second["link"].as_array().unwrap().iter().all(|link| link["relation"] != "next"));
    site.get("HearthgatePackage/1").await.is(404);
    site.get("HearthgatePackage/_history").await.is(404);
    let own = json!({ "resourceType": "HearthgatePackage", "id": "1" });
    site.put("HearthgatePackage/1", &own).await.is(404);
}

#[tokio::test]
async fn a_package_of_fhirs_own_definitions_is_refused_and_nothing_is_stored() {
    // VAL-207
    let site = Site::start().await;
    for (name, version) in [
        ("hl7.fhir.r4.core", "4.0.1"),
        ("hl7.fhir.r4.core", "4.0.0"),
        ("hl7.fhir.r5.core", "5.0.0"),
    ] {
        let refused = site.try_packages(vec![package::tgz(), package::core(name, version)]).await;
        let said = refused.unwrap_err().to_string();
        assert!(said.starts_with(&format!("{name}#{version} holds")), "{said}");
        assert!(said.contains("hl7.fhir.r4.core#4.0.1 and built in"), "{said}");
    }
    assert_eq!(site.position(), 0);
    // Its name alone makes none.
    let added = site.try_packages(vec![package::core("hl7.fhir.us.core", "1.0.0")]).await;
    assert_eq!(added.unwrap().packages, ["hl7.fhir.us.core#1.0.0"]);
}

#[tokio::test]
async fn a_package_of_other_content_under_its_name_and_version_is_told_from_the_same_one() {
    let site = Site::start().await;
    site.add_package(package::tgz()).await;
    let position = site.position();
    let again = site.try_packages(vec![package::tgz()]).await.unwrap_err().to_string();
    assert!(again.contains("test#1.0.0, of the same content"), "{again}");
    let other = site.try_packages(vec![package::tgz_of("Rot")]).await.unwrap_err();
    let server::PackagesError::Differs { package, stored, given } = &other else {
        panic!("{other}");
    };
    assert_eq!((&**package, stored.len(), given.len()), ("test#1.0.0", 64, 64));
    assert_ne!(stored, given);
    let said = other.to_string();
    assert!(said.contains(stored) && said.contains(given), "{said}");
    assert_eq!(site.position(), position);
    // In place of the first it counts.
    site.remove_package("test#1.0.0").await;
    site.add_package(package::tgz_of("Rot")).await;
    let lookup = format!("CodeSystem/$lookup?system={COLOURS}&code=red");
    assert!(site.get(&lookup).await.is(200).text().contains("Rot"));
    // Nor are two of one command taken for one.
    let both = vec![package::searched(&[]), package::searched(&[("b", "Patient.birthDate")])];
    site.try_packages(both).await.unwrap_err();
}

#[tokio::test]
async fn a_packages_search_parameter_of_what_only_a_version_has_is_left_out_with_the_reason() {
    let site = Site::start().await;
    site.put(
        "Patient/1",
        json!({ "resourceType": "Patient", "id": "1", "birthDate": "2000-01-01" }),
    )
    .await
    .is(201);
    let added = site
        .add_package(package::searched(&[
            ("born", "Patient.birthDate"),
            ("written", "Patient.meta.lastUpdated"),
            ("hidden", "Patient.meta.children().ofType(instant)"),
        ]))
        .await;
    let left_out: Vec<&str> =
        added.left_out.iter().map(|it| it.split(':').nth(1).unwrap()).collect();
    assert_eq!(
        left_out,
        [
            "//x/SearchParameter/hidden, hidden of Patient",
            "//x/SearchParameter/written, written of Patient"
        ]
    );
    let strict =
        async |query: &str| site.ask("GET", query).header("prefer", "handling=strict").send().await;
    assert_eq!(strict("Patient?born=2000-01-01").await.is(200).json()["total"], 1);
    strict("Patient?written=gt2000").await.is(400);
    strict("Patient?hidden=gt2000").await.is(400);
    strict("Patient?_lastUpdated=gt2000").await.is(200);
    let stated = site.get("metadata").await.text();
    assert!(stated.contains("SearchParameter/born"));
    assert!(!stated.contains("SearchParameter/written"));
}
