//! HTTP as little of it as possible: requests written beforehand, answers read no further than
//! needed to know where they end.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Failure;
use super::load::Client;
use super::patient::NUMBER;

/// Where to connect.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// The requests that a connection sends.
#[derive(Clone)]
pub(crate) enum Requests {
    /// These, over and over.
    Repeated(Arc<[Vec<u8>]>),
    /// This one with another number each time, in place of each [`NUMBER`].
    Numbered { request: Arc<Vec<u8>>, next: Arc<AtomicU64> },
}

impl Requests {
    pub(crate) fn numbered(request: Vec<u8>) -> Self {
        Self::Numbered { request: Arc::new(request), next: Arc::default() }
    }
}

/// One keep-alive connection.
pub(crate) struct Connection {
    stream: Stream,
    requests: Requests,
    /// The request being sent, and where the numbers stand in it.
    request: Vec<u8>,
    places: Vec<usize>,
    sent: usize,
    answer: Vec<u8>,
    expected: &'static str,
}

impl Connection {
    /// Connects; every answer must begin with `expected`, such as `HTTP/1.1 200`.
    pub(crate) async fn open(
        address: &Address,
        requests: Requests,
        expected: &'static str,
    ) -> Result<Self, Failure> {
        let stream = match address {
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        let (request, places) = match &requests {
            Requests::Repeated(_) => (Vec::new(), Vec::new()),
            Requests::Numbered { request, .. } => (request.to_vec(), places(request)),
        };
        Ok(Self { stream, requests, request, places, sent: 0, answer: Vec::new(), expected })
    }

    /// Several of them.
    pub(crate) async fn open_all(
        count: usize,
        address: &Address,
        requests: &Requests,
        expected: &'static str,
    ) -> Result<Vec<Self>, Failure> {
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            let mut one = Self::open(address, requests.clone(), expected).await?;
            one.sent = number;
            all.push(one);
        }
        Ok(all)
    }
}

fn places(request: &[u8]) -> Vec<usize> {
    let number = NUMBER.as_bytes();
    let windows = request.windows(number.len()).enumerate();
    windows.filter(|(_, window)| *window == number).map(|(place, _)| place).collect()
}

impl Connection {
    /// Sends a request; its answer, head and body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.stream.write_all(request).await?;
        self.answered().await
    }

    async fn answered(&mut self) -> Result<&[u8], Failure> {
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("a connection ended before its answer".into());
            }
            if is_whole(&self.answer)? {
                break;
            }
        }
        if self.answer.starts_with(self.expected.as_bytes()) {
            return Ok(&self.answer);
        }
        let answer = String::from_utf8_lossy(&self.answer);
        Err(format!("instead of {}: {answer}", self.expected).into())
    }
}

impl Client for Connection {
    async fn once(&mut self) -> Result<(), Failure> {
        match &self.requests {
            Requests::Repeated(requests) => {
                let request = &requests[self.sent % requests.len()];
                self.stream.write_all(request).await?;
            }
            Requests::Numbered { next, .. } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let digits = format!("{number:010}");
                for place in &self.places {
                    self.request[*place..place + NUMBER.len()].copy_from_slice(digits.as_bytes());
                }
                self.stream.write_all(&self.request).await?;
            }
        }
        self.sent += 1;
        self.answered().await.map(|_| ())
    }
}

/// Whether this is all of an answer.
fn is_whole(answer: &[u8]) -> Result<bool, Failure> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let mut lines = answer[..head].split(|byte| *byte == b'\n');
    let length = lines.find_map(|line| {
        const NAME: &[u8] = b"content-length:";
        let (name, value) = line.split_at_checked(NAME.len())?;
        let value = name.eq_ignore_ascii_case(NAME).then_some(value)?;
        std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok()
    });
    match length {
        Some(length) => Ok(answer.len() >= head + 4 + length),
        // 204 and 304 alone have none; nothing here answers them, or in pieces.
        None => Err("an answer without a length".into()),
    }
}

/// Asks once on a connection of its own; the answer, head and body.
pub(crate) fn ask(socket: &Path, request: &[u8]) -> Result<(String, Vec<u8>), Failure> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    while answer.is_empty() || !is_whole(&answer)? {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err("a connection ended before its answer".into());
        }
        answer.extend_from_slice(&piece[..read]);
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = answer.split_off(end.map_or(answer.len(), |end| end + 4));
    Ok((String::from_utf8(answer)?, body))
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_whole, places};

    #[test]
    fn an_answer_is_whole_with_the_last_byte_of_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-LENGTH: 3\r\nx: y\r\n\r\nabc";
        for length in 0..answer.len() {
            assert!(!is_whole(&answer[..length]).unwrap(), "{length}");
        }
        assert!(is_whole(answer).unwrap());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn every_number_has_its_place() {
        assert_eq!(places(b"a0000000000b 0000000000"), [1, 13]);
    }
}
