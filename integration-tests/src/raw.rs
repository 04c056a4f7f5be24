//! HTTP as bytes, for what no well-behaved client sends.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::waiting::{SOON, within};

/// An answer as it came, to the end of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    /// Status line and headers.
    pub head: String,
    /// The rest.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The status; `None` when the connection ended without an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.head.get(9..12)?.parse().ok()
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The names of all headers, in small letters, sorted.
    #[must_use]
    pub fn header_names(&self) -> Vec<String> {
        let lines = self.head.lines().skip(1);
        let mut names: Vec<String> =
            lines.filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase())).collect();
        names.sort_unstable();
        names
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends `request` and reads until the other side closes the connection.
///
/// # Panics
/// When it does not close it.
pub async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> RawAnswer {
    // It may have answered and closed before it read everything.
    let _ = stream.write_all(request).await;
    rest(stream).await
}

/// Sends `request` and that nothing follows it, and reads until the other side closes the
/// connection.
///
/// # Panics
/// When it does not close it.
pub async fn exchange_and_end(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> RawAnswer {
    // It may have answered and closed before it read everything.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    rest(stream).await
}

/// Reads the head of an answer and no byte more.
///
/// # Panics
/// When the connection ends before it.
pub async fn read_head(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.expect("the head of an answer"));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads an answer until the other side closes the connection.
///
/// # Panics
/// When it does not close it.
pub async fn rest(mut stream: impl AsyncRead + Unpin) -> RawAnswer {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    // A reset after the answer is an end as well.
    let _ = within("the other side answers and closes the connection", SOON, reading).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = match end {
        Some(end) => (&bytes[..end], bytes[end + 4..].to_vec()),
        None => (&bytes[..], Vec::new()),
    };
    RawAnswer { head: String::from_utf8_lossy(head).into_owned(), body }
}
