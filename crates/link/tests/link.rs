//! Two halves over TCP: who is believed, for how long, and what is said otherwise.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use link::{Address, ConnectError, FilesError, Identity, LinkFiles, LinkListener, LinkStream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LIMIT: Duration = Duration::from_secs(20);

/// Certificate and key in PEM.
struct Made {
    certificate: String,
    key: String,
}

fn made() -> Made {
    let made = rcgen::generate_simple_self_signed(["hearthgate".to_owned()]).unwrap();
    Made { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

fn files(dir: &Path, own: &Made, peers: &[&Made]) -> LinkFiles {
    let files = LinkFiles {
        certificate: dir.join("own.crt"),
        key: dir.join("own.key"),
        peers: dir.join("peers.crt"),
    };
    fs::write(&files.certificate, &own.certificate).unwrap();
    fs::write(&files.key, &own.key).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    let peers: String = peers.iter().map(|peer| peer.certificate.as_str()).collect();
    fs::write(&files.peers, peers).unwrap();
    files
}

fn identity(own: &Made, peers: &[&Made]) -> (TempDir, Arc<Identity>) {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load(files(dir.path(), own, peers)).unwrap();
    (dir, Arc::new(identity))
}

async fn listener(identity: Option<Arc<Identity>>) -> (LinkListener, Address) {
    let listener = LinkListener::bind("127.0.0.1:0".parse().unwrap(), identity).await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    (listener, address)
}

/// Whether a byte goes there and back.
async fn echoes(one: &mut LinkStream, other: &mut LinkStream) -> std::io::Result<()> {
    one.write_all(b"x").await?;
    one.flush().await?;
    assert_eq!(other.read_u8().await?, b'x');
    other.write_all(b"y").await?;
    other.flush().await?;
    assert_eq!(one.read_u8().await?, b'y');
    Ok(())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it hangs")
}

#[tokio::test]
async fn two_halves_that_hold_each_others_certificates_speak() {
    let (gateway, server) = (made(), made());
    let (_one, gateway_side) = identity(&gateway, &[&server]);
    let (_two, server_side) = identity(&server, &[&gateway]);
    let (mut listener, address) = listener(Some(server_side)).await;
    let connecting = link::connect(&address, Some(&gateway_side), LIMIT);
    let (connected, accepted) = within(async { tokio::join!(connecting, listener.accept()) }).await;
    echoes(&mut connected.unwrap(), &mut { accepted.0 }).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_held_is_not_spoken_to_and_named_by_its_fingerprint() {
    let (gateway, server, other) = (made(), made(), made());
    let (_one, gateway_side) = identity(&gateway, &[&other]);
    let (_two, server_side) = identity(&server, &[&gateway]);
    let shown = link::Fingerprint::of(server_side.current().certificate()).to_string();
    let (mut listener, address) = listener(Some(server_side)).await;
    let refused = within(async {
        tokio::select! {
            refused = link::connect(&address, Some(&gateway_side), LIMIT) => refused.unwrap_err(),
            _ = listener.accept() => panic!("it was accepted"),
        }
    });
    let refused = refused.await;
    let ConnectError::NotBelieved(_, reason) = &refused else { panic!("{refused}") };
    let reason = reason.to_string();
    assert!(reason.contains(&shown) && reason.contains("peers.crt"), "{reason}");
}

#[tokio::test]
async fn a_gateway_that_is_not_held_is_refused_and_can_tell_why() {
    let (gateway, server, other) = (made(), made(), made());
    let (_one, gateway_side) = identity(&gateway, &[&server]);
    let (_two, server_side) = identity(&server, &[&other]);
    let (mut listener, address) = listener(Some(server_side)).await;
    let asking = async {
        let mut stream = link::connect(&address, Some(&gateway_side), LIMIT).await.unwrap();
        stream.read_u8().await.unwrap_err()
    };
    let refused = within(async {
        tokio::select! {
            refused = asking => refused,
            _ = listener.accept() => panic!("it was accepted"),
        }
    });
    assert!(link::refused_by_other(&refused.await));
}

#[tokio::test]
async fn a_certificate_takes_anothers_place_without_a_restart_and_what_is_taken_out_ends() {
    let (old, new, server) = (made(), made(), made());
    let (_one, old_side) = identity(&old, &[&server]);
    let (_two, new_side) = identity(&new, &[&server]);
    let (dir, server_side) = identity(&server, &[&old, &new]);
    let (mut listener, address) = listener(Some(server_side.clone())).await;
    let mut open = Vec::new();
    for side in [&old_side, &new_side] {
        let connecting = link::connect(&address, Some(side), LIMIT);
        let (connected, accepted) =
            within(async { tokio::join!(connecting, listener.accept()) }).await;
        open.push((connected.unwrap(), accepted.0));
    }
    files(dir.path(), &server, &[&new]);
    let changed = async {
        while server_side.generation() == 0 {
            tokio::task::yield_now().await
        }
    };
    // Five seconds is what is promised.
    tokio::time::timeout(Duration::from_secs(5), async {
        tokio::select! { () = changed => {}, () = server_side.keep_current() => {} }
    })
    .await
    .expect("the files are read again");
    let [(one, other), (same, still)] = &mut open[..] else { panic!("two connections") };
    assert!(within(echoes(one, other)).await.is_err(), "it is believed still");
    within(echoes(same, still)).await.unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let (gateway, server) = (made(), made());
    let (dir, side) = identity(&gateway, &[&server]);
    fs::write(dir.path().join("peers.crt"), "no certificate").unwrap();
    let three_looks = tokio::time::timeout(Duration::from_millis(3500), side.keep_current());
    assert!(three_looks.await.is_err());
    assert_eq!((side.generation(), side.current().peers().len()), (0, 1));
}

#[tokio::test]
async fn without_an_identity_it_is_plain_tcp() {
    let (mut listener, address) = listener(None).await;
    let connecting = link::connect(&address, None, LIMIT);
    let (connected, accepted) = within(async { tokio::join!(connecting, listener.accept()) }).await;
    echoes(&mut connected.unwrap(), &mut { accepted.0 }).await.unwrap();
}

#[tokio::test]
async fn whoever_fills_handshakes_from_one_address_keeps_nobody_else_away() {
    let (gateway, server) = (made(), made());
    let (_one, gateway_side) = identity(&gateway, &[&server]);
    let (_two, server_side) = identity(&server, &[&gateway]);
    let (mut listener, address) = listener(Some(server_side)).await;
    let port = listener.local_addr().unwrap();
    let accepting = async {
        loop {
            listener.accept().await;
        }
    };
    let connecting = async {
        let mut silent = Vec::new();
        for _ in 0..400 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            silent.push(within(socket.connect(port)).await.unwrap());
        }
        // Less than what a handshake may take: it does not wait for one of them to end.
        let limit = Duration::from_secs(3);
        link::connect(&address, Some(&gateway_side), limit).await.unwrap();
        // More than may wait are closed.
        let mut closed = 0;
        for stream in &mut silent {
            let read = tokio::time::timeout(Duration::from_millis(1), stream.read_u8()).await;
            closed += usize::from(read.is_ok());
        }
        assert!(closed > 0, "all of them wait");
    };
    tokio::select! { () = accepting => {}, () = connecting => {} }
}

#[test]
fn files_that_no_half_can_use_are_refused_by_name() {
    let (own, peer) = (made(), made());
    let dir = tempfile::tempdir().unwrap();
    let refused = |files: LinkFiles| Identity::load(files).unwrap_err();
    let all = files(dir.path(), &own, &[&peer]);
    fs::write(&all.key, &peer.key).unwrap();
    assert!(matches!(refused(all), FilesError::Mismatch { .. }));
    let all = files(dir.path(), &own, &[]);
    assert!(matches!(refused(all), FilesError::Unreadable { .. }));
    let all = files(dir.path(), &own, &[&peer]);
    fs::set_permissions(&all.key, fs::Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(refused(all), FilesError::KeyReadable(_)));
    let mut authority = rcgen::CertificateParams::new(["hearthgate".to_owned()]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority =
        Made { certificate: authority.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
    let refused = refused(files(dir.path(), &own, &[&authority])).to_string();
    assert!(refused.contains("peers.crt") && refused.contains("link create"), "{refused}");
}
