//! Two sites with equal data. One is left alone; of the other, between any two pages of a search,
//! every resource is updated, deleted or written again, and it is killed and started. The pages
//! are the same to the byte, but for the base (each start has another port) and what each answer
//! has of its own: the Bundle's id and instant, and what is sealed in its links.

use integration_tests::bundle::transaction;
use integration_tests::client::{Answer, Client};
use integration_tests::postgres::Postgres;
use integration_tests::site::{Deployment, First, Site};
use integration_tests::waiting::{SOON, until};

use crate::purge::copy_folder;

/// Patients, and as many observations.
const MANY: usize = 12;
/// As many documents of the index as make a segment, and a few.
const FILLERS: usize = 4200;

/// What is searched, by which order, with what beside the matches, in what form.
const SEARCHES: [&str; 15] = [
    "/Observation?_sort=-code,date&_count=2",
    "/Patient?_sort=birthdate&_count=3",
    "/Patient?_sort=-family,birthdate&_count=3",
    "/Patient?family:missing=true&_count=1",
    "/Observation?_sort=-date,value-quantity&_count=4",
    "/Observation?subject:Patient.family=even&_count=2",
    "/Patient?_has:Observation:subject:code=a&_sort=-_id&_count=2",
    "/Observation?_include=Observation:subject&_include:iterate=Patient:organization&_count=3",
    "/Patient?_revinclude=Observation:subject&_sort=_lastUpdated&_count=4",
    "/Patient?_summary=true&_count=4",
    "/Patient?_elements=birthDate&_sort=gender&_count=3",
    "/Patient?_filter=birthdate ge 1990 or gender eq male&_count=3",
    "/Patient?gender:not=male&_total=none&_count=2",
    "/Patient/p1/Observation?_count=1",
    "?_type=Patient,Observation&_lastUpdated=gt2000&_count=6",
];

/// An entry that writes a resource under its id.
fn put(name: &str, members: &str) -> String {
    let (of, id) = name.split_once('/').unwrap();
    format!(
        r#"{{"resource":{{"resourceType":"{of}","id":"{id}",{members}}},"request":{{"method":"PUT","url":"{name}"}}}}"#
    )
}

