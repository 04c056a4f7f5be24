//! A server that answers every request with 200 once it has the whole of it, and can go away and
//! come back where it was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// The server. It ends with its owner.
#[derive(Debug)]
pub(super) struct Answering {
    address: SocketAddr,
    answered: Arc<AtomicU64>,
    listening: JoinSet<()>,
}

impl Answering {
    /// One that listens.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut answering = Self { address, answered: Arc::default(), listening: JoinSet::new() };
        answering.listening.spawn(listen(listener, Arc::clone(&answering.answered)));
        answering
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has answered in all.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Goes away, with every connection.
    pub(super) async fn stop(&mut self) {
        self.listening.shutdown().await;
    }

    /// Comes back.
    pub(super) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is free still");
        self.listening.spawn(listen(listener, Arc::clone(&self.answered)));
    }
}

async fn listen(listener: TcpListener, answered: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a listener accepts");
                connections.spawn(answer(stream, Arc::clone(&answered)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one request after the other until the client leaves.
async fn answer(stream: TcpStream, answered: Arc<AtomicU64>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte.to_ascii_lowercase()),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map_or(0, |length| length.trim().parse().expect("a length"));
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() || stream.write_all(ANSWER).await.is_err() {
            return;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
