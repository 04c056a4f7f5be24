//! Spans of requests, as a collector gets them.

use std::process::Command;

use integration_tests::binary::hearthgate;
use integration_tests::process::Process;
use integration_tests::site::{Deployment, First, Site, free_address};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::Method;
use crate::access_log::{line_of, server_admin};
use crate::client::{Client, sent};
use crate::collector::{Collector, Span};
use crate::waiting::{SOON, until, within};

for_both_deployments! {
    a_request_is_one_tree_from_the_gateway_to_the_disk,
    a_collector_that_is_gone_or_silent_keeps_nobody_waiting,
    a_collector_that_stops_under_load_costs_spans_alone_and_gets_them_when_it_is_back,
}

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

async fn site(deployment: Deployment, configuration: &str) -> Site {
    let mut site = Site::prepare(deployment);
    site.configure(configuration);
    site.launch(First::Gateway).await;
    site
}

/// The one child of `parent` with this name.
fn below<'a>(spans: &'a [Span], parent: &Span, name: &str) -> &'a Span {
    let found: Vec<_> =
        spans.iter().filter(|span| span.parent == parent.id && span.name == name).collect();
    let [found] = found.as_slice() else { panic!("{name} below {parent:?} of {spans:#?}") };
    found
}

fn root(spans: &[Span]) -> &Span {
    spans.iter().find(|span| span.parent.is_empty()).expect("a trace has a first span")
}

async fn a_request_is_one_tree_from_the_gateway_to_the_disk(deployment: Deployment) {
    // GW-051, GW-052
    let collector = Collector::start().await;
    let site = site(deployment, &collector.configuration()).await;
    let owner = site.owner();
    let trace_of = async |id: &str| {
        let line = line_of(site.front(), id).await;
        line["traceId"].as_str().unwrap().to_owned()
    };
    let patient = r#"{"resourceType":"Patient","id":"p1"}"#;
    let put = owner.with_body(Method::PUT, "/Patient/p1", patient).header("x-request-id", "put");
    let _ = sent(put).await.is(201);
    let ended = |name: &'static str| {
        move |spans: &[Span]| {
            spans.iter().any(|span| span.parent.is_empty())
                && spans.iter().any(|span| span.name == name)
                && spans.iter().filter(|span| span.kind == 2).count() == 2
        }
    };
    let spans = collector.trace(&trace_of("put").await, ended("sync")).await;
    let gateway = root(&spans);
    assert_eq!((gateway.name.as_str(), gateway.kind), ("PUT /fhir/{type}/{id}", 2));
    for (name, value) in [
        ("http.request.method", "PUT"),
        ("http.route", "/fhir/{type}/{id}"),
        ("http.response.status_code", "201"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("hearthgate.request_id", "put"),
        ("hearthgate.route", "fhir"),
        ("hearthgate.interaction", "update"),
        ("hearthgate.client", "owner"),
    ] {
        assert_eq!(gateway.attributes[name], value);
    }
    assert_eq!(gateway.service, "hearthgate");
    let way = below(&spans, gateway, "PUT");
    assert_eq!((way.kind, way.attributes["hearthgate.upstream"].as_str()), (3, "server"));
    let server = below(&spans, way, "PUT /fhir/{type}/{id}");
    assert_eq!(server.kind, 2);
    assert_eq!(server.attributes["hearthgate.resource_type"], "Patient");
    assert_eq!(server.attributes["http.response.status_code"], "201");
    let commit = below(&spans, server, "commit");
    assert_eq!(commit.attributes["hearthgate.changes"], "1");
    let append = below(&spans, commit, "append");
    below(&spans, append, "sync");
    assert!(spans.iter().all(|span| !span.failed), "{spans:#?}");

    for (id, path, part) in
        [("read", "/Patient/p1", "read"), ("search", "/Patient?_id=p1", "search")]
    {
        let request = owner.request(Method::GET, path).header("x-request-id", id);
        let _ = sent(request).await.is(200);
        let spans = collector.trace(&trace_of(id).await, ended(part)).await;
        let way = below(&spans, root(&spans), "GET");
        let server = spans.iter().find(|span| span.parent == way.id).expect("the server's");
        below(&spans, server, part);
    }

    // The sender's trace goes on; what it cannot be read from is as if it were not there.
    let continued = owner
        .request(Method::GET, "/Patient/absent")
        .header("traceparent", format!("{GIVEN}-00"))
        .header("tracestate", "vendor=word")
        .header("x-request-id", "continued");
    let _ = sent(continued).await.is(404);
    assert_eq!(trace_of("continued").await, &GIVEN[3..35]);
    let spans = collector
        .trace(&GIVEN[3..35], |spans| spans.iter().any(|span| span.parent == GIVEN[36..]))
        .await;
    assert!(spans.iter().all(|span| span.name != "request"), "{spans:#?}");
    let garbage = owner
        .request(Method::GET, "/metadata")
        .header("traceparent", "00-planted")
        .header("x-request-id", "garbage");
    let _ = sent(garbage).await.is(200);
    assert_eq!(trace_of("garbage").await.len(), 32);
    assert!(!collector.bodies().contains("vendor=word"));
    let head = collector.heads().remove(0);
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
}

