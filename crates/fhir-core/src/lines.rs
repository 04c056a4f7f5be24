//! Lines and columns of many places in one text, without reading it from its start for each.

use std::sync::OnceLock;

use crate::Position;

/// Of every so many bytes it is known where the first of them stands.
const BLOCK: usize = 1 << 10;

/// What is known of a text's lines; nothing before the first place in it is asked for. It belongs
/// to one text, which is given to it each time. It takes a hundredth of the text's length.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    blocks: OnceLock<Vec<Start>>,
}

/// Where a block of the text begins.
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    /// How many lines end before it.
    lines: u32,
    /// How many characters of its line stand before it.
    characters: u32,
}

impl Start {
    /// Where the text goes on after `text`.
    fn after(self, text: &[u8]) -> Self {
        // Bytes that go on with a character are none of their own.
        let characters = |text: &[u8]| number(text, |byte| byte & 0xC0 != 0x80);
        match text.iter().rposition(|byte| *byte == b'\n') {
            None => Self { characters: self.characters.saturating_add(characters(text)), ..self },
            Some(end) => Self {
                lines: self.lines.saturating_add(number(text, |byte| byte == b'\n')),
                characters: characters(&text[end + 1..]),
            },
        }
    }
}

impl Lines {
    /// Of a text that nobody asked about yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Line and column, in characters, of a byte of the text; both begin at 1.
    #[must_use]
    pub fn position(&self, text: &[u8], offset: usize) -> Position {
        let offset = offset.min(text.len());
        let blocks = self.blocks.get_or_init(|| {
            let mut next = Start::default();
            let starts = text.chunks(BLOCK).map(|block| {
                let start = next;
                next = start.after(block);
                start
            });
            starts.collect()
        });
        // A text that ends with a block has no further one.
        let block = (offset / BLOCK).min(blocks.len().saturating_sub(1));
        let start = blocks.get(block).copied().unwrap_or_default();
        let at = start.after(&text[block * BLOCK..offset]);
        Position { line: at.lines as usize + 1, column: at.characters as usize + 1 }
    }
}

fn number(text: &[u8], of: impl Fn(u8) -> bool) -> u32 {
    let number = text.iter().filter(|byte| of(**byte)).count();
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Lines};
    use crate::Position;

    fn check(text: &str) {
        let lines = Lines::new();
        let (mut line, mut column) = (1, 1);
        for (offset, char) in text.char_indices() {
            // Around the ends of blocks, and now and then.
            if offset % BLOCK < 3 || offset % BLOCK > BLOCK - 3 || offset % 997 == 0 {
                assert_eq!(lines.position(text.as_bytes(), offset), Position { line, column });
            }
            column += 1;
            if char == '\n' {
                (line, column) = (line + 1, 1);
            }
        }
        let end = Position { line, column };
        assert_eq!(lines.position(text.as_bytes(), text.len()), end);
        assert_eq!(lines.position(text.as_bytes(), usize::MAX), end);
    }

    #[test]
    fn places_are_those_that_counting_from_the_start_finds() {
        check("");
        check("\n");
        check("a\nµ€b\n\nc");
        check(&"ab\nµc\n".repeat(30_000));
        check(&"a".repeat(BLOCK - 1));
        check(&"a\n".repeat(BLOCK));
    }

    #[test]
    fn a_line_may_be_as_long_as_the_text() {
        let text = "xµ".repeat(200_000);
        let position = Lines::new().position(text.as_bytes(), 450_000);
        assert_eq!(position, Position { line: 1, column: 300_001 });
    }
}
