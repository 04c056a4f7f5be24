//! `hearthgate import` of real data, and every resource read back.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::binary;
use integration_tests::bundle::Bundle;
use integration_tests::client::{Client, instance};
use integration_tests::document::Document;
use integration_tests::process::{Process, Signal};
use integration_tests::site::{Deployment, Site};
use integration_tests::test_data::{documents, folder, say};
use serde_json::Value;
use tokio::task::JoinSet;

/// Readers at a time.
const READERS: usize = 16;
const TARGETS: &str = "synthea/targets-uscore.json";
const US_CORE: &str = "synthea/bundles-uscore.ndjson.zst";
const PLAIN: &str = "synthea/bundles.ndjson.zst";

for_every_deployment! {
    every_resource_of_an_import_comes_back_as_it_was,
}

/// What an import said.
struct Imported {
    status: Option<i32>,
    report: Value,
    /// `Type/id` by file, line and entry.
    locations: HashMap<(String, u64, u64), String>,
}

async fn import(site: &Site, files: &[PathBuf]) -> Imported {
    let path = |name: &str| site.folder().join(name).to_str().unwrap().to_owned();
    let owner = site.owner();
    let (key, report, locations) =
        (site.owner_key_file(), path("report.json"), path("locations.ndjson"));
    let mut command = Command::new(binary::hearthgate());
    command.current_dir(site.folder()).args(["import", "--url", owner.base()]);
    command.arg("--key-file").arg(key).args(["--report", &report, "--locations", &locations]);
    command.args(files);
    let output = command.output().unwrap();
    let lines = fs::read_to_string(&locations).unwrap();
    let located = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| line[name].as_u64().unwrap();
        let place = (line["file"].as_str().unwrap().to_owned(), number("line"), number("entry"));
        (place, instance(line["location"].as_str().unwrap()))
    };
    Imported {
        status: output.status.code(),
        report: serde_json::from_slice(&fs::read(&report).unwrap()).unwrap(),
        locations: lines.lines().map(located).collect(),
    }
}

/// A resource that must be there: where, and what.
struct Expected {
    instance: String,
    resource: Document,
}

/// What the Bundles of `files`, imported in this order, must have become.
fn expectations(files: &[PathBuf], imported: &Imported) -> Vec<Expected> {
    let mut all = Vec::new();
    let mut by_criteria: HashMap<String, String> = HashMap::new();
    for file in files {
        for (line, text) in (1..).zip(documents(file)) {
            let bundle = Bundle::read(&text);
            let at = |entry: u64| {
                let place = (file.to_str().unwrap().to_owned(), line, entry);
                imported.locations[&place].clone()
            };
            let entries = || (1..).zip(&bundle.entry);
            let by_url: HashMap<&str, String> =
                entries().map(|(number, entry)| (entry.full_url.as_str(), at(number))).collect();
            for (number, entry) in entries() {
                if let Some(criteria) = &entry.request.if_none_exist {
                    by_criteria.insert(format!("{}?{criteria}", entry.request.url), at(number));
                }
                let mut resource = Document::read(entry.resource.get()).without_what_servers_set();
                resource.rewrite_references(&|text| {
                    by_url.get(text).or_else(|| by_criteria.get(text)).cloned()
                });
                all.push(Expected { instance: at(number), resource });
            }
        }
    }
    all
}

async fn check(client: Client, expected: Vec<Expected>) {
    for Expected { instance, resource } in expected {
        let answer = client.get(&format!("/{instance}")).await.is(200);
        let id = instance.rsplit('/').next().unwrap();
        let found = Document::read(answer.text());
        let Document::Object(members) = &found else { panic!("{instance} is no object") };
        assert_eq!(members["id"], Document::Text(id.to_owned()));
        let Document::Object(meta) = &members["meta"] else { panic!("{instance} has no meta") };
        assert_eq!(meta["versionId"], Document::Text("1".to_owned()), "{instance}");
        assert!(meta.contains_key("lastUpdated"), "{instance}");
        for reference in found.references() {
            let is_left = reference.contains('?') || reference.starts_with("urn:uuid:");
            assert!(!is_left, "{instance}: {reference} was left as text");
        }
        let differences = resource.differences(&found.without_what_servers_set());
        assert_eq!(differences, [""; 0], "{instance}");
    }
}

