//! One frame of the change log as bytes, and what bytes that are no frame mean.
//!
//! ```text
//! length u32 | sequence u64 | instant i64 | CRC-32C of those 20 bytes | CRC-32C of the body | body
//! body = actor length u16 | actor | change as JSON
//! ```
//!
//! All numbers little-endian. The head has a checksum of its own, so that a damaged length is
//! noticed as damage and never taken for a frame that the end of the file cut short. A body ends
//! with `}`, so that trailing zeros in a file are never part of a whole frame.

/// Bytes before a frame's body.
pub(crate) const HEAD: usize = 28;
/// The longest body: a change is a client with its rules at most.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// A whole frame, borrowed from the log's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    pub(crate) micros: i64,
    pub(crate) actor: &'a str,
    pub(crate) change: &'a [u8],
    /// Head and body, in bytes.
    pub(crate) length: usize,
    /// The body's checksum: names the frame when two logs are compared.
    pub(crate) checksum: u32,
}

/// What stands at a place of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scanned<'a> {
    Whole(Frame<'a>),
    /// The file ends here.
    End,
    /// The file ends within this frame, or what is missing of it is zeros to the file's end: the
    /// write never finished, so it was never acknowledged.
    Torn,
    /// The bytes are all there and are not what was written.
    Damaged(&'static str),
}

/// The bytes of a frame; `None` when the change or the actor is too long to be one.
pub(crate) fn encode(sequence: u64, micros: i64, actor: &str, change: &[u8]) -> Option<Vec<u8>> {
    let body_length = 2 + actor.len() + change.len();
    if body_length > MAX_BODY {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEAD + body_length);
    bytes.extend_from_slice(&u32::try_from(body_length).ok()?.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&micros.to_le_bytes());
    let head_checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&head_checksum.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&u16::try_from(actor.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(actor.as_bytes());
    bytes.extend_from_slice(change);
    let body_checksum = crc32c::crc32c(&bytes[HEAD..]);
    bytes[HEAD - 4..HEAD].copy_from_slice(&body_checksum.to_le_bytes());
    Some(bytes)
}

/// The two checksums of the frame that this would be, the head's in the upper half; `None` as of
/// [`encode`].
pub(crate) fn checksums(sequence: u64, micros: i64, actor: &str, change: &[u8]) -> Option<u64> {
    let bytes = encode(sequence, micros, actor, change)?;
    let number = |from: usize| bytes[from..from + 4].try_into().map(u32::from_le_bytes).ok();
    Some(u64::from(number(20)?) << 32 | u64::from(number(24)?))
}

/// Reads what stands at `offset` of `log`, which is the whole rest of the file.
pub(crate) fn scan(log: &[u8], offset: usize) -> Scanned<'_> {
    let rest = &log[offset..];
    if rest.is_empty() {
        return Scanned::End;
    }
    // Where the last byte that was surely written ends.
    let written = rest.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let Some(head) = rest.first_chunk::<HEAD>() else {
        return Scanned::Torn;
    };
    let number = |from: usize| {
        u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]])
    };
    if crc32c::crc32c(&head[..20]) != number(20) {
        return if written < HEAD {
            Scanned::Torn
        } else {
            Scanned::Damaged("the head of a change does not match its checksum")
        };
    }
    let body_length = number(0) as usize;
    if body_length > MAX_BODY {
        return Scanned::Damaged("a change is longer than any change can be");
    }
    let length = HEAD + body_length;
    if written < length {
        return Scanned::Torn;
    }
    let body = &rest[HEAD..length];
    if crc32c::crc32c(body) != number(24) {
        return Scanned::Damaged("a change does not match its checksum");
    }
    let sequence = u64::from(number(4)) | u64::from(number(8)) << 32;
    let micros = (u64::from(number(12)) | u64::from(number(16)) << 32).cast_signed();
    let Some((actor, change)) = split(body) else {
        return Scanned::Damaged("a change names no actor");
    };
    Scanned::Whole(Frame { sequence, micros, actor, change, length, checksum: number(24) })
}

fn split(body: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (actor, change) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((std::str::from_utf8(actor).ok()?, change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHANGE: &[u8] = br#"{"a":1}"#;

    fn frame() -> Vec<u8> {
        encode(7, -5, "uid 0", CHANGE).unwrap()
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let bytes = frame();
        let Scanned::Whole(read) = scan(&bytes, 0) else {
            panic!("{:?}", scan(&bytes, 0));
        };
        assert_eq!((read.sequence, read.micros, read.actor), (7, -5, "uid 0"));
        assert_eq!((read.change, read.length), (CHANGE, bytes.len()));
        assert_eq!(scan(&bytes, bytes.len()), Scanned::End);
    }

    #[test]
    fn a_frame_cut_at_any_byte_is_torn() {
        let bytes = frame();
        for cut in 1..bytes.len() {
            assert_eq!(scan(&bytes[..cut], 0), Scanned::Torn, "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_whose_end_was_never_written_is_torn() {
        for from in 0..frame().len() {
            let mut bytes = frame();
            bytes[from..].fill(0);
            bytes.extend_from_slice(&[0; 100]);
            assert_eq!(scan(&bytes, 0), Scanned::Torn, "zeros from {from}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_whole_frame_is_damage() {
        let bytes = frame();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(scan(&flipped, 0), Scanned::Damaged(_)),
                "bit {bit}: {:?}",
                scan(&flipped, 0)
            );
        }
    }

    #[test]
    fn a_change_too_long_for_a_frame_is_no_frame() {
        assert!(encode(1, 0, "", &vec![b' '; MAX_BODY - 2]).is_some());
        assert!(encode(1, 0, "", &vec![b' '; MAX_BODY - 1]).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            scan(&bytes, 0);
        }
    }
}
