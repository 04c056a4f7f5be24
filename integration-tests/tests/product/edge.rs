//! The gateway's edge as an operator runs it: HTTPS, a configuration that is read again, and one
//! binary after another on the same socket.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hearthgate::control;
use integration_tests::binary::{hearthgate, run, text};
use integration_tests::edge::NAME;
use integration_tests::frames::{Outcome, beginning, head, outcome};
use integration_tests::process::{Process, Signal};
use integration_tests::raw::exchange;
use integration_tests::served::Served;
use integration_tests::site::{Deployment, First, Site};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::waiting::{SOON, until, within};

for_both_deployments! {
    a_hangup_has_the_configuration_read_again_all_of_it_or_nothing,
}

// GW-061
async fn a_hangup_has_the_configuration_read_again_all_of_it_or_nothing(deployment: Deployment) {
    let mut site = Site::prepare(deployment);
    site.configure("[gateway]\nuri_bytes = 1000\n");
    site.launch(First::Gateway).await;
    let long = format!("/metadata?_x={}", "x".repeat(100));
    assert_eq!(site.anyone().get(&long).await.status, 200);

    // Half of it could be taken, and is not.
    std::fs::write(site.config(), "[gateway]\nuri_bytes = 50\ndrain_seconds = 3\n").unwrap();
    site.front().signal(Signal::Hangup);
    until("the refusal is said", SOON, async || {
        let stderr = site.front().stderr();
        let said = stderr.contains("`gateway.drain_seconds` cannot change");
        said.then_some(()).ok_or(stderr)
    })
    .await;
    assert_eq!(site.anyone().get(&long).await.status, 200);
    std::fs::write(site.config(), "[gateway]\nuri_byte = 50\n").unwrap();
    let data = site.data().to_str().unwrap();
    let refused = run(site.folder(), &["reload", "--data", data]);
    let line = text(&refused.stderr);
    assert!(!refused.status.success() && line.contains("line 2"), "{line}");
    assert_eq!(site.anyone().get(&long).await.status, 200);

    std::fs::write(site.config(), "[gateway]\nuri_bytes = 50\n").unwrap();
    site.front().signal(Signal::Hangup);
    until("the shorter limit is in force", SOON, async || {
        let status = site.anyone().get(&long).await.status;
        (status == 414).then_some(()).ok_or(status.to_string())
    })
    .await;
    std::fs::write(site.config(), "[gateway]\nuri_bytes = 1000\n").unwrap();
    let taken = run(site.folder(), &["reload", "--data", data]);
    assert!(text(&taken.stdout).contains("gateway.uri_bytes"), "{taken:?}");
    assert_eq!(site.anyone().get(&long).await.status, 200);
}

/// Waits for the line that says where the process answers, and gives the address.
async fn answers(process: &mut Process) -> String {
    until("the process answers", SOON, async || {
        let stderr = process.stderr();
        let address = stderr.split_once("answers at http").map(|(_, rest)| rest.to_owned());
        let address = address.and_then(|rest| {
            let rest = rest.strip_prefix('s').unwrap_or(&rest).strip_prefix("://")?;
            Some(rest.split_once('/')?.0.to_owned())
        });
        if let Some(status) = process.end_so_far() {
            panic!("it ended with {status}: {stderr}");
        }
        address.ok_or(stderr)
    })
    .await
}