async fn a_collector_that_is_gone_or_silent_keeps_nobody_waiting(deployment: Deployment) {
    // GW-051
    let gone = format!("http://{}/v1/traces", free_address());
    // Nobody ever accepts here.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/v1/traces", silent.local_addr().unwrap());
    for (url, result) in [(gone, Some("failed")), (silent, None)] {
        let text = format!("[traces]\nendpoint = \"{url}\"\nsample = 1.0\ntimeout_seconds = 60\n");
        let mut site = site(deployment, &text).await;
        let owner = site.owner();
        let asking = async {
            for _ in 0..50 {
                let _ = owner.get("/metadata").await.is(200);
            }
        };
        within("the requests are answered", SOON, asking).await;
        if let Some(result) = result {
            let admin = site.admin();
            until("what was thrown away is counted", SOON, async || {
                let metrics = admin.get("/metrics").await.is(200).text().to_owned();
                let counted = format!("trace_spans_total{{result=\"{result}\"}} ");
                let lines = metrics.lines().filter_map(|line| line.split_once(&counted));
                let count: u64 = lines.map(|(_, count)| count.parse::<u64>().unwrap()).sum();
                (count > 0).then_some(()).ok_or(metrics.clone())
            })
            .await;
        }
        // It ends as soon as ever.
        within("the site stops", SOON, site.stop()).await;
    }
}

/// What became of spans so far, by `sent`, `dropped` and `failed`, in all processes together.
async fn spans_of(site: &Site, deployment: Deployment) -> [usize; 3] {
    let mut metrics = site.admin().get("/metrics").await.is(200).text().to_owned();
    if deployment == Deployment::TwoProcesses {
        metrics += server_admin(site).get("/metrics").await.is(200).text();
    }
    ["sent", "dropped", "failed"].map(|result| {
        let counted = format!("_trace_spans_total{{result=\"{result}\"}} ");
        let lines = metrics.lines().filter_map(|line| line.split_once(&counted));
        lines.map(|(_, count)| count.parse::<usize>().unwrap()).sum()
    })
}

/// Spans that wait in one process at most.
const MOST_WAITING: usize = 16 * 1024;

async fn a_collector_that_stops_under_load_costs_spans_alone_and_gets_them_when_it_is_back(
    deployment: Deployment,
) {
    // GW-051
    let collector = Collector::start().await;
    let more = "[server]\nadmin_listen = \"127.0.0.1:0\"\n";
    let site = site(deployment, &format!("{}{more}", collector.configuration())).await;
    let owner = site.owner();
    let _ = owner.put("/Patient/p1", r#"{"resourceType":"Patient","id":"p1"}"#).await.is(201);
    let entry = r#"{"request":{"method":"GET","url":"Patient/p1"}}"#;
    // A hundred spans in the server, and more that are left out.
    let entries = vec![entry; 120].join(",");
    let batch = format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries}]}}"#);
    let load = async |times: usize| {
        for _ in 0..times {
            let _ = owner.post("", batch.clone()).await.is(200);
        }
    };
    load(5).await;
    until("spans come", SOON, async || {
        let count = collector.spans().len();
        (count > 400).then_some(()).ok_or_else(|| count.to_string())
    })
    .await;

    // It stops in the midst of requests, and none of them fails or waits.
    let address = collector.address;
    let (took, _) = within("all are answered", 4 * SOON, async {
        let four = async { tokio::join!(load(75), load(75), load(75), load(75)) };
        tokio::join!(collector.stop(), four)
    })
    .await;
    let [_, dropped, failed] = until("what is too much is thrown away", SOON, async || {
        let counts = spans_of(&site, deployment).await;
        (counts[1] > 0 && counts[2] > 0).then_some(counts).ok_or_else(|| format!("{counts:?}"))
    })
    .await;

    // What waited comes when it is back, no more than may wait. Each span is counted once: none
    // is kept beside the queue, none lost.
    let back = Collector::start_at(address).await;
    let counts = until("what waited has come", 4 * SOON, async || {
        let counts = spans_of(&site, deployment).await;
        let is_whole = took + back.spans().len() == counts[0];
        let are_all = counts.iter().sum::<usize>() > 300 * 100;
        (is_whole && are_all).then_some(counts).ok_or_else(|| format!("{counts:?}, {took} before"))
    })
    .await;
    let came = back.spans().len();
    let most = site.processes().count() * (MOST_WAITING + 200);
    assert!((1..=most).contains(&came), "{came} waited");
    assert!(counts[1] >= dropped && counts[2] >= failed, "{counts:?}");

    // And what is asked from now on.
    let last = owner.request(Method::GET, "/metadata").header("x-request-id", "last");
    let _ = sent(last).await.is(200);
    let trace = line_of(site.front(), "last").await["traceId"].as_str().unwrap().to_owned();
    back.trace(&trace, |spans| spans.len() == 3).await;
    let after = spans_of(&site, deployment).await;
    assert_eq!(after[1..], counts[1..], "nothing more is thrown away");
}

