//! A server of DNS for tests: it knows one name, at addresses that change.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The server and its task.
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    at: Vec<Ipv4Addr>,
    seconds: u32,
    asked: usize,
}

impl Names {
    /// Every name stands for these addresses, for so many seconds.
    pub(crate) async fn start(at: &[Ipv4Addr], seconds: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared { at: at.to_vec(), seconds, asked: 0 }));
        let mut tasks = JoinSet::new();
        let served = shared.clone();
        tasks.spawn(async move {
            let mut read = [0; 512];
            while let Ok((length, asking)) = socket.recv_from(&mut read).await {
                let answer = served.lock().expect("no panic").answer(&read[..length]);
                let _ = socket.send_to(&answer, asking).await;
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    /// From now on they stand for these.
    pub(crate) fn are_at(&self, at: &[Ipv4Addr]) {
        self.shared.lock().expect("no panic").at = at.to_vec();
    }

    /// How often addresses were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.shared.lock().expect("no panic").asked
    }
}

impl Shared {
    /// RFC 1035, section 4: the question again, and an answer to it where it is for addresses.
    fn answer(&mut self, question: &[u8]) -> Vec<u8> {
        let name = question[12..].iter().position(|byte| *byte == 0).expect("a name's end");
        let end = 12 + name + 5;
        let is_address = question[12 + name + 1..end] == [0, 1, 0, 1];
        let at: &[Ipv4Addr] = if is_address { &self.at } else { &[] };
        self.asked += usize::from(is_address);
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(at.len()).expect("a few"), 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        for address in at {
            answer.extend([0xc0, 12, 0, 1, 0, 1]);
            answer.extend(self.seconds.to_be_bytes());
            answer.extend([0, 4]);
            answer.extend(address.octets());
        }
        answer
    }
}
