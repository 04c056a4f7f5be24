//! TLS: versions, certificates by name, clients' certificates, and files that are replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gateway::{CertificateFiles, ClientCertificates, GatewayConfig, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use registry::{CertificateDigest, ClientId, Credential, OperatorName, OperatorRole};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Connection, Running, actor, start_alone, start_with, within};
use crate::stub::Stub;

/// An authority of a test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate by it.
pub(crate) struct Own {
    pub(crate) der: CertificateDer<'static>,
    key: KeyPair,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(crate) fn issue(&self, name: &str) -> Own {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Own { der: certificate.der().clone(), key, pem: certificate.pem() }
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).expect("a file");
    }
}

impl Own {
    /// Writes certificate and key beside each other.
    pub(crate) fn write(&self, dir: &Path, name: &str) -> CertificateFiles {
        let certificate = dir.join(format!("{name}.pem"));
        let key = dir.join(format!("{name}.key"));
        std::fs::write(&certificate, &self.pem).expect("a file");
        std::fs::write(&key, self.key.serialize_pem()).expect("a file");
        CertificateFiles { certificate, key }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// What a client trusts, shows and speaks.
pub(crate) struct Client<'a> {
    pub(crate) trusts: &'a Authority,
    pub(crate) shows: Option<&'a Own>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) alpn: &'static [&'static [u8]],
}

impl<'a> Client<'a> {
    pub(crate) fn of(trusts: &'a Authority) -> Self {
        Self { trusts, shows: None, versions: rustls::ALL_VERSIONS, alpn: &[] }
    }

    /// Shakes hands with the gateway as `name`, and reads what comes of it.
    pub(crate) async fn connect(
        &self,
        running: &Running,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.0.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match self.shows {
            None => config.with_no_client_auth(),
            Some(own) => config
                .with_client_auth_cert(vec![own.der.clone()], own.key())
                .expect("a certificate"),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within("a connection", TcpStream::connect(running.bound.listen)).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        within("a handshake", connector.connect(name, stream)).await
    }

    /// The status of a read as the owner; none when the gateway gives no connection.
    async fn read(&self, running: &Running) -> Option<u16> {
        let stream = self.connect(running, "a.example").await.ok()?;
        let mut connection = Connection::over(stream);
        let bytes = running.request("GET", "/fhir/Patient/1", &[], "");
        // In TLS 1.3 a client learns that its certificate was refused only here.
        if !connection.try_write(bytes.as_bytes()).await || connection.is_closed().await {
            return None;
        }
        Some(connection.read_answer().await.status)
    }
}

/// Certificates in a directory that lives as long as the test.
pub(crate) struct Site {
    pub(crate) authority: Authority,
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { authority: Authority::new(), dir }
    }

    pub(crate) fn tls(&self) -> Tls {
        let files = self.authority.issue("a.example").write(self.dir.path(), "a");
        let clients = ClientCertificates::Unasked;
        Tls { certificates: vec![files], clients, hsts_seconds: Some(60) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A gateway in plain HTTP whose admin listener speaks TLS.
    async fn start_with_admin(&self, tls: Tls) -> (Running, Stub) {
        let running = start_alone(|config| config.admin_tls = Some(tls)).await;
        let stub = Stub::start(&running.dir);
        (running, stub)
    }

    pub(crate) async fn start(
        &self,
        change: impl FnOnce(&mut Tls, &mut GatewayConfig),
    ) -> (Running, Stub) {
        let mut tls = self.tls();
        start_with(|config| {
            change(&mut tls, config);
            config.tls = Some(tls);
        })
        .await
    }
}

// GW-020 GW-021
#[tokio::test]
async fn both_versions_are_spoken_and_the_server_is_told_that_it_was_https() {
    let site = Site::new();
    let (running, stub) = site.start(|_, _| {}).await;
    static TLS_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
    static TLS_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    for versions in [TLS_12, TLS_13] {
        let client = Client { versions, ..Client::of(&site.authority) };
        let stream = client.connect(&running, "a.example").await.expect("a handshake");
        let mut connection = Connection::over(stream);
        let bytes = running.request("GET", "/fhir/Patient/1", &[], "");
        connection.write(bytes.as_bytes()).await;
        let answer = connection.read_answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("strict-transport-security"), Some("max-age=60"));
    }
    for seen in stub.seen() {
        let forwarded = seen.headers.get("forwarded").and_then(|value| value.to_str().ok());
        assert_eq!(forwarded, Some("for=127.0.0.1;proto=https"));
    }
    // One that speaks plain HTTP gets nothing, and is in nobody's way.
    let mut plain = running.connect().await;
    plain.write(b"GET /fhir/metadata HTTP/1.1\r\nHost: a\r\n\r\n").await;
    plain.drain().await;
    let failed = "hearthgate_gateway_tls_handshakes_total{result=\"failed\"}";
    within("the count", async {
        while running.metric(failed).await < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

// GW-020
#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_it_asks_for_else_the_first() {
    let site = Site::new();
    let (running, _stub) = site
        .start(|tls, _| {
            for name in ["b.example", "*.wards.example"] {
                let own = site.authority.issue(name);
                tls.certificates.push(own.write(site.dir.path(), &name.replace('*', "any")));
            }
        })
        .await;
    for name in ["a.example", "b.example", "one.wards.example"] {
        let stream = Client::of(&site.authority).connect(&running, name).await;
        assert!(stream.is_ok(), "{name}: {stream:?}");
    }
    let other = Client::of(&site.authority).connect(&running, "c.example").await;
    let error = other.expect_err("the first certificate is for another name").to_string();
    assert!(error.contains("a.example"), "{error}");
}

// GW-020
#[tokio::test]
async fn client_certificates_are_asked_for_or_demanded_and_by_one_authority_alone() {
    let site = Site::new();
    let strangers = Authority::new();
    site.authority.write(&site.file("clients.pem"));
    let (good, bad) = (site.authority.issue("lab.example"), strangers.issue("lab.example"));
    let authority = || site.file("clients.pem");
    for (clients, none, by_it, by_another) in [
        (ClientCertificates::Unasked, Some(200), Some(200), Some(200)),
        (ClientCertificates::Requested(authority()), Some(200), Some(200), None),
        (ClientCertificates::Required(authority()), None, Some(200), None),
    ] {
        let (running, _stub) = site.start(|tls, _| tls.clients = clients.clone()).await;
        for (shows, status) in [(None, none), (Some(&good), by_it), (Some(&bad), by_another)] {
            let client = Client { shows, ..Client::of(&site.authority) };
            assert_eq!(client.read(&running).await, status, "{clients:?}");
        }
        running.stop().await;
    }
}

/// The certificate that a new connection is shown.
// GW-031
#[tokio::test]
async fn a_certificate_stands_for_its_client_where_no_key_is_sent() {
    let site = Site::new();
    let (running, stub) = site
        .start(|tls, config| {
            let path = site.dir.path().join("authority.pem");
            site.authority.write(&path);
            tls.clients = ClientCertificates::Requested(path);
            config.certificates = of_lab("lab.example");
        })
        .await;
    let _key = running.client("lab", "reader", None);
    let (lab, other) = (site.authority.issue("lab.example"), site.authority.issue("other.example"));
    let read = async |shows, authorization: Option<&str>| {
        let client = Client { shows, ..Client::of(&site.authority) };
        let stream = client.connect(&running, "a.example").await.expect("a connection");
        let mut connection = Connection::over(stream);
        let fields: Vec<_> = authorization.iter().map(|value| ("Authorization", *value)).collect();
        let bytes = crate::harness::request("GET", "/fhir/Patient/1", &fields, "");
        let mut statuses = Vec::new();
        for _ in 0..2 {
            connection.write(bytes.as_bytes()).await;
            statuses.push(connection.read_answer().await.status);
        }
        statuses
    };
    assert_eq!(read(None, None).await, [401, 401]);
    assert_eq!(read(Some(&other), None).await, [401, 401]);
    assert_eq!(read(Some(&lab), Some("Bearer hg_wrong")).await, [401, 401]);
    assert!(stub.seen().is_empty());
    assert_eq!(read(Some(&lab), None).await, [200, 200]);
    let owner = format!("Bearer {}", running.owner_key);
    assert_eq!(read(Some(&lab), Some(&owner)).await, [200, 200]);
    let seen = stub.seen();
    let clients: Vec<_> = seen.iter().map(|seen| seen.grant.client.clone().unwrap()).collect();
    assert_eq!(clients, ["lab", "lab", "owner", "owner"]);
    let authorization = seen[0].grant.authorization.clone().expect("an authorization");
    let renewal = contract::Renewal { authorization };
    let renewed = crate::renewals::renew(&running, &renewal).await;
    assert!(matches!(renewed, contract::RenewalAnswer::Grant(_)));
    let unknown = contract::Renewal { authorization: "certificate:owner".to_owned() };
    let renewed = crate::renewals::renew(&running, &unknown).await;
    assert_eq!(renewed, contract::RenewalAnswer::Gone);
    // GW-063: whatever a disabled client comes with, nothing is granted.
    let id = ClientId::new("lab").expect("a client's id");
    running.registry.disable_client(&id, &actor()).expect("disabled");
    assert_eq!(read(Some(&lab), None).await, [403, 403]);
    let renewed = crate::renewals::renew(&running, &renewal).await;
    assert_eq!(renewed, contract::RenewalAnswer::Gone);
    running.registry.enable_client(&id, &actor()).expect("enabled");
    assert_eq!(read(Some(&lab), None).await, [200, 200]);
}

/// The client `lab` by this name.
fn of_lab(dns: &str) -> gateway::CertificateClients {
    let dns = Some(dns.to_owned());
    let named = gateway::WrittenCertificate { dns, ..gateway::WrittenCertificate::default() };
    let lab = registry::ClientId::new("lab").expect("an id");
    gateway::CertificateClients::check(&[(lab, named)].into()).expect("a certificate")
}

async fn shown(running: &Running, authority: &Authority) -> CertificateDer<'static> {
    let stream = Client::of(authority).connect(running, "a.example").await.expect("a handshake");
    let certificates = stream.get_ref().1.peer_certificates().expect("a certificate");
    certificates[0].clone()
}

// GW-020
#[tokio::test]
async fn replaced_files_are_in_force_within_five_seconds_and_no_request_fails() {
    let site = Site::new();
    let (running, _stub) = site.start(|_, _| {}).await;
    let before = shown(&running, &site.authority).await;
    let stream = Client::of(&site.authority).connect(&running, "a.example").await;
    let mut kept = Connection::over(stream.expect("a handshake"));
    let bytes = running.request("GET", "/fhir/Patient/1", &[], "");

    // First what cannot be used: the key of another certificate.
    let other = site.authority.issue("a.example");
    std::fs::write(site.file("a.key"), other.key.serialize_pem()).expect("a file");
    let failed = "hearthgate_gateway_tls_loads_total{result=\"failed\"}";
    within("the refusal of a key without its certificate", async {
        while running.metric(failed).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(shown(&running, &site.authority).await, before);

    std::fs::write(site.file("a.pem"), &other.pem).expect("a file");
    let in_force = async {
        while shown(&running, &site.authority).await != other.der {
            kept.write(bytes.as_bytes()).await;
            assert_eq!(kept.read_answer().await.status, 200);
            assert_eq!(Client::of(&site.authority).read(&running).await, Some(200));
        }
    };
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, in_force).await.expect("the files are in force within 5 s");
    kept.write(bytes.as_bytes()).await;
    assert_eq!(kept.read_answer().await.status, 200);
    assert_eq!(running.metric("hearthgate_gateway_tls_loads_total{result=\"ok\"}").await, 1.0);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let site = Site::new();
    let tls = site.tls();
    std::fs::write(site.file("empty.pem"), "").expect("a file");
    std::fs::write(
        site.file("not.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("a file");
    site.authority.issue("b.example").write(site.dir.path(), "b");
    let with = |certificate: &str, key: &str| {
        let files = CertificateFiles { certificate: site.file(certificate), key: site.file(key) };
        Tls { certificates: vec![files], ..tls.clone() }
    };
    for (tls, parts) in [
        (with("gone.pem", "a.key"), ["cannot read a certificate", "gone.pem"]),
        (with("empty.pem", "a.key"), ["cannot read a certificate", "empty.pem"]),
        (with("not.pem", "a.key"), ["no X.509 certificate", "not.pem"]),
        (with("a.pem", "a.pem"), ["cannot read a private key", "a.pem"]),
        (with("a.pem", "b.key"), ["b.key does not go with", "a.pem"]),
        (Tls { certificates: Vec::new(), ..tls.clone() }, ["needs a certificate", "gateway.tls"]),
        (
            Tls { clients: ClientCertificates::Required(site.file("none.pem")), ..tls.clone() },
            ["cannot read an authority's certificate", "none.pem"],
        ),
    ] {
        let error = crate::harness::refused_start(|config| config.tls = Some(tls)).await;
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

// GW-021
#[tokio::test]
async fn plain_http_beside_it_is_sent_on() {
    let site = Site::new();
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let (running, stub) = site.start(|_, config| config.redirect_listen = Some(any_port)).await;
    let plain = running.bound.redirect_listen.expect("it listens");
    let port = running.bound.listen.port();
    let mut connection = crate::harness::connect(plain).await;
    connection.write(b"GET /fhir/metadata?a HTTP/1.1\r\nHost: ehr.example:80\r\n\r\n").await;
    let answer = connection.read_answer().await;
    assert_eq!(answer.status, 308);
    let location = format!("https://ehr.example:{port}/fhir/metadata?a");
    assert_eq!(answer.field("location"), Some(location.as_str()));
    connection.write(running.request("GET", "/fhir/Patient/1", &[], "").as_bytes()).await;
    assert_eq!(connection.read_answer().await.status, 403);
    assert!(stub.seen().is_empty());
}

// GW-022
#[tokio::test]
async fn a_handshake_that_does_not_come_to_its_end_is_cut_off_while_others_are_served() {
    let site = Site::new();
    let (running, _stub) =
        site.start(|_, config| config.limits.header_timeout = Duration::from_millis(300)).await;
    let mut silent = running.connect().await;
    let mut begun = running.connect().await;
    // The first bytes of a ClientHello of 512 bytes.
    begun.write(&[22, 3, 1, 2, 0, 1]).await;
    assert_eq!(Client::of(&site.authority).read(&running).await, Some(200));
    silent.drain().await;
    begun.drain().await;
    let slow = "hearthgate_gateway_tls_handshakes_total{result=\"too-slow\"}";
    assert_eq!(running.metric(slow).await, 2.0);
    assert_eq!(Client::of(&site.authority).read(&running).await, Some(200));
}

// GW-063
#[tokio::test]
async fn operators_elsewhere_connect_with_certificates_which_may_be_all_they_show() {
    let site = Site::new();
    let path = site.file("operators.pem");
    site.authority.write(&path);
    let mut admin = site.tls();
    admin.clients = ClientCertificates::Required(path);
    let (mut running, _stub) = site.start_with_admin(admin).await;
    let (anna, other) = (site.authority.issue("anna"), site.authority.issue("other"));
    let credential = Credential::Certificate(CertificateDigest::of(&anna.der));
    let name = OperatorName::new("anna").expect("a name");
    let role = OperatorRole::Viewer;
    let made = running.registry.create_operator(&name, role, credential, &actor());
    assert!(made.expect("an operator").is_none());
    let made = running.registry.create_operator(
        &OperatorName::new("bert").expect("a name"),
        role,
        Credential::Token,
        &actor(),
    );
    let token = made.expect("an operator").expect("a token").secret.expose().clone();
    // What is asked of the public port is asked of the admin listener from here on.
    running.bound.listen = running.bound.admin_listen;
    let ask = async |shows, authorization: Option<&str>, path: &str| {
        // A client that would speak HTTP/2 too is spoken to in HTTP/1.1.
        let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
        let client = Client { shows, alpn, ..Client::of(&site.authority) };
        let stream = client.connect(&running, "a.example").await.ok()?;
        let mut connection = Connection::over(stream);
        let fields: Vec<_> = authorization.iter().map(|value| ("Authorization", *value)).collect();
        let bytes = crate::harness::request("GET", path, &fields, "");
        if !connection.try_write(bytes.as_bytes()).await || connection.is_closed().await {
            return None;
        }
        Some(connection.read_answer().await)
    };
    let own = "/admin/v1/self";
    assert!(ask(None, None, own).await.is_none(), "no certificate, no connection");
    assert!(ask(None, None, "/metrics").await.is_none());
    let answer = ask(Some(&anna), None, own).await.expect("an answer");
    assert_eq!((answer.status, answer.body.contains("anna")), (200, true), "{}", answer.body);
    // A certificate that is no operator's opens the connection, for metrics and for a token.
    assert_eq!(ask(Some(&other), None, "/metrics").await.expect("an answer").status, 200);
    assert_eq!(ask(Some(&other), None, own).await.expect("an answer").status, 401);
    let bearer = format!("Bearer {token}");
    let answer = ask(Some(&other), Some(&bearer), own).await.expect("an answer");
    assert_eq!((answer.status, answer.body.contains("bert")), (200, true), "{}", answer.body);
    let wrong = ask(Some(&anna), Some("Bearer hgo_wrong"), own).await.expect("an answer");
    assert_eq!(wrong.status, 401, "what is sent counts, not what else could have been");
    running.registry.revoke_operator(&name, &actor()).expect("revoked");
    assert_eq!(ask(Some(&anna), None, own).await.expect("an answer").status, 401);
}