async fn every_resource_of_an_import_comes_back_as_it_was(deployment: Deployment) {
    // HTTP-079
    let Some(data) = folder() else { return };
    let all = [(TARGETS, 105), (US_CORE, 7_537), (PLAIN, 16_790)];
    // Over PostgreSQL a part, for the time it takes.
    let some = if deployment == Deployment::OverPostgres { &all[..2] } else { &all[..] };
    let files: Vec<_> = some.iter().map(|(name, _)| data.join(name)).collect();
    let site = Site::start(deployment).await;
    let imported = import(&site, &files).await;
    assert_eq!(imported.status, Some(0), "{:#}", imported.report);
    assert_eq!(imported.report["complete"], true);

    let expected = expectations(&files, &imported);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for Expected { instance, .. } in &expected {
        *counts.entry(instance.split('/').next().unwrap()).or_default() += 1;
    }
    let reported = imported.report["types"].as_object().unwrap();
    let created =
        reported.iter().map(|(name, of)| (name.as_str(), of["created"].as_u64().unwrap()));
    assert_eq!(created.collect::<BTreeMap<_, _>>(), counts);
    assert_eq!(expected.len(), some.iter().map(|(_, resources)| resources).sum::<usize>());
    let mut instances: Vec<&str> = expected.iter().map(|of| of.instance.as_str()).collect();
    instances.sort_unstable();
    instances.dedup();
    assert_eq!(instances.len(), expected.len(), "each has an id of its own");
    let disk = |name: &str| bytes_below(&site.data().join("tenants/default").join(name));
    let resources = u64::try_from(expected.len()).unwrap();
    say(&format!(
        "{:.0} resources/s; bytes a resource: log {}, state {}; most resident: {:?} MiB",
        imported.report["resourcesPerSecond"].as_f64().unwrap(),
        disk("log") / resources,
        disk("state") / resources,
        site.processes().map(|process| process.most_resident() >> 20).collect::<Vec<_>>()
    ));

    let mut parts: Vec<Vec<Expected>> = (0..READERS).map(|_| Vec::new()).collect();
    for (number, one) in expected.into_iter().enumerate() {
        parts[number % READERS].push(one);
    }
    let mut readers = JoinSet::new();
    for part in parts {
        readers.spawn(check(site.owner(), part));
    }
    readers.join_all().await;
}

/// Nothing where the data is in PostgreSQL.
fn bytes_below(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => bytes_below(&entry.path()),
            metadata => metadata.len(),
        })
        .sum()
}

#[tokio::test]
async fn targets_that_match_several_resources_are_412_and_none_is_made() {
    // HTTP-083
    let Some(data) = folder() else { return };
    let site = Site::start(Deployment::OneProcess).await;
    // Among the first eight Bundles one organization stands twice, made anew each time.
    let lines = &documents(&data.join(PLAIN))[..8];
    let plain = site.folder().join("plain.ndjson");
    fs::write(&plain, lines.join("\n")).unwrap();
    let first = import(&site, &[plain]).await;
    assert_eq!(first.status, Some(0), "{:#}", first.report);
    let targets = import(&site, &[data.join(TARGETS)]).await;
    assert_eq!(targets.status, Some(1));
    assert!(targets.locations.is_empty());
    let failure = &targets.report["failures"][0];
    assert_eq!(failure["kind"], "refused", "{:#}", targets.report);
    assert_eq!(failure["of"], "transaction of 105");
    assert_eq!(failure["status"], 412);
    assert_eq!(targets.report["total"]["created"], 0);
    // With the targets first, the same files go in.
    let site = Site::start(Deployment::OneProcess).await;
    let plain = site.folder().join("plain.ndjson");
    fs::write(&plain, lines.join("\n")).unwrap();
    let both = import(&site, &[data.join(TARGETS), plain]).await;
    assert_eq!(both.status, Some(0), "{:#}", both.report);
}

/// How many Patients there are, a version each.
async fn patients(site: &Site) -> u64 {
    let history = site.owner().get("/Patient/_history?_count=1").await.is(200).json();
    history["total"].as_u64().unwrap()
}

#[tokio::test]
async fn an_import_that_was_killed_and_is_done_again_doubles_nothing() {
    const LINES: u64 = 2000;
    let site = Site::start(Deployment::OneProcess).await;
    let file = site.folder().join("people.ndjson");
    let patient = r#"{"resourceType":"Patient","gender":"other"}"#;
    let transaction = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{patient},"request":{{"method":"POST","url":"Patient"}}}}]}}"#
    );
    let batch = transaction.replace("transaction", "batch");
    let lines = (0..LINES).map(|line| match line % 10 {
        3 => &transaction,
        7 => &batch,
        _ => patient,
    });
    fs::write(&file, lines.flat_map(|line| [line, "\n"]).collect::<String>()).unwrap();
    let importing = || {
        let mut command = Command::new(binary::hearthgate());
        command.args(["import", "--in-flight", "4", "--url", site.owner().base(), "--key-file"]);
        command.arg(site.owner_key_file()).arg(&file);
        command
    };
    let mut killed = Process::start(importing(), site.folder(), "killed");
    while patients(&site).await < 100 {
        assert!(killed.end_so_far().is_none(), "it ended by itself: {}", killed.stderr());
    }
    killed.signal(Signal::Kill);
    killed.ended().await;
    let done = patients(&site).await;
    assert!(done < LINES, "it was killed in the middle");
    // Whole, whatever of it was done; and once more.
    for _ in 0..2 {
        let imported = importing().output().unwrap();
        assert!(imported.status.success(), "{imported:?}");
        assert_eq!(patients(&site).await, LINES, "of which {done} were done before");
    }
}
