//! A read JSON text and the values in it.

use std::borrow::Cow;

/// A JSON text that was read: the text and where each value in it stands.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    compact: bool,
}

/// Where one value stands. Members of an object are a name node followed by a value node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    /// First byte; of a string, the first after the quote.
    pub(super) start: u32,
    /// After the last byte; of a string, the closing quote.
    pub(super) end: u32,
    /// The node after this one and all inside it.
    pub(super) next: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    Object,
    Array,
    String,
    EscapedString,
    Number,
    True,
    False,
    Null,
}

/// The kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number, kept as written.
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, nodes: Vec<Node>, compact: bool) -> Self {
        Self { text, nodes, compact }
    }

    /// The whole value.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        Value { text: self.text, nodes: &self.nodes, at: 0, compact: self.compact }
    }
}

/// A value of a [`Document`]: a place in its text. Copying it is free.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    pub(super) text: &'a str,
    pub(super) nodes: &'a [Node],
    pub(super) at: u32,
    pub(super) compact: bool,
}

impl<'a> Value<'a> {
    pub(super) fn node(&self) -> Node {
        self.nodes[self.at as usize]
    }

    pub(super) fn beside(&self, at: u32) -> Self {
        Value { at, ..*self }
    }

    /// A number that names this value's place within its document; grows in reading order.
    #[must_use]
    pub fn place(&self) -> u32 {
        self.at
    }

    /// The value at another place of the same document, as [`Value::place`] gave it.
    #[must_use]
    pub fn at_place(&self, place: u32) -> Option<Self> {
        ((place as usize) < self.nodes.len()).then(|| self.beside(place))
    }

    /// The text of the whole document.
    #[must_use]
    pub fn document_text(&self) -> &'a str {
        self.text
    }

    /// The kind of this value.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.node().kind {
            NodeKind::Object => Kind::Object,
            NodeKind::Array => Kind::Array,
            NodeKind::String | NodeKind::EscapedString => Kind::String,
            NodeKind::Number => Kind::Number,
            NodeKind::True | NodeKind::False => Kind::Boolean,
            NodeKind::Null => Kind::Null,
        }
    }

    /// The value's text as it was read, quotes of a string included.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        let node = self.node();
        match self.kind() {
            Kind::String => &self.text[node.start as usize - 1..node.end as usize + 1],
            _ => &self.text[node.start as usize..node.end as usize],
        }
    }

    /// The content of a string, escapes resolved.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        let node = self.node();
        let raw = &self.text[node.start as usize..node.end as usize];
        match node.kind {
            NodeKind::String => Some(Cow::Borrowed(raw)),
            NodeKind::EscapedString => Some(Cow::Owned(unescape(raw))),
            _ => None,
        }
    }

    /// The text of a number, exactly as written.
    #[must_use]
    pub fn as_number(&self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then(|| self.raw())
    }

    /// A boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.node().kind {
            NodeKind::True => Some(true),
            NodeKind::False => Some(false),
            _ => None,
        }
    }

    /// The member of this object with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        let end = self.members().end;
        let mut at = self.at + 1;
        while at < end {
            let value = self.beside(at + 1);
            if self.beside(at).is_string(name) {
                return Some(value);
            }
            at = value.node().next;
        }
        None
    }

    /// Whether this is the string `content`.
    #[must_use]
    pub fn is_string(&self, content: &str) -> bool {
        let node = self.node();
        match node.kind {
            NodeKind::String => {
                (node.end - node.start) as usize == content.len()
                    && self.text[node.start as usize..node.end as usize] == *content
            }
            NodeKind::EscapedString => self.as_str().is_some_and(|it| it == content),
            _ => false,
        }
    }

    /// The members of this object in order, each name as the string value that it is.
    pub fn named_members(&self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let of = *self;
        let end = self.members().end;
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (name, value) = (of.beside(at), of.beside(at + 1));
            at = value.node().next;
            Some((name, value))
        })
    }

    /// The content of the string member with this name.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(|value| value.as_str())
    }

    /// The members of this object in order; nothing for another kind.
    #[must_use]
    pub fn members(&self) -> Members<'a> {
        let node = self.node();
        let end = if node.kind == NodeKind::Object { node.next } else { self.at + 1 };
        Members { of: *self, at: self.at + 1, end }
    }

    /// The members of this object in order, names as they were written (quotes included).
    pub fn raw_members(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let of = *self;
        let end = self.members().end;
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let name = of.beside(at).raw();
            let value = of.beside(at + 1);
            at = value.node().next;
            Some((name, value))
        })
    }

    /// The items of this array in order; nothing for another kind.
    #[must_use]
    pub fn items(&self) -> Items<'a> {
        let node = self.node();
        let end = if node.kind == NodeKind::Array { node.next } else { self.at + 1 };
        Items { of: *self, at: self.at + 1, end }
    }

    /// The items of an array, or the one value that is none.
    pub fn each(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let alone = (self.kind() != Kind::Array).then_some(*self);
        self.items().chain(alone)
    }

    /// How many bytes of the text stand before the value; a string begins with its quote.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.node().start as usize - usize::from(self.kind() == Kind::String)
    }

    /// Line and column (in characters) of the value's first byte, both from 1.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        let before = &self.text[..self.node().start as usize];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// The members of an object.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    of: Value<'a>,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let name = self.of.beside(self.at).as_str()?;
        let value = self.of.beside(self.at + 1);
        self.at = value.node().next;
        Some((name, value))
    }
}

/// The items of an array.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    of: Value<'a>,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let value = self.of.beside(self.at);
        self.at = value.node().next;
        Some(value)
    }
}

/// Resolves the escapes of a string that was already checked.
pub(super) fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (character, length) = match rest.as_bytes()[at + 1] {
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => unicode(&rest[at..]),
            other => (char::from(other), 2),
        };
        text.push(character);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    text
}

/// The character at the start of `escape` (`\uXXXX`, or two of them) and how long that is.
fn unicode(escape: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at + 2..at + 6).unwrap_or_default();
        u32::from_str_radix(digits, 16).expect("escapes were checked when the text was read")
    };
    let first = unit(0);
    let (code, length) = if (0xD800..0xDC00).contains(&first) {
        (0x10000 + ((first - 0xD800) << 10) + (unit(6) - 0xDC00), 12)
    } else {
        (first, 6)
    };
    (char::from_u32(code).expect("surrogates were checked when the text was read"), length)
}
