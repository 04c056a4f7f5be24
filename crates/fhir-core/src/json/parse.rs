//! The one pass from text to [`Document`].

use super::error::{JsonError, JsonProblem};
use super::value::{Document, Node, NodeKind};

/// How many objects and arrays may stand inside each other.
pub const MAX_DEPTH: usize = 128;

/// Objects with more names than this are checked for duplicates by sorting.
const FEW_NAMES: usize = 16;

impl<'a> Document<'a> {
    /// Reads `bytes` as one JSON value.
    ///
    /// # Errors
    /// The first [`JsonProblem`], with its place.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let fail = |offset, problem| Err(JsonError::at(bytes, offset, problem));
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            return fail(0, JsonProblem::ByteOrderMark);
        }
        if u32::try_from(bytes.len()).is_err() {
            return fail(0, JsonProblem::TooLong);
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return fail(error.valid_up_to(), JsonProblem::InvalidUtf8),
        };
        let mut parser = Parser {
            text,
            bytes,
            at: 0,
            // A resource has a name or value in ten bytes or so; a vector that grows is copied.
            nodes: Vec::with_capacity(bytes.len() / 8 + 4),
            names: Vec::with_capacity(32),
            compact: true,
        };
        match parser.document() {
            Ok(()) => Ok(Document::new(text, parser.nodes, parser.compact)),
            Err((offset, problem)) => fail(offset, problem),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    /// Name nodes of the objects that are still open, innermost last.
    names: Vec<u32>,
    /// No white space between tokens so far.
    compact: bool,
}

type Parsed = Result<(), (usize, JsonProblem)>;

/// What a byte inside a string means: 0 plain, 1 ends the run.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        stops[byte] = true;
        byte += 1;
    }
    stops[b'"' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};

/// How many plain bytes stand before the first that is not, where there is one.
fn run(bytes: &[u8]) -> Option<usize> {
    let mut done = 0;
    // Eight at a time: in `stops` the lowest bit that is set is the highest of the first stop.
    // Above it a bit may be set that is none, never below.
    while let Some((eight, _)) = bytes[done..].split_first_chunk::<8>() {
        const LOW: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let word = u64::from_le_bytes(*eight);
        let zero = |word: u64| word.wrapping_sub(LOW) & !word;
        let quote = zero(word ^ (LOW * b'"' as u64));
        let escape = zero(word ^ (LOW * b'\\' as u64));
        let control = word.wrapping_sub(LOW * 0x20) & !word;
        let stops = (quote | escape | control) & HIGH;
        if stops != 0 {
            return Some(done + stops.trailing_zeros() as usize / 8);
        }
        done += 8;
    }
    let rest = bytes[done..].iter().position(|&byte| STOPS[usize::from(byte)])?;
    Some(done + rest)
}

