//! A tenant of another FHIR version: its definitions are data, and everything reads by them.

use std::fs;
use std::path::PathBuf;

use http::Method;
use integration_tests::binary;
use integration_tests::client::sent;
use integration_tests::process::Process;
use integration_tests::site::{Deployment, First, Site};

use crate::purge::give_tenant_key;

for_every_deployment! {
    a_tenant_of_r5_takes_and_gives_resources_of_r5,
    a_tenant_keeps_the_version_that_it_has_begun_with,
}

/// What a tenant keeps of R5's core package.
fn definitions() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "data", "r5-definitions.zst"].iter().collect()
}

/// A site whose tenant has begun with R5.
async fn start(deployment: Deployment) -> Site {
    let mut site = Site::prepare(deployment);
    let tenant = site.data().join("tenants/default");
    fs::create_dir_all(&tenant).unwrap();
    fs::copy(definitions(), tenant.join("definitions")).unwrap();
    site.launch(First::Server).await;
    site
}

const ACTOR: &str = r#"{"resourceType":"ActorDefinition","id":"a","status":"draft","type":"system","title":"Scheduler"}"#;

async fn a_tenant_of_r5_takes_and_gives_resources_of_r5(deployment: Deployment) {
    let mut site = start(deployment).await;
    let owner = site.owner();
    let statement = owner.get("/metadata").await.is(200).json();
    assert_eq!(statement["fhirVersion"], "5.0.0");
    let types = statement["rest"][0]["resource"].as_array().unwrap();
    let is_there = |name: &str| types.iter().any(|of| of["type"] == name);
    assert!(is_there("ActorDefinition") && !is_there("DeviceUseStatement"));
    let actor = owner.put("/ActorDefinition/a", ACTOR).await.is(201).json();
    assert_eq!(actor["title"], "Scheduler");
    // An element and a type that R4 does not have.
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"instantiatesReference":{"reference":"ObservationDefinition/d"},"subject":{"reference":"Patient/p"}}"#;
    let _ = owner.put("/Observation/o", observation).await.is(201);
    let xml = owner.request(Method::GET, "/Observation/o").header("accept", "application/fhir+xml");
    let xml = sent(xml).await.is(200);
    let text = xml.text();
    assert!(text.contains("<instantiatesReference><reference value="), "{text}");
    let put = |path, of: &str, body: bytes::Bytes| {
        let media_type = format!("application/fhir+{of}");
        sent(owner.request(Method::PUT, path).header("content-type", media_type).body(body))
    };
    let back = put("/Observation/o", "xml; fhirVersion=5.0", xml.body.clone()).await.is(200).json();
    assert_eq!(back["instantiatesReference"]["reference"], "ObservationDefinition/d");
    let patient = r#"{"resourceType":"Patient","id":"p"}"#.into();
    let other = put("/Patient/p", "json; fhirVersion=4.0", patient).await;
    other.is_outcome(415, "not-supported");
    assert!(other.text().contains("fhirVersion=5.0"), "{}", other.text());
    nothing_is_validated(&site).await;
    let gone =
        owner.put("/DeviceUseStatement/d", r#"{"resourceType":"DeviceUseStatement","id":"d"}"#);
    assert_eq!(gone.await.status, 404);
    site.kill().await;
    site.launch(First::Gateway).await;
    assert_eq!(site.owner().get("/ActorDefinition/a").await.is(200).json(), actor);
    site.stop().await;
}

/// Of R4 alone there is a validator: the policy asks nothing, and who asks for more is told.
async fn nothing_is_validated(site: &Site) {
    let owner = site.owner();
    let unknown = r#"{"resourceType":"Basic","id":"b","colour":"red"}"#;
    drop(owner.put("/Basic/b", unknown).await.is(201));
    for path in ["/Basic/b/$validate", "/Basic/$validate", "/Basic?_id=b", "/?_id=b"] {
        owner.get(path).await.is_outcome(501, "not-supported");
    }
    let statement = owner.get("/metadata").await.is(200);
    assert!(!statement.text().contains("Resource-validate"));
    // Nor are there search parameters.
    assert!(!statement.text().contains("search-type"));
    let archive = site.folder().join("any.tgz");
    fs::write(&archive, "any").unwrap();
    let data = site.data().to_str().unwrap();
    let add = ["packages", "add", archive.to_str().unwrap(), "--data", data];
    let refused = binary::run(site.folder(), &add);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = binary::text(&refused.stderr);
    assert!(said.contains("FHIR 5.0.0") && said.lines().count() == 1, "{said}");
}

/// The definitions go where the data goes.
#[tokio::test]
async fn a_backup_of_a_tenant_of_r5_is_restored_as_one() {
    let mut site = start(Deployment::OneProcess).await;
    let _ = site.owner().put("/ActorDefinition/a", ACTOR).await.is(201);
    let (folder, data) = (site.folder().to_owned(), site.data().to_str().unwrap().to_owned());
    let run = |arguments: &[&str]| {
        let output = binary::run(&folder, arguments);
        assert!(output.status.success(), "{arguments:?} {output:?}");
    };
    for _ in 0..2 {
        run(&["backup", "--data", &data, "--to", "backup", "--keys-to", "keys"]);
    }
    run(&["verify", "--backup", "backup"]);
    site.stop().await;
    run(&["restore", "--from", "backup", "--data", "restored", "--keys-from", "keys"]);
    let restored = folder.join("restored");
    give_tenant_key(site.data(), &restored);
    run(&["verify", "--data", restored.to_str().unwrap()]);
    let kept = fs::read(restored.join("tenants/default/definitions")).unwrap();
    assert!(kept == fs::read(definitions()).unwrap());
    let mut other = Site::prepare(Deployment::OneProcess);
    other.settle(&restored, Vec::new());
    other.launch(First::Gateway).await;
    let statement = other.anyone().get("/metadata").await.is(200).json();
    assert_eq!(statement["fhirVersion"], "5.0.0");
    other.stop().await;
}

/// What is stored is never read by the definitions of another version.
async fn a_tenant_keeps_the_version_that_it_has_begun_with(deployment: Deployment) {
    let mut site = start(deployment).await;
    let _ = site.owner().put("/ActorDefinition/a", ACTOR).await.is(201);
    site.stop().await;
    let package = site.folder().join("none.tgz");
    site.configure(&format!("fhir_package = \"{}\"\n", package.display()));
    // What is kept counts; the package is not read again.
    site.launch(First::Server).await;
    let statement = site.owner().get("/metadata").await.is(200).json();
    assert_eq!(statement["fhirVersion"], "5.0.0");
    site.stop().await;
    site.configure("");
    let kept = site.data().join("tenants/default/definitions");
    fs::rename(&kept, site.folder().join("aside")).unwrap();
    let verb = if deployment == Deployment::TwoProcesses { "server" } else { "serve" };
    let mut process = Process::start(site.command(verb), site.folder(), "refused");
    assert_eq!(process.ended().await.code(), Some(1));
    let said = process.stderr();
    assert!(said.contains("resources of FHIR 5.0") && said.contains("fhir_package"), "{said}");
    fs::rename(site.folder().join("aside"), &kept).unwrap();
    site.launch(First::Server).await;
    let _ = site.owner().get("/ActorDefinition/a").await.is(200);
    site.stop().await;
}
