//! The trace context that requests carry (W3C Trace Context, 3.2: `traceparent`).
//!
//! `tracestate` is text of others: it is passed on by whoever forwards a request and read by
//! nobody here.

use std::fmt;

/// The header with the trace and the span that a request belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what other systems add to it.
pub const TRACESTATE: &str = "tracestate";

/// `00-` and 32 digits, a hyphen and 16 digits, a hyphen and two.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

/// The id of a trace; never all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub(crate) [u8; 16]);

/// The id of a span; never all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub(crate) [u8; 8]);

/// The trace that a request belongs to, and the span that it was sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span of whoever sent it.
    pub span: SpanId,
    /// Whether the sender records it.
    pub is_sampled: bool,
}

impl Context {
    /// Reads a `traceparent`. `None` for one that is not as section 3.2.2 says: it counts as
    /// absent. Of a later version of the header what is known is read (3.2.4).
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let parts = [head[2], head[35], head[52]];
        let version = byte(head[0], head[1])?;
        let goes_on = match version {
            0 => rest.is_empty(),
            0xff => return None,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if parts != [b'-'; 3] || !goes_on {
            return None;
        }
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        digits(&head[3..35], &mut trace)?;
        digits(&head[36..52], &mut span)?;
        let flags = byte(head[53], head[54])?;
        let is_id = trace != [0; 16] && span != [0; 8];
        let is_sampled = flags & SAMPLED != 0;
        is_id.then_some(Self { trace: TraceId(trace), span: SpanId(span), is_sampled })
    }

    /// The header's value: visible ASCII.
    #[must_use]
    pub fn header(&self) -> [u8; LENGTH] {
        let mut text = [b'-'; LENGTH];
        text[..2].copy_from_slice(b"00");
        put(&self.trace.0, &mut text[3..35]);
        put(&self.span.0, &mut text[36..52]);
        put(&[if self.is_sampled { SAMPLED } else { 0 }], &mut text[53..]);
        text
    }
}

impl TraceId {
    /// Its 32 digits.
    #[must_use]
    pub fn text(&self) -> [u8; 32] {
        let mut text = [0; 32];
        put(&self.0, &mut text);
        text
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

fn put(bytes: &[u8], text: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
    }
}

fn digits(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    for (to, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *to = byte(pair[0], pair[1])?;
    }
    Some(())
}

fn byte(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

/// In small letters alone: capital ones are not allowed (3.2.2).
fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let context = Context::parse(GIVEN.as_bytes()).expect("a traceparent");
        assert!(context.is_sampled);
        assert_eq!(context.header().as_slice(), GIVEN.as_bytes());
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.trace.text().as_slice(), context.trace.to_string().as_bytes());
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        let unsampled = Context { is_sampled: false, ..context };
        assert!(unsampled.header().ends_with(b"-00"));
    }

    // GW-051
    #[test]
    fn what_is_no_traceparent_counts_as_absent() {
        let of = |from: &str, to: &str| GIVEN.replacen(from, to, 1);
        for bad in [
            String::new(),
            GIVEN[..54].to_owned(),
            format!("{GIVEN}-"),
            format!("{GIVEN}0"),
            of("00-", "ff-"),
            of("00-", "0g-"),
            of("4bf9", "4BF9"),
            of("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            of("00f067aa0ba902b7", "0000000000000000"),
            of("-01", "-0x"),
            of("-01", "_01"),
            GIVEN.replace('-', " "),
        ] {
            assert_eq!(Context::parse(bad.as_bytes()), None, "{bad}");
        }
        for later in [of("00-", "01-"), of("00-", "cc-") + "-what-comes"] {
            assert!(Context::parse(later.as_bytes()).is_some(), "{later}");
        }
        assert_eq!(Context::parse((of("00-", "cc-") + "x").as_bytes()), None);
        let other_flags = Context::parse(of("-01", "-fe").as_bytes()).expect("a traceparent");
        assert!(!other_flags.is_sampled);
    }
}