fn delete(name: &str) -> String {
    format!(r#"{{"request":{{"method":"DELETE","url":"{name}"}}}}"#)
}

/// The resources, each by its name and members, as they are after so many changes.
fn resources(changes: usize) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for number in 0..3 {
        all.push((
            format!("Organization/o{number}"),
            format!(r#""name":"Ward {number} after {changes}""#),
        ));
    }
    for number in 0..MANY {
        let other = (number + changes * 5) % MANY;
        let family = if other.is_multiple_of(2) { "Even" } else { "Odd" };
        let name = match other % 4 {
            // Some have no name, and some no birth date.
            3 => String::new(),
            _ => format!(r#""name":[{{"family":"{family}","given":["N{other}"]}}],"#),
        };
        let birth = match other % 5 {
            4 => String::new(),
            _ => format!(r#""birthDate":"19{}-0{}-11","#, 80 + other, 1 + changes % 9),
        };
        let gender = if other < 5 { "male" } else { "female" };
        all.push((
            format!("Patient/p{number}"),
            format!(
                r#"{name}{birth}"gender":"{gender}","managingOrganization":{{"reference":"Organization/o{}"}}"#,
                other % 3
            ),
        ));
        let code = if other.is_multiple_of(3) { "a" } else { "b" };
        all.push((
            format!("Observation/x{number}"),
            format!(
                r#""status":"final","code":{{"coding":[{{"system":"urn:s","code":"{code}"}}]}},"subject":{{"reference":"Patient/p{}"}},"effectiveDateTime":"2024-0{}-01","valueQuantity":{{"value":{other}.5,"system":"http://unitsofmeasure.org","code":"kg"}}"#,
                other / 2,
                1 + other % 4
            ),
        ));
    }
    all
}

async fn carry_out(client: &Client, entries: &[String]) {
    let _ = client.post("", transaction(entries)).await.is(200);
}

/// Writes enough for the index to make a segment.
async fn fill(client: &Client) {
    for from in (0..FILLERS).step_by(700) {
        let basic = |number| put(&format!("Basic/f{number}"), r#""code":{"text":"filler"}"#);
        carry_out(client, &(from..from + 700).map(basic).collect::<Vec<_>>()).await;
    }
}

/// Changes every resource: updates them all, deletes them, writes them again, by turns.
async fn disturb(client: &Client, step: usize) {
    let write = |(name, members): &(String, String)| match step % 3 {
        1 => delete(name),
        _ => put(name, members),
    };
    let mut entries: Vec<String> = resources(step + 1).iter().map(write).collect();
    if step % 3 == 1 {
        // What is referred to goes last.
        entries.reverse();
    }
    carry_out(client, &entries).await;
}

/// A page as its twin must have it.
fn normalised(client: &Client, answer: &Answer) -> String {
    let text = answer.text().replace(client.base(), "BASE");
    let rest = text.strip_prefix(r#"{"resourceType":"Bundle","id":""#).expect("a Bundle");
    let (own, rest) = rest.split_once(r#""},"type":"searchset""#).expect("its type");
    assert!(own.contains(r#"","meta":{"lastUpdated":""#) && own.len() < 100, "{own}");
    let mut parts = rest.split("_page=");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('"').expect("a link is a string");
        page.push_str("_page=SEALED\"");
        page.push_str(rest);
    }
    page
}

fn next(answer: &Answer) -> Option<String> {
    let bundle = answer.json();
    let links = bundle["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next")?;
    let (_, path) = next["url"].as_str().unwrap().split_once("/fhir").unwrap();
    Some(path.to_owned())
}

/// A page, once the index is there again, and where it leads on to.
async fn page(client: &Client, path: &str) -> (String, Option<String>) {
    let answer = until("the page is there", SOON, async || {
        let answer = client.get(path).await;
        if answer.status == 503 { Err(answer.text().to_owned()) } else { Ok(answer) }
    })
    .await
    .is(200);
    (normalised(client, &answer), next(&answer))
}

/// A site with the data, and another with the same.
async fn twins(deployment: Deployment) -> (Site, Site) {
    let configuration = "[gateway]\nclient_per_second = 100000\nclient_burst = 100000\n";
    let mut site = Site::prepare(deployment);
    site.configure(configuration);
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let entry = |(name, members): &(String, String)| put(name, members);
    // Several commits, so that not everything has one instant.
    for some in resources(0).chunks(5) {
        carry_out(&owner, &some.iter().map(entry).collect::<Vec<_>>()).await;
    }
    site.stop().await;
    let database = (deployment == Deployment::OverPostgres)
        .then(|| site.database().restored(&site.database().dump()));
    let mut other = Site::over(deployment, database);
    other.configure(configuration);
    copy_folder(site.data(), other.data());
    // Its sockets are its own, in a folder that nobody else may enter.
    std::fs::remove_dir_all(other.data().join("run")).unwrap();
    std::fs::copy(site.owner_key_file(), other.owner_key_file()).unwrap();
    site.launch(First::Gateway).await;
    other.launch(First::Gateway).await;
    (site, other)
}

/// SRCH-193, SRCH-197, SRCH-205, SRCH-211: `kills` says after how many pages the other is killed.
async fn pages_are_those_of_the_twin_that_is_left_alone(deployment: Deployment, kills: usize) {
    let (alone, mut other) = twins(deployment).await;
    let mut left: Vec<_> =
        SEARCHES.into_iter().map(|search| (search, search.to_owned(), search.to_owned())).collect();
    let (mut pages, mut step) = (0, 0);
    while !left.is_empty() {
        let mut leading_on = Vec::new();
        for (search, of_alone, of_other) in left {
            let (expected, leads_on) = page(&alone.owner(), &of_alone).await;
            let (found, other_leads_on) = page(&other.owner(), &of_other).await;
            assert_eq!(found, expected, "{search}, page {step}");
            // As often as one asks.
            for (site, path) in [(&alone, &of_alone), (&other, &of_other)] {
                assert_eq!(page(&site.owner(), path).await.0, expected, "{search}, page {step}");
            }
            pages += 1;
            match (leads_on, other_leads_on) {
                (Some(of_alone), Some(of_other)) => leading_on.push((search, of_alone, of_other)),
                (None, None) => {}
                (of_alone, of_other) => panic!("{search}: {of_alone:?} {of_other:?}"),
            }
        }
        left = leading_on;
        disturb(&other.owner(), step).await;
        if step == 0 {
            fill(&other.owner()).await;
        }
        if step < kills {
            other.kill().await;
            other.launch(First::Gateway).await;
        }
        step += 1;
    }
    assert!(pages > 2 * SEARCHES.len() && step > 5, "{pages} pages in {step} steps");
    // The other was not the same all the while.
    let [first, of_other] =
        [&alone, &other].map(|site| async { page(&site.owner(), SEARCHES[0]).await.0 });
    assert_ne!(first.await, of_other.await);
}

#[tokio::test]
async fn pages_are_those_of_a_twin_that_is_left_alone() {
    pages_are_those_of_the_twin_that_is_left_alone(Deployment::OneProcess, usize::MAX).await;
}

// Each start after a kill waits a lease out.
#[tokio::test]
async fn over_postgresql_pages_are_those_of_a_twin_that_is_left_alone() {
    if Postgres::shared().is_some() {
        pages_are_those_of_the_twin_that_is_left_alone(Deployment::OverPostgres, 1).await;
    }
}
