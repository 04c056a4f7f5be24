//! HTTP/2 as bytes, for what no well-behaved client sends (RFC 9113, RFC 7541): frames with
//! whatever in them, every field spelled out.

use tokio::io::{AsyncRead, AsyncReadExt as _};

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const CANCEL: u32 = 0x8;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// Bytes that may be sent unasked, where there is to be room.
const WIDE: u32 = 1 << 30;
/// The most bytes of a frame that nobody has to agree to.
const FRAME: usize = 16_384;
/// The field `:status: 200` in the table that everybody has.
const STATUS_200: u8 = 0x88;

/// What a connection begins with: the preface, and settings that change none.
#[must_use]
pub fn beginning() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// The same, with room for whatever is answered.
#[must_use]
pub fn wide_beginning() -> Vec<u8> {
    let room = WIDE.to_be_bytes();
    let settings = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &room].concat();
    let more = [frame(SETTINGS, 0, 0, &settings), frame(WINDOW_UPDATE, 0, 0, &room)].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), more].concat()
}

/// A request's head, in as many frames as it takes; `last` where no body follows.
#[must_use]
pub fn head(stream: u32, fields: &[(&str, &str)], last: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal, not indexed, its name new (RFC 7541, 6.2.2).
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut bytes = Vec::new();
    let pieces = block.chunks(FRAME).collect::<Vec<_>>();
    for (at, piece) in pieces.iter().enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let ends_head = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
        let ends_stream = if at == 0 && last { END_STREAM } else { 0 };
        bytes.extend(frame(kind, ends_head | ends_stream, stream, piece));
    }
    bytes
}

/// The end of a request's body, which fits into a frame.
#[must_use]
pub fn last_data(stream: u32, body: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, body)
}

/// A piece of a request's body that is not its last.
#[must_use]
pub fn data(stream: u32, piece: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, piece)
}

/// Leaves a request.
#[must_use]
pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A length with a prefix of seven bits (RFC 7541, 5.1), of text as it is.
fn length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        block.push(low(length));
        return;
    }
    block.push(low(PREFIX));
    let mut rest = length - PREFIX;
    while rest >= 128 {
        block.push(low(rest % 128) | 0x80);
        rest /= 128;
    }
    block.push(low(rest));
}

fn low(number: usize) -> u8 {
    u8::try_from(number).expect("seven bits were cut out")
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with 200.
    Good,
    /// It was answered with another status.
    Refused,
    /// It was cut off.
    Reset,
    /// The connection was said to end, or ended.
    GoneAway,
}

/// Reads frames until one says what became of the request on this stream.
pub async fn outcome(mut stream: impl AsyncRead + Unpin, request: u32) -> Outcome {
    loop {
        match next(&mut stream).await {
            (_, Outcome::GoneAway) => return Outcome::GoneAway,
            (on, outcome) if on == request => return outcome,
            _ => {}
        }
    }
}

/// Reads frames until one says what becomes of a request; of which.
pub async fn next(mut stream: impl AsyncRead + Unpin) -> (u32, Outcome) {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return (0, Outcome::GoneAway);
        }
        let [a, b, c, kind, _, on @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return (0, Outcome::GoneAway);
        }
        let outcome = match kind {
            GOAWAY => Outcome::GoneAway,
            RST_STREAM => Outcome::Reset,
            HEADERS if payload.first() == Some(&STATUS_200) => Outcome::Good,
            HEADERS => Outcome::Refused,
            _ => continue,
        };
        return (u32::from_be_bytes(on), outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, head, length, outcome, reset};

    #[test]
    fn lengths_are_written_as_the_specification_shows() {
        for (number, expected) in
            [(10, &[10][..]), (126, &[126]), (127, &[127, 0]), (1337, &[127, 0xba, 0x09])]
        {
            let mut block = Vec::new();
            length(&mut block, number);
            assert_eq!(block, expected, "{number}");
        }
    }

    #[test]
    fn a_long_head_goes_on_in_other_frames_and_ends_once() {
        let value = "y".repeat(20_000);
        let bytes = head(3, &[("x", &value)], true);
        assert_eq!(bytes[..9], [0, 0x40, 0, 1, 1, 0, 0, 0, 3]);
        let second = &bytes[9 + 16_384..];
        assert_eq!(second[3..9], [9, 4, 0, 0, 0, 3]);
        assert_eq!(head(1, &[("x", "y")], true), [0, 0, 5, 1, 5, 0, 0, 0, 1, 0, 1, b'x', 1, b'y']);
    }

    #[tokio::test]
    async fn what_became_of_a_request_is_read_from_its_own_frames() {
        let good = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
        let other = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x8d];
        let away = [0, 0, 0, 7, 0, 0, 0, 0, 0];
        for (bytes, expected) in [
            ([reset(3), good.to_vec()].concat(), Outcome::Good),
            (other.to_vec(), Outcome::Refused),
            (reset(1), Outcome::Reset),
            (away.to_vec(), Outcome::GoneAway),
            (good[..4].to_vec(), Outcome::GoneAway),
        ] {
            assert_eq!(outcome(&bytes[..], 1).await, expected, "{bytes:?}");
        }
    }
}