impl Parser<'_> {
    fn document(&mut self) -> Parsed {
        self.skip_space();
        if self.at == self.bytes.len() {
            return Err((0, JsonProblem::Empty));
        }
        self.value(0)?;
        self.skip_space();
        if self.at < self.bytes.len() {
            return Err((self.at, JsonProblem::TrailingBytes));
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
            self.compact = false;
        }
    }

    fn unexpected<T>(&self, expected: &'static str) -> Result<T, (usize, JsonProblem)> {
        Err((
            self.at,
            match self.peek() {
                Some(found) => JsonProblem::Unexpected { found, expected },
                None => JsonProblem::UnexpectedEnd,
            },
        ))
    }

    /// Begins a node here; returns its place.
    fn begin(&mut self, kind: NodeKind) -> usize {
        let start = u32::try_from(self.at).expect("the length was checked against u32");
        self.nodes.push(Node { kind, start, end: start, next: 0 });
        self.nodes.len() - 1
    }

    /// Ends the node at `place`, whose text ends at `end`.
    fn finish(&mut self, place: usize, end: usize) {
        let next = u32::try_from(self.nodes.len()).expect("there are fewer nodes than bytes");
        let node = &mut self.nodes[place];
        node.end = u32::try_from(end).expect("the length was checked against u32");
        node.next = next;
    }

    fn value(&mut self, depth: usize) -> Parsed {
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", NodeKind::True),
            Some(b'f') => self.word(b"false", NodeKind::False),
            Some(b'n') => self.word(b"null", NodeKind::Null),
            _ => self.unexpected("a value"),
        }
    }

    fn object(&mut self, depth: usize) -> Parsed {
        if depth == MAX_DEPTH {
            return Err((self.at, JsonProblem::TooDeep));
        }
        let place = self.begin(NodeKind::Object);
        let first_name = self.names.len();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.finish(place, self.at);
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.unexpected("a name in quotes");
            }
            self.names.push(u32::try_from(self.nodes.len()).expect("fewer nodes than bytes"));
            self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.unexpected("':'");
            }
            self.at += 1;
            self.skip_space();
            self.value(depth + 1)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                }
                Some(b'}') => break,
                _ => return self.unexpected("',' or '}'"),
            }
        }
        self.at += 1;
        self.finish(place, self.at);
        self.unique_names(first_name)?;
        self.names.truncate(first_name);
        Ok(())
    }

    /// Checks that the names from `first` on, those of one object, differ.
    fn unique_names(&mut self, first: usize) -> Parsed {
        let (text, nodes) = (self.text, &self.nodes);
        let node = |place: u32| nodes[place as usize];
        let raw = |place: u32| &text[node(place).start as usize..node(place).end as usize];
        let duplicate = |place: u32, name: String| {
            Err((node(place).start as usize - 1, JsonProblem::DuplicateName(name)))
        };
        let names = &mut self.names[first..];
        if names.iter().any(|&place| node(place).kind == NodeKind::EscapedString) {
            // Rare: two spellings of one name must not pass as two names.
            let mut seen = std::collections::HashSet::new();
            for &place in names.iter() {
                let name = super::value::unescape(raw(place));
                if !seen.insert(name.clone()) {
                    return duplicate(place, name);
                }
            }
        } else if names.len() <= FEW_NAMES {
            for (count, &place) in names.iter().enumerate() {
                if names[..count].iter().any(|&earlier| raw(earlier) == raw(place)) {
                    return duplicate(place, raw(place).to_owned());
                }
            }
        } else {
            names.sort_unstable_by(|&a, &b| raw(a).cmp(raw(b)).then(a.cmp(&b)));
            for pair in names.windows(2) {
                if raw(pair[0]) == raw(pair[1]) {
                    return duplicate(pair[1], raw(pair[1]).to_owned());
                }
            }
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Parsed {
        if depth == MAX_DEPTH {
            return Err((self.at, JsonProblem::TooDeep));
        }
        let place = self.begin(NodeKind::Array);
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.finish(place, self.at);
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                }
                Some(b']') => break,
                _ => return self.unexpected("',' or ']'"),
            }
        }
        self.at += 1;
        self.finish(place, self.at);
        Ok(())
    }

    /// A string; the node's text is what stands between the quotes.
    fn string(&mut self) -> Parsed {
        self.at += 1;
        let place = self.begin(NodeKind::String);
        loop {
            let Some(run) = run(&self.bytes[self.at..]) else {
                return Err((self.bytes.len(), JsonProblem::UnexpectedEnd));
            };
            self.at += run;
            match self.bytes[self.at] {
                b'"' => break,
                b'\\' => {
                    self.nodes[place].kind = NodeKind::EscapedString;
                    self.escape()?;
                }
                _ => return Err((self.at, JsonProblem::ControlCharacter)),
            }
        }
        self.finish(place, self.at);
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Parsed {
        let start = self.at;
        let invalid = Err((start, JsonProblem::InvalidEscape));
        match self.bytes.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.code_unit(start) {
                Some(0xD800..=0xDBFF) => match self.code_unit(start + 6) {
                    Some(0xDC00..=0xDFFF) => {
                        self.at += 12;
                        Ok(())
                    }
                    _ => invalid,
                },
                Some(0xDC00..=0xDFFF) | None => invalid,
                Some(_) => {
                    self.at += 6;
                    Ok(())
                }
            },
            Some(_) => invalid,
            None => Err((self.bytes.len(), JsonProblem::UnexpectedEnd)),
        }
    }

    /// The UTF-16 code unit written as `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Option<u16> {
        let escape = self.bytes.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn number(&mut self) -> Parsed {
        let place = self.begin(NodeKind::Number);
        let start = self.at;
        let invalid = Err((start, JsonProblem::InvalidNumber));
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.digits();
        if whole == 0 || (whole > 1 && self.bytes[self.at - whole] == b'0') {
            return invalid;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return invalid;
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return invalid;
            }
        }
        self.finish(place, self.at);
        Ok(())
    }

    /// Passes over digits; how many there were.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &'static [u8], kind: NodeKind) -> Parsed {
        if !self.bytes[self.at..].starts_with(word) {
            return self.unexpected("true, false or null");
        }
        let place = self.begin(kind);
        self.at += word.len();
        self.finish(place, self.at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{STOPS, run};
    use proptest::prelude::*;

    #[test]
    fn a_run_ends_at_the_first_stop_wherever_it_stands_and_whatever_follows() {
        for stop in (0..=255_u8).filter(|&byte| STOPS[usize::from(byte)]) {
            for at in 0..20 {
                for beside in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                    let mut bytes = [beside; 24];
                    bytes[at] = stop;
                    assert_eq!(run(&bytes), Some(at), "{stop} between {beside}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_run_is_what_one_byte_after_the_other_says(bytes in any::<Vec<u8>>()) {
            let slowly = bytes.iter().position(|&byte| STOPS[usize::from(byte)]);
            prop_assert_eq!(run(&bytes), slowly);
        }
    }
}
