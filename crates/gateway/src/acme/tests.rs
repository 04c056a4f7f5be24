//! Orders at an authority that is there (`pebble`), by a clock that is moved by hand.

#[path = "../../tests/acme_server/mod.rs"]
mod acme_server;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicI64, Ordering};

use acme_server::{ABSENT, AcmeServer};
use contract::Instant;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::redirect;
use crate::tls::{Acceptor, ClientCertificates, Tls};

/// The machine's time, and what is added to it, in seconds.
#[derive(Default)]
struct MovedClock(AtomicI64);

impl Clock for MovedClock {
    fn now(&self) -> Instant {
        #[expect(clippy::disallowed_methods, reason = "certificates are issued in real time")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let seconds = i64::try_from(since.as_secs()).expect("not for long");
        Instant::from_micros((seconds + self.0.load(Ordering::SeqCst)) * 1_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn acme(server: &AcmeServer, dir: &std::path::Path, challenge: AcmeChallenge) -> Acme {
    Acme {
        directory: IssuerUrl::new(&server.directory).expect("a URL"),
        names: vec!["ehr.example.org".to_owned(), "api.example.org".to_owned()],
        contacts: vec!["mailto:it@example.org".to_owned()],
        challenge,
        authority_file: Some(server.authority_file.clone()),
        dir: dir.join("acme"),
    }
}

fn held(acme: &Acme) -> Held {
    Held::read(&acme.files()).expect("a certificate")
}

// GW-029
#[tokio::test]
async fn a_certificate_is_proven_over_http_renewed_before_it_ends_and_stays_when_that_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let Some(mut server) = AcmeServer::begin(folder.path(), port, 1) else {
        return eprintln!("skipped: {ABSENT}");
    };
    let acme = acme(&server, folder.path(), AcmeChallenge::Http01);
    let clock = Arc::new(MovedClock::default());
    let metrics = Arc::new(Metrics::new().expect("names are valid"));
    let keeper = AcmeKeeper::open(acme.clone(), clock.clone(), metrics).expect("it opens");
    assert!(!held(&acme).is_issued_for(&acme.names), "until then one stands in");
    assert_eq!(keeper.state().certificate, "stand-in");
    let mut tasks = JoinSet::new();
    tasks.spawn(redirect::serve(listener, 443, keeper.challenges()));

    let mut client = None;
    keeper.look(&mut client).await.expect("a certificate");
    let first = held(&acme);
    assert!(first.is_issued_for(&["api.example.org".to_owned(), "ehr.example.org".to_owned()]));
    assert!(!first.is_issued_for(&["ehr.example.org".to_owned()]));
    assert_eq!((keeper.state().certificate, keeper.state().failures), ("issued", 0));
    for name in ["certificate.pem", "account.json"] {
        let rights = std::fs::metadata(acme.dir.join(name)).expect("a file").permissions();
        assert_eq!(rights.mode() & 0o777, 0o600, "{name}");
    }
    let rights = std::fs::metadata(&acme.dir).expect("a folder").permissions();
    assert_eq!(rights.mode() & 0o777, 0o700);

    // Long before its end it stays, also with the account of before.
    let bytes = || std::fs::read(acme.files().certificate).expect("a file");
    let (before, account) = (bytes(), std::fs::read(acme.dir.join("account.json")).expect("one"));
    client = None;
    keeper.look(&mut client).await.expect("nothing to do");
    assert_eq!(bytes(), before);
    // With a third of its time left it is renewed.
    clock.0.store(first.renew_at() - clock.now().as_seconds() + 1, Ordering::SeqCst);
    keeper.look(&mut client).await.expect("a new certificate");
    assert_ne!(bytes(), before);
    assert_ne!(held(&acme).identifier(), first.identifier());
    assert_eq!(std::fs::read(acme.dir.join("account.json")).expect("one"), account);

    // Without the authority the one of before stays, and it is said.
    server.kill();
    let before = bytes();
    let error = keeper.look(&mut client).await.expect_err("nobody is there");
    assert!(matches!(error, AcmeError::Unreachable(_)), "{error:?}");
    keeper.say(1, Some(&error));
    assert_eq!(bytes(), before);
    let state = keeper.state();
    assert_eq!((state.certificate, state.failures), ("issued", 1));
    assert!(state.error.is_some_and(|error| error.contains("cannot be asked")));
}

// GW-029
#[tokio::test]
async fn a_certificate_is_proven_over_tls_where_clients_must_show_certificates_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let Some(server) = AcmeServer::begin(folder.path(), 1, port) else {
        return eprintln!("skipped: {ABSENT}");
    };
    let acme = acme(&server, folder.path(), AcmeChallenge::TlsAlpn01);
    let metrics = Arc::new(Metrics::new().expect("names are valid"));
    let clock = Arc::new(MovedClock::default());
    let keeper = AcmeKeeper::open(acme.clone(), clock, metrics.clone()).expect("it opens");
    let clients = ClientCertificates::Required(server.authority_file.clone());
    let tls = Tls { certificates: vec![acme.files()], clients, hsts_seconds: None };
    let acceptor = Acceptor::load(tls, metrics.clone(), keeper.challenges()).expect("files");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            acceptor.accept(stream, Duration::from_secs(5)).await;
        }
    });
    keeper.look(&mut None).await.expect("a certificate");
    assert!(held(&acme).is_issued_for(&acme.names));
    assert!(!keeper.challenges().has_certificates(), "nothing is shown any more");
    // Both names were looked at, and nothing else was let in.
    let proven = metrics.tls_handshakes.with_label_values(&["proven"]).get();
    assert!(proven >= 2, "{proven}");
    assert_eq!(metrics.tls_handshakes.with_label_values(&["ok"]).get(), 0);
    drop(TcpStream::connect(("127.0.0.1", port)).await);
}

#[tokio::test]
async fn names_that_cannot_be_proven_get_no_certificate_and_nothing_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = AcmeServer::begin(folder.path(), 1, 1) else {
        return eprintln!("skipped: {ABSENT}");
    };
    let acme = acme(&server, folder.path(), AcmeChallenge::Http01);
    let metrics = Arc::new(Metrics::new().expect("names are valid"));
    let clock = Arc::new(MovedClock::default());
    let keeper = AcmeKeeper::open(acme.clone(), clock, metrics).expect("it opens");
    let before = std::fs::read(acme.files().certificate).expect("a file");
    keeper.look(&mut None).await.expect_err("nobody proves them");
    assert_eq!(std::fs::read(acme.files().certificate).expect("a file"), before);
    assert!(keeper.challenges().text("/.well-known/acme-challenge/").is_none());
}
