//! Words of an expression (N1, appendix B, the lexer rules): comments and white space are passed
//! over, literals are read to their value.

use crate::ast::Literal;
use crate::decimal::Decimal;
use crate::error::CompileProblem;
use crate::temporal::{Date, DateTime, Time};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name in back-ticks, which is never a keyword.
    Quoted(String),
    /// `$this`, without the sign.
    Dollar(String),
    /// `%name`, without the sign.
    Variable(String),
    Literal(Literal),
    /// `.`, `<=`, `(` and all other signs.
    Sign(&'static str),
    End,
}

impl Token {
    /// For error texts.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("'{word}'"),
            Self::Quoted(name) => format!("`{name}`"),
            Self::Dollar(name) => format!("'${name}'"),
            Self::Variable(name) => format!("'%{name}'"),
            Self::Literal(_) => "a literal".to_owned(),
            Self::Sign(sign) => format!("'{sign}'"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Longer ones first where one begins with another.
const SIGNS: [&str; 23] = [
    "<=", ">=", "!=", "!~", ".", ",", "(", ")", "[", "]", "{", "}", "+", "-", "*", "/", "&", "|",
    "<", ">", "=", "~", ";",
];

pub(crate) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

/// A problem and where it stands.
pub(crate) type Failure = (CompileProblem, usize);

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !wanted(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// The next word and where it begins.
    pub(crate) fn next(&mut self) -> Result<(Token, usize), Failure> {
        self.pass_over_space()?;
        let start = self.at;
        let Some(first) = self.peek() else {
            return Ok((Token::End, start));
        };
        let token = match first {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => Token::Word(self.word().to_owned()),
            b'`' => Token::Quoted(self.quoted(b'`')?),
            b'\'' => Token::Literal(Literal::String(self.quoted(b'\'')?)),
            b'0'..=b'9' => Token::Literal(self.number()?),
            b'@' => Token::Literal(self.moment()?),
            b'$' => {
                self.at += 1;
                Token::Dollar(self.word().to_owned())
            }
            b'%' => {
                self.at += 1;
                match self.peek() {
                    Some(quote @ (b'`' | b'\'' | b'"')) => Token::Variable(self.quoted(quote)?),
                    _ => Token::Variable(self.word().to_owned()),
                }
            }
            _ => self.sign()?,
        };
        Ok((token, start))
    }

    fn word(&mut self) -> &'t str {
        self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn sign(&mut self) -> Result<Token, Failure> {
        let rest = self.rest();
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => {
                let found = format!("'{}'", rest.chars().next().unwrap_or_default());
                Err((CompileProblem::Unexpected { found, expected: "an expression" }, self.at))
            }
        }
    }

    fn pass_over_space(&mut self) -> Result<(), Failure> {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace());
            let rest = self.rest();
            if rest.starts_with("//") {
                self.take_while(|byte| byte != b'\n' && byte != b'\r');
            } else if rest.starts_with("/*") {
                let end =
                    rest.find("*/").ok_or((CompileProblem::Unterminated("a comment"), self.at))?;
                self.at += end + 2;
            } else if rest.starts_with('\u{feff}') || rest.starts_with('\u{a0}') {
                self.at += rest.chars().next().map_or(1, char::len_utf8);
            } else {
                return Ok(());
            }
        }
    }

    /// What stands between quotes, escapes resolved.
    fn quoted(&mut self, quote: u8) -> Result<String, Failure> {
        let start = self.at;
        let what = if quote == b'\'' { "a string" } else { "a quoted name" };
        self.at += 1;
        let mut content = String::new();
        loop {
            content.push_str(self.take_while(|byte| byte != quote && byte != b'\\'));
            match self.peek() {
                None => return Err((CompileProblem::Unterminated(what), start)),
                Some(b'\\') => content.push(self.escape()?),
                Some(_) => {
                    self.at += 1;
                    return Ok(content);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Failure> {
        let start = self.at;
        let invalid = (CompileProblem::InvalidEscape, start);
        self.at += 2;
        Ok(match self.text.as_bytes().get(start + 1) {
            Some(sign @ (b'\'' | b'"' | b'`' | b'\\' | b'/')) => char::from(*sign),
            Some(b'r') => '\r',
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'f') => '\u{c}',
            Some(b'u') => {
                let first = self.unit().ok_or_else(|| invalid.clone())?;
                let code = if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
                    self.at += 2;
                    let second = self.unit().ok_or_else(|| invalid.clone())?;
                    let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400);
                    let low = low.ok_or_else(|| invalid.clone())?;
                    0x10000 + ((first - 0xD800) << 10) + low
                } else {
                    first
                };
                char::from_u32(code).ok_or(invalid)?
            }
            _ => return Err(invalid),
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
        u32::from_str_radix(digits, 16).ok()
    }

    fn digits(&mut self) -> &'t str {
        self.take_while(|byte| byte.is_ascii_digit())
    }

    /// Whether a sign stands here with a digit behind it.
    fn at_sign_and_digit(&self, signs: &[u8]) -> bool {
        let bytes = self.text.as_bytes();
        self.peek().is_some_and(|byte| signs.contains(&byte))
            && bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit)
    }

    fn number(&mut self) -> Result<Literal, Failure> {
        let start = self.at;
        self.digits();
        let is_decimal = self.at_sign_and_digit(b".");
        if is_decimal {
            self.at += 1;
            self.digits();
        }
        let text = &self.text[start..self.at];
        let invalid = || (CompileProblem::InvalidLiteral(text.to_owned()), start);
        if is_decimal {
            return Decimal::parse(text).map(Literal::Decimal).ok_or_else(invalid);
        }
        // 2147483648 stands for the least integer once it has its minus.
        let integer: i64 = text.parse().map_err(|_| invalid())?;
        if integer > i64::from(i32::MAX) + 1 {
            return Err(invalid());
        }
        Ok(Literal::Integer(integer))
    }

    /// A date, dateTime or time.
    fn moment(&mut self) -> Result<Literal, Failure> {
        let start = self.at;
        self.at += 1;
        if self.peek() == Some(b'T') {
            self.at += 1;
            let time = self.at;
            self.time();
            let text = &self.text[time..self.at];
            return Time::parse(text).map(Literal::Time).ok_or_else(|| self.invalid(start));
        }
        let date = self.at;
        self.digits();
        for _ in 0..2 {
            if self.at_sign_and_digit(b"-") {
                self.at += 1;
                self.digits();
            }
        }
        if self.peek() != Some(b'T') {
            let text = &self.text[date..self.at];
            return Date::parse(text).map(Literal::Date).ok_or_else(|| self.invalid(start));
        }
        self.at += 1;
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.time();
            if self.peek() == Some(b'Z') {
                self.at += 1;
            } else if self.at_sign_and_digit(b"+-") {
                self.at += 1;
                self.digits();
                if self.at_sign_and_digit(b":") {
                    self.at += 1;
                    self.digits();
                }
            }
        }
        let text = &self.text[date..self.at];
        DateTime::parse(text).map(Literal::DateTime).ok_or_else(|| self.invalid(start))
    }

    fn time(&mut self) {
        self.digits();
        for _ in 0..2 {
            if self.at_sign_and_digit(b":") {
                self.at += 1;
                self.digits();
            }
        }
        if self.at_sign_and_digit(b".") {
            self.at += 1;
            self.digits();
        }
    }

    fn invalid(&self, start: usize) -> Failure {
        (CompileProblem::InvalidLiteral(self.text[start..self.at].to_owned()), start)
    }
}
