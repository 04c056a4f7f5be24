//! The operator's listener: what the server counts of itself, and whether it is ready.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Fault, PATIENCE, Site, raw};

/// What the listener answers to `GET path`.
async fn asked(site: &Site, path: &str) -> (u16, String) {
    let talk = async {
        let mut stream = TcpStream::connect(site.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, talk).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn metrics(site: &Site) -> String {
    let (status, text) = asked(site, "/metrics").await;
    assert_eq!(status, 200);
    text
}

/// The value of the line with this name and labels.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// The names and labels of all series.
fn series(metrics: &str) -> BTreeSet<&str> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

fn patient(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#)
}

// GW-050
#[tokio::test]
async fn what_is_asked_and_what_is_kept_is_counted() {
    let site = Site::start().await;
    site.put("Patient/planted-1", patient("planted-1")).await.is(201);
    site.get("Patient/planted-1").await.is(200);
    site.get("Patient/planted-none").await.is(404);
    site.is_indexed().await;
    let counted = metrics(&site).await;
    let of = |series: &str| value(&counted, series);
    let requests = |interaction: &str, status: &str| {
        of(&format!(
            "hearthgate_server_requests_total{{interaction=\"{interaction}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(requests("read", "2xx"), Some(1.0));
    assert_eq!(requests("read", "4xx"), Some(1.0));
    assert_eq!(requests("update", "2xx"), Some(1.0));
    let took = "hearthgate_server_request_duration_seconds_count{interaction=\"read\"}";
    assert_eq!(of(took), Some(2.0));
    assert_eq!(of("hearthgate_server_requests_in_flight"), Some(0.0));
    assert_eq!(of("hearthgate_server_held_bytes"), Some(0.0));
    assert!(of("hearthgate_server_rows_total").is_some_and(|rows| rows > 0.0), "{counted}");
    for (name, expected) in [
        ("position", 1.0),
        ("takes_commits", 1.0),
        ("commits_waiting", 0.0),
        ("index_ready", 1.0),
        ("index_behind", 0.0),
        ("index_documents", 1.0),
        ("audit_ready", 1.0),
    ] {
        let series = format!("hearthgate_server_{name}{{tenant=\"default\"}}");
        assert_eq!(of(&series), Some(expected), "{name} of {counted}");
    }
    let waiting = |place: &str| {
        of(&format!(
            "hearthgate_server_commit_bytes_waiting{{place=\"{place}\",tenant=\"default\"}}"
        ))
    };
    assert_eq!((waiting("log"), waiting("beside")), (Some(0.0), Some(0.0)));
    assert!(!counted.contains("planted"), "{counted}");
}

// GW-050
#[tokio::test]
async fn no_request_makes_a_series_that_others_would_not() {
    let site = Site::start().await;
    let ask = async |number: usize| {
        site.put(&format!("Patient/p-{number}"), patient(&format!("p-{number}"))).await.is(201);
        site.get(&format!("Patient/p-{number}")).await.is(200);
        site.get(&format!("Patient/none-{number}")).await.is(404);
        site.get(&format!("Patient?name={number}")).await.is(200);
    };
    ask(0).await;
    let before = metrics(&site).await;
    for number in 1..50 {
        ask(number).await;
    }
    let after = metrics(&site).await;
    assert_eq!(series(&before), series(&after));
    let position = "hearthgate_server_position{tenant=\"default\"}";
    assert_eq!(value(&after, position), Some(50.0));
}

// GW-050
#[tokio::test]
async fn a_request_without_the_gateways_word_is_counted_by_what_it_lacks() {
    let site = Site::start().await;
    let head = "GET /fhir/Patient/planted HTTP/1.1\r\nhost: h\r\n\r\n";
    raw(&site.socket, head.as_bytes()).await;
    let counted = metrics(&site).await;
    let series = "hearthgate_server_requests_not_admitted_total{reason=\"channel\"}";
    assert_eq!(value(&counted, series), Some(1.0), "{counted}");
    assert!(!counted.contains("hearthgate_server_requests_total{"), "{counted}");
}

// GW-054, GW-050
#[tokio::test]
async fn the_operator_is_told_of_readiness_and_of_nothing_else() {
    let site = Site::start().await;
    assert_eq!(asked(&site, "/livez").await, (200, "alive\n".to_owned()));
    let (status, ready) = asked(&site, "/readyz").await;
    assert_eq!(status, 200, "{ready}");
    for path in ["/channel", "/denials", "/fhir/metadata", "/"] {
        let (status, body) = asked(&site, path).await;
        assert_eq!((status, body.as_str()), (404, "/metrics, /livez, /readyz\n"), "{path}");
    }
    site.fail(Fault::Poisoned);
    site.put("Patient/1", patient("1")).await;
    let (status, not_ready) = asked(&site, "/readyz").await;
    assert_eq!(status, 503, "{not_ready}");
    let counted = metrics(&site).await;
    let takes = "hearthgate_server_takes_commits{tenant=\"default\"}";
    assert_eq!(value(&counted, takes), Some(0.0), "{counted}");
}

// GW-050
#[tokio::test]
async fn what_waits_for_the_disk_is_shown_while_it_waits() {
    let site = Site::start().await;
    site.fail(Fault::Held);
    // Those that come before the first is at the disk go there with it; who comes then waits.
    let shows = async |writes: usize| {
        let counted = metrics(&site).await;
        let of = |name: &str, labels: &str| {
            value(&counted, &format!("hearthgate_server_{name}{labels}")).unwrap()
        };
        of("requests_in_flight", "") == writes as f64
            && of("commits_waiting", "{tenant=\"default\"}") >= 1.0
            && of("commit_bytes_waiting", "{place=\"log\",tenant=\"default\"}") > 0.0
            && of("held_bytes", "") > 0.0
    };
    let put = async |id: usize| {
        site.put(&format!("Patient/{id}"), patient(&id.to_string())).await.is(201);
    };
    let mut writes = FuturesUnordered::new();
    let is_shown = loop {
        writes.push(put(writes.len()));
        let count = writes.len();
        let looking = async {
            for _ in 0..20 {
                if shows(count).await {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        };
        // What is written meanwhile goes on, and none is answered.
        let is_shown = tokio::select! {
            is_shown = looking => is_shown,
            Some(()) = writes.next() => panic!("a write is answered that no disk took"),
        };
        if is_shown || count > 50 {
            break is_shown;
        }
    };
    site.fail(Fault::None);
    while writes.next().await.is_some() {}
    assert!(is_shown, "writes wait, and it does not show");
    let counted = metrics(&site).await;
    let waiting = "hearthgate_server_commits_waiting{tenant=\"default\"}";
    assert_eq!(value(&counted, waiting), Some(0.0));
}
