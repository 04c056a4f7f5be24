//! Gateways and their server on hosts of their own, with nothing between them but the link.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use integration_tests::binary::{failure, run};
use integration_tests::client::{Client, try_send};
use integration_tests::process::{Process, Signal};
use integration_tests::site::free_address;
use integration_tests::slow;
use integration_tests::split::{Gateway, Split};
use link::{Identity, LinkFiles};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::waiting::{SOON, until, within};

/// The revocation of a certificate, and a new one, are in force by then.
const PROMISED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn three_gateways_serve_one_server_and_find_it_again() {
    let mut split = Split::start(3).await;
    let body = r#"{"resourceType":"Patient","id":"shared","gender":"other"}"#;
    let _ = split.gateways[0].owner().await.put("/Patient/shared", body).await.is(201);
    for gateway in &split.gateways {
        let read = gateway.owner().await.get("/Patient/shared").await.is(200);
        assert_eq!(read.json()["gender"], "other");
    }
    // A key is good at the gateway whose registry has it.
    let elsewhere = split.gateways[1].owner().await;
    let key = split.gateways[0].owner().await;
    let other = integration_tests::client::Client::new(elsewhere.base(), Some(key.key()));
    let _ = other.get("/Patient/shared").await.is(401);
    split.end_server(Signal::Kill).await;
    for gateway in &split.gateways {
        let answer = gateway.owner().await.get("/Patient/shared").await;
        answer.is_outcome(503, "transient");
        assert_eq!(answer.header("retry-after"), Some("1"));
        let away = gateway.readiness_becomes(503).await.json();
        assert_eq!(
            (&away["parts"]["gateway"], &away["parts"]["requests"]),
            (&true.into(), &false.into())
        );
        let reason = away["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(&split.addresses().1.to_string()), "{away}");
    }
    split.start_server().await;
    for gateway in &split.gateways {
        gateway.becomes_ready().await;
        let _ = gateway.owner().await.get("/Patient/shared").await.is(200);
    }
}

async fn reads_as(gateway: &Gateway, status: u16, limit: Duration) {
    until("the answer", limit, async || {
        let answer = gateway.owner().await.get("/metadata").await.status;
        (answer == status).then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_whose_certificate_is_taken_out_is_refused_and_told_and_a_new_one_is_believed() {
    let split = Split::start(1).await;
    let gateway = &split.gateways[0];
    let held = split.server_folder().join("gateways.crt");
    let old = fs::read_to_string(&held).unwrap();
    let made = run(gateway.folder(), &["link", "identity", "new"]);
    assert!(made.status.success(), "{made:?}");
    let new = fs::read_to_string(gateway.folder().join("new/link.crt")).unwrap();
    // Somebody else's place: what stood there is believed no more.
    fs::write(&held, &new).unwrap();
    reads_as(gateway, 503, PROMISED).await;
    let told = gateway.readiness_becomes(503).await.json();
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("does not believe this gateway"), "{told}");
    assert!(reason.contains("link.crt"), "{told}");
    until("the server says so too", SOON, async || {
        let said = split.server().stderr();
        said.contains("a connection over the link was refused").then_some(()).ok_or(said)
    })
    .await;
    // Two at once while one takes the other's place; nothing is restarted.
    fs::write(&held, old + &new).unwrap();
    reads_as(gateway, 200, SOON).await;
    for file in ["link.crt", "link.key"] {
        fs::rename(gateway.folder().join("new").join(file), gateway.folder().join(file)).unwrap();
    }
    tokio::time::sleep(PROMISED).await;
    fs::write(&held, &new).unwrap();
    tokio::time::sleep(PROMISED).await;
    gateway.becomes_ready().await;
    reads_as(gateway, 200, SOON).await;
}

/// Gives the half at `place` another certificate, which the half at `other` holds in `held`, by
/// the steps of docs/split.md: none of them takes the old one away before the new one is in force.
async fn change_certificate(place: &Path, other: &Path, held: &str) {
    let made = run(place, &["link", "identity", "new"]);
    assert!(made.status.success(), "{made:?}");
    let held = other.join(held);
    let old = fs::read_to_string(place.join("link.crt")).unwrap();
    let new = fs::read_to_string(place.join("new/link.crt")).unwrap();
    let all = fs::read_to_string(&held).unwrap();
    fs::write(&held, format!("{all}{new}")).unwrap();
    tokio::time::sleep(PROMISED).await;
    for file in ["link.crt", "link.key"] {
        fs::rename(place.join("new").join(file), place.join(file)).unwrap();
    }
    fs::remove_dir(place.join("new")).unwrap();
    tokio::time::sleep(PROMISED).await;
    let without_old = all.replace(&old, "") + &new;
    assert!(!without_old.contains(&old), "the old one is held still");
    fs::write(&held, without_old).unwrap();
    tokio::time::sleep(PROMISED).await;
}

/// Reads and writes without a pause, and what was not done.
async fn reads_and_writes(
    client: Client,
    writer: usize,
    stop: Arc<AtomicBool>,
) -> (usize, Vec<String>) {
    let (mut done, mut failed) = (0, Vec::new());
    while !stop.load(Ordering::Acquire) {
        let body = format!(
            r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:test","value":"{writer}-{done}"}}]}}"#
        );
        let created = client.with_body(Method::POST, "/Patient", body);
        let read = client.request(Method::GET, "/Patient?_count=1");
        for (expected, request) in [(201, created), (200, read)] {
            match try_send(request).await {
                Ok(answer) if answer.status == expected => {}
                Ok(answer) => failed.push(format!("{} {}", answer.status, answer.text())),
                Err(error) => failed.push(error),
            }
        }
        done += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (done, failed)
}

#[tokio::test]
async fn both_halves_change_their_certificates_while_requests_run_and_none_fails() {
    // GW-020
    let split = Split::start(1).await;
    let gateway = &split.gateways[0];
    let client = gateway.owner().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = tokio::task::JoinSet::new();
    for writer in 0..4 {
        running.spawn(reads_and_writes(client.clone(), writer, stop.clone()));
    }
    let (theirs, ours) = (split.server_folder(), gateway.folder().to_owned());
    change_certificate(&ours, &theirs, "gateways.crt").await;
    change_certificate(&theirs, &ours, "servers.crt").await;
    stop.store(true, Ordering::Release);
    let all = running.join_all().await;
    let failed: Vec<&String> = all.iter().flat_map(|(_, failed)| failed).collect();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    for (done, _) in &all {
        assert!(*done > 20, "a writer stood still: {all:?}");
    }
    gateway.becomes_ready().await;
    let in_force = "new certificates of the link are in force";
    for process in [split.server(), gateway.process()] {
        let said = process.stderr();
        assert!(said.matches(in_force).count() >= 3, "{said}");
    }
}

#[tokio::test]
async fn what_is_revoked_at_a_gateway_ends_at_the_server_over_the_link() {
    // GW-034
    let mut split = Split::prepare(1, (free_address(), free_address()), Vec::new());
    split.configure_server(slow::LETS_SEARCH);
    split.start_server().await;
    split.start_gateways().await;
    let gateway = &split.gateways[0];
    slow::fill(&gateway.owner().await).await;
    let [revoked, other] = ["revoked", "other"].map(|id| gateway.new_client(id));
    let mut searching = tokio::task::JoinSet::new();
    for client in [&revoked, &other] {
        // It takes many times longer than what is promised.
        let (key, search) = (client.key().to_owned(), slow::search(client, 19));
        searching.spawn(async move { (key, try_send(search).await.expect("an answer")) });
    }
    let in_flight = async |count: usize| {
        until("so many searches are under way", SOON, async || {
            let seen = split.server_metrics().await;
            let line = format!("hearthgate_server_requests_in_flight {count}\n");
            seen.contains(&line).then_some(()).ok_or(seen)
        })
        .await;
    };
    in_flight(2).await;
    gateway.revoke(revoked.key());
    let ended = within("what is revoked ends", PROMISED, searching.join_next()).await;
    let (key, answer) = ended.unwrap().unwrap();
    assert_eq!(key, revoked.key(), "{} {}", answer.status, answer.text());
    answer.is_outcome(403, "forbidden");
    assert!(answer.text().contains("revoked"), "{}", answer.text());
    let _ = revoked.get("/Patient/p1").await.is(401);
    // Whose key stands goes on.
    in_flight(1).await;
    let said = split.server().stderr();
    assert!(said.contains("revocations were heard"), "{said}");
    assert!(!said.contains(&revoked.key()[3..19]), "{said}");
}

#[tokio::test]
async fn a_gateway_speaks_to_no_server_whose_certificate_it_does_not_hold() {
    let mut split = Split::prepare(1, (free_address(), free_address()), Vec::new());
    let place = split.gateways[0].folder().to_owned();
    assert!(run(&place, &["link", "identity", "other"]).status.success());
    fs::copy(place.join("other/link.crt"), place.join("servers.crt")).unwrap();
    split.start_server().await;
    split.gateways[0].start();
    let told = split.gateways[0].readiness_becomes(503).await.json();
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("is not believed") && reason.contains("servers.crt"), "{told}");
    reads_as(&split.gateways[0], 503, SOON).await;
}

/// What comes of a request's bytes there.
async fn asked(address: SocketAddr, identity: Option<&Arc<Identity>>, request: &str) -> String {
    let address = address.to_string().parse().unwrap();
    let Ok(mut stream) = link::connect(&address, identity, SOON).await else {
        return String::new();
    };
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        // Refused connections end by an error.
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_channel_is_told_to_gateways_alone_and_never_where_requests_go() {
    let split = Split::start(1).await;
    let (requests, channel) = split.addresses();
    let load = |folder: &std::path::Path, peers: &str| {
        let [certificate, key, peers] =
            ["link.crt", "link.key", peers].map(|name| folder.join(name));
        Arc::new(Identity::load(LinkFiles { certificate, key, peers }).unwrap())
    };
    let gateway = load(split.gateways[0].folder(), "servers.crt");
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let told = asked(channel, Some(&gateway), &head("/channel")).await;
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("\"secret\""), "{told}");
    let not_told = asked(requests, Some(&gateway), &head("/channel")).await;
    assert!(not_told.starts_with("HTTP/1.1 4") && !not_told.contains("secret"), "{not_told}");
    let no_request = asked(channel, Some(&gateway), &head("/fhir/metadata")).await;
    assert!(no_request.starts_with("HTTP/1.1 404"), "{no_request}");
    // The server's own certificate is not a gateway's, and plain TCP is nobody's.
    let folder = split.server_folder();
    fs::copy(folder.join("link.crt"), folder.join("self.crt")).unwrap();
    let stranger = load(&folder, "self.crt");
    for address in [requests, channel] {
        assert_eq!(asked(address, Some(&stranger), &head("/channel")).await, "");
        let plain = asked(address, None, &head("/channel")).await;
        assert!(!plain.contains("secret") && !plain.contains("HTTP/1.1 200"), "{plain}");
    }
}

#[tokio::test]
async fn plain_tcp_takes_a_flag_that_says_what_it_is_and_is_told_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (requests, channel) = (free_address(), free_address());
    let text = format!(
        "public_base_url = \"http://fhir.example.org/fhir\"\n[server.link]\n\
         listen = \"{requests}\"\nchannel_listen = \"{channel}\"\n"
    );
    fs::write(folder.path().join("plain.toml"), text).unwrap();
    let arguments = ["server", "--config", "plain.toml"];
    let refused = failure(&run(folder.path(), &arguments), 2);
    assert!(refused.contains("--insecure-plain-link") && refused.contains("link create"));
    let mut command = std::process::Command::new(integration_tests::binary::hearthgate());
    command.current_dir(folder.path()).args(arguments).arg("--insecure-plain-link");
    let process = Process::start(command, folder.path(), "plain");
    until("the server answers", SOON, async || {
        let said = process.stderr();
        said.contains("Hearthgate's server answers").then_some(()).ok_or(said)
    })
    .await;
    assert!(process.stderr().contains("INSECURE"), "{}", process.stderr());
    let head = "GET /channel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(asked(channel, None, head).await.contains("\"secret\""));
}
