//! The words of a filter.

use std::borrow::Cow;

use crate::QueryProblem;
use crate::grammar::{Fault, Piece, quoted};

/// What is left of a filter. Copied where it has to be read again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    rest: Piece<'a>,
}

/// What stands on the right of an operator: without its quotes and their escapes.
pub(super) struct Operand<'a> {
    pub(super) text: Cow<'a, str>,
    at: usize,
}

impl Operand<'_> {
    pub(super) fn piece(&self) -> Piece<'_> {
        Piece::new(&self.text, self.at)
    }

    pub(super) fn fault(&self, problem: QueryProblem) -> Fault {
        Fault::in_value(self.at, problem)
    }
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | ':')
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: Piece<'a>) -> Self {
        Self { rest: text }
    }

    fn skip_spaces(&mut self) {
        let text = self.rest.text;
        self.rest = self.rest.after(text.len() - text.trim_start().len());
    }

    fn take(&mut self, bytes: usize) -> Piece<'a> {
        let taken = Piece::new(&self.rest.text[..bytes], self.rest.at);
        self.rest = self.rest.after(bytes);
        taken
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_spaces();
        self.rest.text.is_empty()
    }

    /// Whether this stands next; between a name and what belongs to it there is no space.
    pub(super) fn is_at(&self, character: char) -> bool {
        self.rest.text.starts_with(character)
    }

    /// Takes a bracket or dot, spaces before a bracket too.
    pub(super) fn takes(&mut self, character: char) -> bool {
        if character != '.' {
            self.skip_spaces();
        }
        let is_there = self.is_at(character);
        if is_there {
            self.take(character.len_utf8());
        }
        is_there
    }

    /// Takes a word after which a space or bracket stands.
    pub(super) fn takes_word(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let ends = |rest: &str| rest.starts_with(|next: char| next.is_whitespace() || next == '(');
        let is_there = self.rest.text.strip_prefix(word).is_some_and(ends);
        if is_there {
            self.take(word.len());
            self.skip_spaces();
        }
        is_there
    }

    /// Takes a word if a bracket follows: before anything else it is a name.
    pub(super) fn takes_word_before_bracket(&mut self, word: &str) -> bool {
        let before = *self;
        if self.takes_word(word) && self.is_at('(') {
            return true;
        }
        *self = before;
        self.skip_spaces();
        false
    }

    /// A parameter's name, and the type after a colon.
    pub(super) fn name(&mut self) -> Result<Piece<'a>, Fault> {
        self.skip_spaces();
        let text = self.rest.text;
        let length = text.find(|it| !is_of_name(it)).unwrap_or(text.len());
        if length == 0 {
            return Err(self.unexpected("the name of a search parameter, not ( or ("));
        }
        Ok(self.take(length))
    }

    /// A word up to the next space.
    pub(super) fn word(&mut self, expected: &'static str) -> Result<Piece<'a>, Fault> {
        let begins_with_space = self.rest.text.starts_with(char::is_whitespace);
        self.skip_spaces();
        let text = self.rest.text;
        let length = text.find(|it: char| !it.is_ascii_alphanumeric()).unwrap_or(text.len());
        if length == 0 || !begins_with_space {
            return Err(self.unexpected(expected));
        }
        Ok(self.take(length))
    }

    /// A string in quotes as JSON writes it, or all up to a space or closing bracket.
    pub(super) fn operand(&mut self) -> Result<Operand<'a>, Fault> {
        self.skip_spaces();
        if self.is_at('"') {
            return self.quoted();
        }
        let text = self.rest.text;
        let ends = |it: char| it.is_whitespace() || matches!(it, ')' | ']');
        let length = text.find(ends).unwrap_or(text.len());
        if length == 0 {
            return Err(self.unexpected("a value"));
        }
        let taken = self.take(length);
        Ok(Operand { text: Cow::Borrowed(taken.text), at: taken.at })
    }

    fn quoted(&mut self) -> Result<Operand<'a>, Fault> {
        let at = self.rest.at + 1;
        let mut plain = String::new();
        let mut characters = self.rest.text.char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.take(offset + 1);
                    if plain.is_empty() {
                        return Err(Fault::in_value(at, QueryProblem::EmptyFilterValue));
                    }
                    return Ok(Operand { text: Cow::Owned(plain), at });
                }
                '\\' => match escaped(&mut characters) {
                    Some(character) => plain.push(character),
                    None => {
                        let place = self.rest.at + offset;
                        return Err(Fault::in_value(place, QueryProblem::InvalidJsonEscape));
                    }
                },
                _ => plain.push(character),
            }
        }
        Err(self.unexpected("a string that ends with a quote"))
    }

    pub(super) fn fault(&self, problem: QueryProblem) -> Fault {
        self.rest.fault(problem)
    }

    /// Says what stands here instead of what could.
    pub(super) fn unexpected(&mut self, expected: &'static str) -> Fault {
        self.skip_spaces();
        let text = self.rest.text;
        let found = match text.chars().next() {
            None => "the end".into(),
            Some(first) if is_of_name(first) => {
                let end = text.find(|it| !is_of_name(it)).unwrap_or(text.len());
                format!("'{}'", quoted(&text[..end])).into()
            }
            Some(first) => format!("'{first}'").into(),
        };
        self.fault(QueryProblem::Unexpected { found, expected })
    }
}

/// The character that an escape of JSON stands for.
fn escaped(characters: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let mut next = || characters.next().map(|(_, character)| character);
    Some(match next()? {
        character @ ('"' | '\\' | '/') => character,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let mut unit = || (0..4).try_fold(0, |unit, _| Some(unit * 16 + next()?.to_digit(16)?));
            match unit()? {
                // The first half of a pair.
                high @ 0xd800..=0xdbff => {
                    if (next()?, next()?) != ('\\', 'u') {
                        return None;
                    }
                    let mut unit =
                        || (0..4).try_fold(0, |unit, _| Some(unit * 16 + next()?.to_digit(16)?));
                    let low = unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                    char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?
                }
                other => char::from_u32(other)?,
            }
        }
        _ => return None,
    })
}
