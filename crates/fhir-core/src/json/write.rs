//! JSON out: compact, pretty, and with some strings replaced.

use super::value::{Document, NodeKind, Value};
use super::{JsonError, Kind};

/// Strings of one document that are written as something else: places (see [`Value::place`])
/// with the new content, in reading order.
#[derive(Debug, Clone, Default)]
pub struct Replacements {
    entries: Vec<(u32, String)>,
}

impl Replacements {
    /// Replaces the content of the string `value`.
    ///
    /// Must be called in reading order, and only for strings.
    pub fn push(&mut self, value: Value<'_>, content: String) {
        debug_assert!(value.kind() == Kind::String, "only strings are replaced");
        debug_assert!(
            self.entries.last().is_none_or(|(place, _)| *place < value.at),
            "replacements are given in reading order"
        );
        self.entries.push((value.at, content));
    }

    /// Whether nothing is replaced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the string `value` is written as instead; `None` when it is not replaced.
    #[must_use]
    pub fn content(&self, value: Value<'_>) -> Option<&str> {
        let place = self.entries.binary_search_by_key(&value.at, |(place, _)| *place).ok()?;
        Some(&self.entries[place].1)
    }

    /// The replacements within the nodes `from..to`.
    fn within(&self, from: u32, to: u32) -> &[(u32, String)] {
        let first = self.entries.partition_point(|(place, _)| *place < from);
        let last = self.entries.partition_point(|(place, _)| *place < to);
        &self.entries[first..last]
    }
}

impl Value<'_> {
    /// Appends this value without white space, strings and numbers as they were written, except
    /// for the strings that `replacements` names.
    pub fn write(&self, replacements: &Replacements, out: &mut Vec<u8>) {
        let node = self.node();
        let replaced = replacements.within(self.at, node.next);
        if self.compact {
            self.splice(replaced, out);
        } else if replaced.is_empty() && !matches!(self.kind(), Kind::Object | Kind::Array) {
            out.extend_from_slice(self.raw().as_bytes());
        } else {
            self.walk(replacements, out);
        }
    }

    /// The text has no white space: copy it around the replaced strings.
    fn splice(&self, replaced: &[(u32, String)], out: &mut Vec<u8>) {
        let raw_start = self.raw_start();
        let raw = self.raw().as_bytes();
        let mut done = 0;
        for (place, content) in replaced {
            let string = self.nodes[*place as usize];
            let quote = string.start as usize - 1 - raw_start;
            out.extend_from_slice(&raw[done..quote]);
            write_string(content, out);
            done = string.end as usize + 1 - raw_start;
        }
        out.extend_from_slice(&raw[done..]);
    }

    fn raw_start(&self) -> usize {
        let node = self.node();
        node.start as usize
            - usize::from(matches!(node.kind, NodeKind::String | NodeKind::EscapedString))
    }

    fn walk(&self, replacements: &Replacements, out: &mut Vec<u8>) {
        match self.kind() {
            Kind::Object => {
                let mut separator = b'{';
                for (name, value) in self.raw_members() {
                    out.push(separator);
                    separator = b',';
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    value.write(replacements, out);
                }
                out.extend_from_slice(if separator == b'{' { b"{}" } else { b"}" });
            }
            Kind::Array => {
                let mut separator = b'[';
                for item in self.items() {
                    out.push(separator);
                    separator = b',';
                    item.write(replacements, out);
                }
                out.extend_from_slice(if separator == b'[' { b"[]" } else { b"]" });
            }
            _ => match replacements.within(self.at, self.at + 1) {
                [(_, content)] => write_string(content, out),
                _ => out.extend_from_slice(self.raw().as_bytes()),
            },
        }
    }

    fn write_pretty(&self, indent: usize, out: &mut Vec<u8>) {
        let line = |indent: usize, out: &mut Vec<u8>| {
            out.push(b'\n');
            out.resize(out.len() + 2 * indent, b' ');
        };
        match self.kind() {
            Kind::Object if self.node().next > self.at + 1 => {
                let mut separator = b'{';
                for (name, value) in self.raw_members() {
                    out.push(separator);
                    separator = b',';
                    line(indent + 1, out);
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b": ");
                    value.write_pretty(indent + 1, out);
                }
                line(indent, out);
                out.push(b'}');
            }
            Kind::Array if self.node().next > self.at + 1 => {
                let mut separator = b'[';
                for item in self.items() {
                    out.push(separator);
                    separator = b',';
                    line(indent + 1, out);
                    item.write_pretty(indent + 1, out);
                }
                line(indent, out);
                out.push(b']');
            }
            Kind::Object => out.extend_from_slice(b"{}"),
            Kind::Array => out.extend_from_slice(b"[]"),
            _ => out.extend_from_slice(self.raw().as_bytes()),
        }
    }
}

/// Writes a JSON text again with line breaks and two spaces a level; strings and numbers stay as
/// they are (`_pretty`, FHIR R4 3.1.0.1.11).
///
/// # Errors
/// When `text` is not JSON.
pub fn pretty(text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let document = Document::parse(text)?;
    let mut out = Vec::with_capacity(text.len() * 2);
    document.root().write_pretty(0, &mut out);
    out.push(b'\n');
    Ok(out)
}

/// Appends `content` as a JSON string in quotes.
pub fn write_string(content: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut done = 0;
    for (at, byte) in content.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => {
                out.extend_from_slice(&content.as_bytes()[done..at]);
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                done = at + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&content.as_bytes()[done..at]);
        out.extend_from_slice(escape);
        done = at + 1;
    }
    out.extend_from_slice(&content.as_bytes()[done..]);
    out.push(b'"');
}