// GW-020 GW-021
#[tokio::test]
async fn with_a_certificate_https_is_spoken_and_links_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("own.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("own.key"), made.signing_key.serialize_pem()).unwrap();
    let config = "[[gateway.tls.certificates]]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n";
    std::fs::write(folder.path().join("site.toml"), config).unwrap();
    let mut command = Command::new(hearthgate());
    command.current_dir(folder.path()).args(["serve", "--config", "site.toml"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut process = Process::start(command, folder.path(), "serve");
    let address = answers(&mut process).await;
    let answer = until("the capabilities are answered", SOON, async || {
        let answer = over_tls(&address, made.cert.der().clone()).await;
        answer.starts_with("HTTP/1.1 200").then_some(answer.clone()).ok_or(answer)
    })
    .await;
    assert!(answer.contains("strict-transport-security: max-age=31536000"), "{answer}");
    assert!(answer.contains(&format!("https://{address}/fhir")), "{answer}");
}

// GW-020 GW-025
#[tokio::test]
async fn a_fragment_is_refused_in_http_1_and_cut_off_in_http_2() {
    let served = Served::start("").await;
    let target = "/fhir/metadata#/../Patient";
    let asked = format!("GET {target} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
    let answer = exchange(served.http1().await, asked.as_bytes()).await;
    assert_eq!(answer.status(), Some(400), "{answer:?}");
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":authority", NAME), (":path", target)];
    let mut stream = served.http2().await;
    let asked = [beginning(), head(1, &fields, true)].concat();
    stream.write_all(&asked).await.unwrap();
    let outcome = within("an answer", SOON, outcome(&mut stream, 1)).await;
    assert_eq!(outcome, Outcome::Good, "without a key only the capabilities are answered");
}

async fn over_tls(address: &str, trusted: CertificateDer<'static>) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = within("a handshake", SOON, connector.connect(name, stream)).await.unwrap();
    stream.write_all(CAPABILITIES.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", SOON, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

const CAPABILITIES: &str =
    "GET /fhir/metadata HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

// GW-062
#[tokio::test]
async fn one_gateway_after_another_on_a_socket_that_is_handed_over_refuses_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = |verb: &str, number: u32| {
        let mut command = Command::new("sh");
        let script = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 </dev/null"#;
        command.current_dir(folder.path()).args(["-c", script]).arg(hearthgate());
        command.args([verb, "--admin", "127.0.0.1:0"]);
        let stdin = Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        Process::start_on(stdin, command, folder.path(), &format!("{verb}{number}"))
    };
    let _server = start("server", 0);
    let mut gateway = start("gateway", 0);
    assert_eq!(answers(&mut gateway).await, address);

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (stop, asked, address) = (stop.clone(), asked.clone(), address.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let mut stream = TcpStream::connect(&address).await.expect("nobody is refused");
                stream.write_all(CAPABILITIES.as_bytes()).await.expect("it is read");
                let mut answer = Vec::new();
                let read = within("an answer", SOON, stream.read_to_end(&mut answer)).await;
                read.expect("an answer, whole");
                let answer = String::from_utf8_lossy(&answer).into_owned();
                // Four clients ask more often than one address may.
                let served = ["HTTP/1.1 200", "HTTP/1.1 429"];
                assert!(served.iter().any(|status| answer.starts_with(status)), "{answer}");
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    for number in 1..=3 {
        let before = asked.load(Ordering::SeqCst);
        until("clients are served", SOON, async || {
            let served = asked.load(Ordering::SeqCst) - before;
            (served > 20).then_some(()).ok_or(served.to_string())
        })
        .await;
        gateway.signal(Signal::Terminate);
        assert!(gateway.ended().await.success());
        gateway = start("gateway", number);
        assert_eq!(answers(&mut gateway).await, address);
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = within("the clients' end", SOON, clients.join_next()).await {
        ended.unwrap();
    }
}

/// Reloads, of which each could leave something behind.
const RELOADS: u32 = 500;
/// What a gateway may grow by meanwhile, in bytes: what its allocator keeps back, and no more.
const GROWTH: u64 = 4 << 20;

// GW-061
#[tokio::test]
async fn hundreds_of_reloads_under_load_leave_memory_flat_and_fail_no_request() {
    let mut site = Site::prepare(Deployment::TwoProcesses);
    site.configure("[gateway]\nuri_bytes = 1000\n");
    site.launch(First::Gateway).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (owner, told) = (site.owner(), stop.clone());
    let mut load = JoinSet::new();
    load.spawn(async move {
        let mut answered = 0;
        while !told.load(Ordering::SeqCst) {
            let _ = owner.get("/metadata?_elements=url").await.is(200);
            answered += 1;
        }
        answered
    });
    let reload = async |times: u32| {
        for number in 0..times {
            let text = format!(
                "[gateway]\nuri_bytes = {}\n[lanes]\nsystem = {}\n[plans.app]\n\
                 says = \"For apps.\"\ndefault = true\n\
                 quotas = [{{ of = \"requests\", most = {}, per = \"month\" }}]\n",
                1000 + number % 2,
                50 + number % 3,
                1_000_000 + number % 5
            );
            std::fs::write(site.config(), text).unwrap();
            let answer = control::ask(site.data(), &control::Request::Reload).await.unwrap();
            assert!(matches!(answer, control::Answer::Reloaded(_)), "{answer:?}");
        }
    };
    reload(RELOADS / 5).await;
    let before = site.front().resident();
    reload(RELOADS).await;
    let after = site.front().resident();
    assert!(after < before + GROWTH, "{before} bytes became {after}");
    stop.store(true, Ordering::SeqCst);
    let answered: u32 = load.join_next().await.unwrap().unwrap();
    assert!(answered > 10, "{answered}");
}
