//! A gateway without a server of ours, before an upstream of others.

use std::process::Command;
use std::time::Duration;

use integration_tests::binary::{failure, hearthgate, run};
use integration_tests::process::Process;
use integration_tests::site::free_address;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::waiting::{SOON, until, within};

/// The answer to a GET, in bytes.
const DOWN: u64 = 1 << 30;
/// A body that is posted, in bytes.
const UP: u64 = 256 << 20;
/// How much the gateway may grow by both.
const GROWTH: u64 = 32 << 20;
/// A debug build passes it all on.
const LONG: Duration = Duration::from_secs(60);

/// Answers a GET with many bytes, and anything else when its whole body was read.
async fn upstream(listener: TcpListener) {
    let mut streams = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        streams.spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let piece = vec![b'x'; 256 << 10];
    let mut read = vec![0; 256 << 10];
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        if head.starts_with("get /lab/large ") {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {DOWN}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            for _ in 0..DOWN / piece.len() as u64 {
                stream.write_all(&piece).await.unwrap();
            }
            continue;
        }
        let length = head.split("content-length: ").nth(1);
        let mut left: u64 =
            length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        while left > 0 {
            left -= stream.read(&mut read).await.unwrap() as u64;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
    }
}

/// A configuration of one route, open to all, to an upstream at this port.
fn configure(folder: &TempDir, port: u16) {
    let text = format!(
        "[gateway]\nserver = false\n\
         [[gateway.routes]]\nname = \"lab\"\npath = \"/lab\"\nupstream = \"lab\"\n\
         content = \"other\"\ncallers = \"public\"\nbody_bytes = 300_000_000\n\
         [gateway.upstreams.lab]\nendpoints = [{{ address = \"127.0.0.1:{port}\" }}]\n\
         enforces = \"none\"\n"
    );
    std::fs::write(folder.path().join("hub.toml"), text).unwrap();
}

/// What an exchange on a connection of its own comes to: how many bytes came.
async fn exchange(address: &str, head: &str, body: u64) -> u64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 256 << 10];
    for _ in 0..body / piece.len() as u64 {
        stream.write_all(&piece).await.unwrap();
    }
    let (mut read, mut came) = (vec![0; 256 << 10], 0);
    loop {
        match stream.read(&mut read).await.unwrap() {
            0 => return came,
            length => came += length as u64,
        }
    }
}

#[tokio::test]
async fn a_gateway_alone_passes_on_gibibytes_and_does_not_grow_by_them() {
    // GW-002, GW-011
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    configure(&folder, listener.local_addr().unwrap().port());
    let mut upstreams = tokio::task::JoinSet::new();
    upstreams.spawn(upstream(listener));
    let listen = free_address().to_string();
    let mut command = Command::new(hearthgate());
    command.current_dir(folder.path());
    command.args(["gateway", "--config", "hub.toml", "--listen", &listen]);
    command.args(["--admin", "127.0.0.1:0"]);
    let process = Process::start(command, folder.path(), "gateway");
    until("the gateway listens", SOON, async || {
        let said = process.stderr();
        said.contains("Hearthgate's gateway listens on ").then_some(()).ok_or(said)
    })
    .await;
    let small = "GET /lab/small HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n";
    assert!(exchange(&listen, small, 0).await > 4);
    let before = process.most_resident();
    let large = "GET /lab/large HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n";
    let came = within("the download ends", LONG, exchange(&listen, large, 0)).await;
    assert!(came > DOWN, "{came} bytes came");
    let post = format!(
        "POST /lab/x HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: {UP}\r\n\r\n"
    );
    let came = within("the upload ends", LONG, exchange(&listen, &post, UP)).await;
    assert!((4..1000).contains(&came), "{came} bytes came");
    let grown = process.most_resident().saturating_sub(before);
    assert!(grown < GROWTH, "the gateway grew by {grown} bytes");
}

#[test]
fn a_server_that_is_said_not_to_be_here_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    configure(&folder, 1);
    for verb in ["serve", "server"] {
        let line = failure(&run(folder.path(), &[verb, "--config", "hub.toml"]), 1);
        assert!(line.contains("start `hearthgate gateway` alone"), "{verb}: {line}");
    }
}
