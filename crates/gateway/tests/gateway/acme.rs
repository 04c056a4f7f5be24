//! A gateway that has its certificate by ACME, from its start on.

#[path = "../acme_server/mod.rs"]
mod acme_server;

use acme_server::{ABSENT, AcmeServer, free_port};
use gateway::{Acme, AcmeChallenge, ClientCertificates, IssuerUrl, Tls};

use crate::harness::{start_alone, within};

// GW-029
#[tokio::test]
async fn a_gateway_without_a_certificate_gets_one_and_shows_it_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (http, https) = (free_port(), free_port());
    let Some(server) = AcmeServer::begin(folder.path(), http, https) else {
        return eprintln!("skipped: {ABSENT}");
    };
    for (challenge, name) in [(AcmeChallenge::Http01, "a"), (AcmeChallenge::TlsAlpn01, "b")] {
        let acme = Acme {
            directory: IssuerUrl::new(&server.directory).expect("a URL"),
            names: vec![format!("{name}.example.org")],
            contacts: Vec::new(),
            challenge,
            authority_file: Some(server.authority_file.clone()),
            dir: folder.path().join(name),
        };
        let running = start_alone(|config| {
            let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
            config.listen = at(https);
            config.redirect_listen = Some(at(http));
            let clients = ClientCertificates::Unasked;
            let certificates = vec![acme.files()];
            config.tls = Some(Tls { certificates, clients, hsts_seconds: None });
            config.acme = Some(acme.clone());
        })
        .await;
        within("a certificate in force", async {
            let loads = "hearthgate_gateway_tls_loads_total{result=\"ok\"}";
            while running.metric(loads).await < 1.0 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        let state = running.admin("/readyz").await.json()["acme"].clone();
        assert_eq!((&state["certificate"], &state["failures"]), (&"issued".into(), &0.into()));
        assert_eq!(
            running.metric("hearthgate_gateway_acme_orders_total{result=\"ok\"}").await,
            1.0
        );
        running.stop().await;
    }
}