/// A gateway alone, before an upstream that keeps the heads of requests.
async fn heads_at_an_upstream(gateway: &str, traces: &str, asks: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = upstream.local_addr().unwrap().port();
    let text = format!(
        "[gateway]\nserver = false\n{gateway}\n{traces}\n\
         [[gateway.routes]]\nname = \"lab\"\npath = \"/lab\"\nupstream = \"lab\"\n\
         content = \"other\"\ncallers = \"public\"\n\
         [gateway.upstreams.lab]\nendpoints = [{{ address = \"127.0.0.1:{port}\" }}]\n\
         enforces = \"none\"\n"
    );
    std::fs::write(folder.path().join("hub.toml"), text).unwrap();
    let address = free_address().to_string();
    let mut command = Command::new(hearthgate());
    command.current_dir(folder.path()).args(["gateway", "--config", "hub.toml"]);
    command.args(["--data", "data", "--listen", &address, "--admin", "127.0.0.1:0"]);
    let process = Process::start(command, folder.path(), "gateway");
    until("the gateway listens", SOON, async || {
        let listens = process.stderr().contains("Hearthgate's gateway listens");
        listens.then_some(()).ok_or_else(|| process.stderr())
    })
    .await;
    let client = Client::new(&format!("http://{address}"), None);
    let mut heads = Vec::new();
    for traceparent in asks {
        let request = client
            .request(Method::GET, "/lab/a")
            .header("traceparent", *traceparent)
            .header("tracestate", "vendor=word");
        let answering = async {
            let (mut stream, _) = upstream.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(head).unwrap().to_ascii_lowercase()
        };
        let (answer, head) = tokio::join!(sent(request), answering);
        let _ = answer.is(200);
        heads.push(head);
    }
    heads
}

fn told(head: &str) -> &str {
    let value = head.split("traceparent: ").nth(1).expect("the upstream is told");
    value.split("\r\n").next().unwrap()
}

#[tokio::test]
async fn an_upstream_of_others_is_told_the_trace_and_a_trusted_proxy_decides_what_is_recorded() {
    // GW-051
    let collector = Collector::start().await;
    let endpoint = format!("[traces]\nendpoint = \"{}\"\n", collector.url);
    let asks = [&*format!("{GIVEN}-00"), &format!("{GIVEN}-01")];
    // Nobody is trusted: all are recorded, or none, whatever they say.
    for (sample, ending) in [("1", "-01"), ("0", "-00")] {
        let traces = format!("{endpoint}sample = {sample}\n");
        for head in heads_at_an_upstream("", &traces, &asks).await {
            let told = told(&head);
            assert!(told.starts_with(&GIVEN[..36]) && told.ends_with(ending), "{told}");
            assert!(head.contains("tracestate: vendor=word\r\n"), "{head}");
        }
    }
    // A trusted proxy decides for each.
    let traces = format!("{endpoint}sample = 0\n");
    let trusting = "trusted_proxies = [\"127.0.0.1\"]\nclient_address = \"x-forwarded-for\"";
    let heads = heads_at_an_upstream(trusting, &traces, &asks).await;
    assert_eq!(told(&heads[0]), asks[0], "what nobody records goes on as it came");
    let recorded = told(&heads[1]);
    assert!(recorded.ends_with("-01") && recorded != asks[1], "{recorded}");
    // Without tracing the headers are nothing to the gateway.
    for (head, ask) in heads_at_an_upstream("", "", &asks).await.iter().zip(asks) {
        assert_eq!(told(head), ask);
    }
}
