//! What a connection takes that waits for its next request. Alone in its binary, whose allocator
//! counts.

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{Clock, Ids, Instant};
use gateway::{AccessLog, GatewayConfig};
use registry::{Beside, Registry};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 200;
/// Bytes for each, unoptimized, the client's end included; where pingora waits it is twice that.
const WANTED: usize = 20 << 10;
/// Public, and there is no server: the gateway answers by itself.
const REQUEST: &[u8] = b"GET /fhir/metadata HTTP/1.1\r\nHost: a\r\n\r\n";

/// Time that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::from_micros(0)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[derive(Default)]
struct Counted(AtomicU64);

impl Ids for Counted {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) << 64
    }
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0.fetch_add(1, Ordering::Relaxed) as u8;
        }
    }
}

/// Connections that asked once.
async fn asked(address: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    let mut answer = [0; 4096];
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
        stream.write_all(REQUEST).await.expect("it reads");
        let length = stream.read(&mut answer).await.expect("it answers");
        assert!(answer[..length].starts_with(b"HTTP/1.1 "), "{:?}", &answer[..length]);
        held.push(stream);
    }
    held
}

// GW-022
#[tokio::test]
async fn a_connection_that_waits_for_its_next_request_holds_little() {
    let dir = tempfile::tempdir().expect("a directory");
    let (clock, ids) = (Arc::new(Still), Arc::new(Counted::default()));
    let opened =
        Registry::open(&dir.path().join("registry"), Beside::NoTenant, clock.clone(), ids.clone());
    let registry = Arc::new(opened.expect("a registry opens").registry);
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let config = GatewayConfig {
        listen: any_port,
        admin_listen: any_port,
        renewal_socket: dir.path().join("renewal.sock"),
        access_log: AccessLog::Writer(Box::new(std::io::sink())),
        ..GatewayConfig::default()
    };
    let (_shutdown, stopped) = watch::channel(false);
    let (started, bound) = oneshot::channel();
    let (_reloads, reload) = mpsc::channel(1);
    let mut gateway = JoinSet::new();
    gateway.spawn(gateway::run(config, registry, clock, ids, started, reload, stopped));
    let bound = bound.await.expect("the gateway starts");
    // What is made once. They stay: what they leave would be taken off what others take.
    let _first = asked(bound.listen, CONNECTIONS).await;

    let region = Region::new(ALLOCATOR);
    let mut held = asked(bound.listen, CONNECTIONS).await;
    let made = region.change();
    let each = (made.bytes_allocated - made.bytes_deallocated) / CONNECTIONS;
    assert!(each <= WANTED, "{each} bytes each");
    // They were kept, and are served still.
    let mut answer = [0; 4096];
    for stream in &mut held {
        stream.write_all(REQUEST).await.expect("it reads");
        let length = stream.read(&mut answer).await.expect("it answers");
        assert!(answer[..length].starts_with(b"HTTP/1.1 "), "{:?}", &answer[..length]);
    }
}
