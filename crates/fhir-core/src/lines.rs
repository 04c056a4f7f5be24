//! Lines and columns of many places in one text, without reading it from its start for each.

use std::sync::OnceLock;

use crate::Position;

/// Of every so many bytes it is known how many lines begin before them.
const BLOCK: usize = 64 << 10;

/// Columns are counted as far as someone would look for one, in bytes: a line can be as long as
/// the text.
const MOST_COLUMNS: usize = 100_000;

/// What is known of a text's lines; nothing before the first place in it is asked for. It belongs
/// to one text, which is given to it each time.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    before: OnceLock<Vec<u32>>,
}

impl Lines {
    /// Of a text that nobody asked about yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Line and column (in characters, no more than 100,000) of a byte of the text.
    #[must_use]
    pub fn position(&self, text: &[u8], offset: usize) -> Position {
        let offset = offset.min(text.len());
        let before = self.before.get_or_init(|| {
            let mut lines = 0;
            let counted = text.chunks(BLOCK).map(|block| {
                let before = lines;
                lines += newlines(block);
                u32::try_from(before).unwrap_or(u32::MAX)
            });
            counted.collect()
        });
        let block = offset / BLOCK;
        // A text that ends with a block has no further one.
        let (block, known) = match before.get(block) {
            Some(known) => (block, *known),
            None => (block.saturating_sub(1), before.last().copied().unwrap_or(0)),
        };
        let line = 1 + known as usize + newlines(&text[block * BLOCK..offset]);
        let near = &text[offset.saturating_sub(MOST_COLUMNS)..offset];
        let start = near.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // Bytes that go on with a character are none of their own.
        let characters = near[start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        Position { line, column: characters + 1 }
    }
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
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
    fn in_a_line_without_end_columns_are_counted_so_far() {
        let text = "x".repeat(300_000);
        let position = Lines::new().position(text.as_bytes(), 250_000);
        assert_eq!(position, Position { line: 1, column: 100_001 });
    }
}
