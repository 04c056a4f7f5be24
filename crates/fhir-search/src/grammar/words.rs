//! What `_text` and `_content` ask: words (FHIR R4, 3.1.1.4.19).
//!
//! `bone liver` and `bone and liver` ask for both, `bone or liver` for one of them, `not liver` for
//! its absence; `"bone scan"` asks for both beside each other, and brackets group. `and` binds
//! closer than `or`. The three words count in any case; in quotes they are words like any other.

use super::{Fault, Piece, quoted};
use crate::{Limits, QueryProblem, TextTest, fold};

/// Reads what is asked, with as many words as a parameter may have values.
pub(super) fn parse(text: Piece<'_>, limits: &Limits) -> Result<TextTest, Fault> {
    let mut parser = Parser { rest: text, limits, depth: limits.depth, words: limits.values };
    let test = parser.any()?;
    match parser.peek() {
        Some(_) => Err(parser.unexpected("a word or the end")),
        None => Ok(test),
    }
}

struct Parser<'a> {
    rest: Piece<'a>,
    limits: &'a Limits,
    /// So many more brackets may be opened.
    depth: usize,
    /// So many more words may follow.
    words: usize,
}

impl<'a> Parser<'a> {
    /// The next word, bracket or phrase with its quotes, which is not taken.
    fn peek(&mut self) -> Option<&'a str> {
        let text = self.rest.text.trim_start();
        self.rest = self.rest.after(self.rest.text.len() - text.len());
        let first = text.chars().next()?;
        let length = match first {
            '(' | ')' => 1,
            '"' => text[1..].find('"').map_or(text.len(), |end| end + 2),
            _ => text
                .find(|it: char| it.is_whitespace() || matches!(it, '(' | ')' | '"'))
                .unwrap_or(text.len()),
        };
        Some(&text[..length])
    }

    fn takes(&mut self, word: &str) -> bool {
        let next = self.peek().filter(|next| next.eq_ignore_ascii_case(word));
        if let Some(next) = next {
            self.rest = self.rest.after(next.len());
        }
        next.is_some()
    }

    fn unexpected(&mut self, expected: &'static str) -> Fault {
        let found = match self.peek() {
            Some(found) => format!("'{}'", quoted(found)).into(),
            None => "the end".into(),
        };
        self.rest.fault(QueryProblem::Unexpected { found, expected })
    }

    fn any(&mut self) -> Result<TextTest, Fault> {
        let mut tests = vec![self.all()?];
        while self.takes("or") {
            tests.push(self.all()?);
        }
        Ok(one_or(tests, TextTest::Any))
    }

    fn all(&mut self) -> Result<TextTest, Fault> {
        let mut tests = vec![self.one()?];
        loop {
            let more = self.takes("and")
                || self.peek().is_some_and(|next| next != ")" && !next.eq_ignore_ascii_case("or"));
            if !more {
                return Ok(one_or(tests, TextTest::All));
            }
            tests.push(self.one()?);
        }
    }

    fn one(&mut self) -> Result<TextTest, Fault> {
        if self.takes("not") {
            return self.nested(|it| Ok(TextTest::Not(Box::new(it.one()?))));
        }
        if self.takes("(") {
            return self.nested(|it| {
                let test = it.any()?;
                if it.takes(")") { Ok(test) } else { Err(it.unexpected("a word or )")) }
            });
        }
        let expected = "a word, a phrase in quotes, not or (";
        let Some(word) = self.peek().filter(|it| *it != ")") else {
            return Err(self.unexpected(expected));
        };
        let is_operator = ["and", "or"].iter().any(|it| word.eq_ignore_ascii_case(it));
        let is_open = word.starts_with('"') && (word.len() < 2 || !word.ends_with('"'));
        if is_operator || is_open {
            return Err(self.unexpected(if is_open { "a phrase that ends" } else { expected }));
        }
        let folded = fold(word);
        if folded.is_empty() {
            return Err(self.rest.fault(QueryProblem::NothingToCompare));
        }
        let words: Vec<Box<str>> = folded.split(' ').map(Box::from).collect();
        let Some(left) = self.words.checked_sub(words.len()) else {
            let limit = self.limits.values;
            return Err(self.rest.fault(QueryProblem::TooMany { what: "words", limit }));
        };
        self.words = left;
        self.rest = self.rest.after(word.len());
        Ok(TextTest::Phrase(words))
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<TextTest, Fault>,
    ) -> Result<TextTest, Fault> {
        let Some(depth) = self.depth.checked_sub(1) else {
            let what = "levels of brackets";
            return Err(self.rest.fault(QueryProblem::TooMany { what, limit: self.limits.depth }));
        };
        self.depth = depth;
        let test = read(self);
        self.depth += 1;
        test
    }
}

fn one_or(mut tests: Vec<TextTest>, many: impl FnOnce(Vec<TextTest>) -> TextTest) -> TextTest {
    match tests.pop() {
        Some(only) if tests.is_empty() => only,
        last => {
            tests.extend(last);
            many(tests)
        }
    }
}
