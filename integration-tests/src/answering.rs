//! A server that answers every request with 200 once it has the whole of it, and can go away and
//! come back where it was. It counts what it answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What stands in a request that somebody hid in another, as its path or as a header's name.
pub const PLANTED: &str = "planted";

/// The server. It ends with its owner.
#[derive(Debug)]
pub struct Answering {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    answer: String,
    answered: AtomicU64,
    planted: AtomicU64,
}

impl Answering {
    /// One that listens, and answers with this.
    ///
    /// # Panics
    /// When the system has no free port.
    pub async fn start(content_type: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let length = body.len();
        let shared = Arc::new(Shared {
            answer: format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            ),
            answered: AtomicU64::new(0),
            planted: AtomicU64::new(0),
        });
        let mut answering = Self { address, shared, listening: JoinSet::new() };
        answering.listen(listener);
        answering
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has answered in all.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many of them were [`PLANTED`].
    #[must_use]
    pub fn planted(&self) -> u64 {
        self.shared.planted.load(Ordering::Relaxed)
    }

    /// Goes away, with every connection.
    pub async fn stop(&mut self) {
        self.listening.shutdown().await;
    }

    /// Comes back.
    ///
    /// # Panics
    /// When somebody else took its port.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port is free still");
        self.listen(listener);
    }

    fn listen(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.listening.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.expect("a listener accepts");
                        let shared = Arc::clone(&shared);
                        connections.spawn(async move { shared.answer(stream).await });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
    }
}

impl Shared {
    /// Answers one request after the other until the client leaves.
    async fn answer(&self, stream: TcpStream) {
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
            self.planted.fetch_add(u64::from(is_planted(&head)), Ordering::Relaxed);
            if body(&mut stream, &head).await.is_none()
                || stream.write_all(self.answer.as_bytes()).await.is_err()
            {
                return;
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the body that this head, in small letters, speaks of; `None` where it does not end, or
/// where it is open how long it is.
async fn body(stream: &mut (impl AsyncBufRead + Unpin), head: &str) -> Option<()> {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    match (field("content-length:"), field("transfer-encoding:")) {
        (None, None) => {}
        (Some(length), None) => skip(stream, length.trim().parse().ok()?).await?,
        (None, Some(" chunked")) => loop {
            let mut size = String::new();
            stream.read_line(&mut size).await.ok()?;
            let size = usize::from_str_radix(size.strip_suffix("\r\n")?, 16).ok()?;
            // With the end of its line.
            skip(stream, size + 2).await?;
            if size == 0 {
                break;
            }
        },
        _ => return None,
    }
    Some(())
}

async fn skip(stream: &mut (impl AsyncBufRead + Unpin), length: usize) -> Option<()> {
    stream.read_exact(&mut vec![0; length]).await.ok().map(drop)
}

/// Whether a head, in small letters, is one that somebody hid, or has a line that somebody did.
fn is_planted(head: &str) -> bool {
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let target = first.split(' ').nth(1).unwrap_or(first);
    target.starts_with(&format!("/{PLANTED}"))
        || rest.split(['\r', '\n']).any(|line| line.trim_start().starts_with(PLANTED))
}

#[cfg(test)]
mod tests {
    use super::{Answering, is_planted};
    use crate::raw::exchange;

    #[test]
    fn what_was_hidden_is_known_by_its_path_or_by_its_line() {
        for hidden in [
            "get /planted http/1.1\r\nhost: a\r\n\r\n",
            "get /pair/read http/1.1\r\nhost: a\r\nplanted: 1\r\n\r\n",
            "get /pair/read http/1.1\r\nhost: a\nplanted: 1\r\n\r\n",
        ] {
            assert!(is_planted(hidden), "{hidden:?}");
        }
        let harmless = "get /pair/read http/1.1\r\nhost: a\r\nx: a planted: 1\r\n\r\n";
        assert!(!is_planted(harmless));
    }

    #[tokio::test]
    async fn each_request_of_a_connection_is_counted_and_what_was_hidden_too() {
        let mut answering = Answering::start("text/plain", "done").await;
        let stream = tokio::net::TcpStream::connect(answering.address()).await.unwrap();
        let request = "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nab\
                       POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                       19\r\nGET /planted HTTP/1.1\r\n\r\n\r\n0\r\n\r\n\
                       GET /planted HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\ncontent-length: x\r\n\r\n";
        let answer = exchange(stream, request.as_bytes()).await;
        assert!(answer.text().starts_with("doneHTTP/1.1 200"), "{answer:?}");
        assert_eq!((answering.answered(), answering.planted()), (3, 1));
        answering.stop().await;
        assert!(tokio::net::TcpStream::connect(answering.address()).await.is_err());
        answering.start_again().await;
        assert!(tokio::net::TcpStream::connect(answering.address()).await.is_ok());
    }
}
