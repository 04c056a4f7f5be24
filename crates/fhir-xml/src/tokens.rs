//! The tokens of an XML text, borrowed from it and with their places. The one place where
//! quick-xml is named; it checks that tags are closed by their own names.

use quick_xml::Reader;
use quick_xml::errors::Error;
use quick_xml::events::Event;

use crate::error::{Found, ill_formed};

/// One piece of markup, or the text between two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token<'a> {
    /// `<a …>`
    Start(Tag<'a>),
    /// `<a …/>`
    Empty(Tag<'a>),
    /// `</a>`
    End,
    /// Text without markup.
    Text(&'a str),
    /// `&…;`, its name without both signs.
    Reference(&'a str),
    /// `<![CDATA[…]]>`, its content.
    Cdata(&'a str),
    /// `<!--…-->`
    Comment,
    /// `<?…?>`, the XML declaration too.
    Instruction,
    /// `<!DOCTYPE …>`
    Doctype,
    /// Nothing more.
    Eof,
}

/// A start tag or that of an empty element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tag<'a> {
    /// Where its `<` stands.
    pub(crate) at: usize,
    /// Its name, prefix and all.
    pub(crate) name: &'a str,
    /// What stands between name and end.
    pub(crate) attributes: &'a str,
}

impl Tag<'_> {
    /// Checks its name, which the tokens do not: most are then looked for in a table.
    pub(crate) fn check_name(&self) -> Result<(), Found> {
        if is_name(self.name) {
            return Ok(());
        }
        ill_formed(self.at, "'<' that begins no tag; write &lt; for the character")
    }

    /// Where its name ends.
    pub(crate) fn name_end(&self) -> usize {
        self.at + 1 + self.name.len()
    }
}

/// The byte order mark as a character.
const MARK: char = '\u{feff}';

pub(crate) struct Tokens<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    /// Bytes of a byte order mark at the start, which the reader passes over and does not count.
    mark: usize,
    /// Where the last token begins.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        let mark = if text.starts_with(MARK) { MARK.len_utf8() } else { 0 };
        Self { text, reader, mark, start: 0, end: 0 }
    }

    /// The next token. A mark that the text still has is text.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, Found> {
        if self.end < self.mark {
            self.end = self.mark;
            return Ok(Token::Text(&self.text[..self.mark]));
        }
        let event = self.reader.read_event();
        self.start = self.end;
        self.end = self.mark + offset(self.reader.buffer_position());
        let inner = |before: usize, after: usize| &self.text[self.start + before..self.end - after];
        Ok(match event {
            Ok(Event::Text(_)) => Token::Text(inner(0, 0)),
            Ok(Event::Start(start)) => Token::Start(self.tag(start.name().0.len(), 1)),
            Ok(Event::Empty(start)) => Token::Empty(self.tag(start.name().0.len(), 2)),
            Ok(Event::End(_)) => Token::End,
            Ok(Event::GeneralRef(_)) => Token::Reference(inner(1, 1)),
            Ok(Event::CData(_)) => Token::Cdata(inner(9, 3)),
            Ok(Event::Comment(_)) => Token::Comment,
            Ok(Event::PI(instruction)) if instruction.target().eq_ignore_ascii_case("xml") => {
                return ill_formed(self.start, "an XML declaration stands at the very beginning");
            }
            Ok(Event::PI(_)) => Token::Instruction,
            Ok(Event::Decl(_)) if self.start > 0 => {
                return ill_formed(self.start, "an XML declaration stands at the very beginning");
            }
            Ok(Event::Decl(declaration)) => match declaration.version() {
                Ok(version) if &*version == "1.0" => Token::Instruction,
                _ => return ill_formed(self.start, "the XML declaration must say version=\"1.0\""),
            },
            Ok(Event::DocType(_)) => Token::Doctype,
            Ok(Event::Eof) => Token::Eof,
            Err(error) => {
                let at = self.mark + offset(self.reader.error_position());
                let at = at.min(self.text.len());
                let text = match &error {
                    Error::Syntax(error) => error.to_string(),
                    Error::IllFormed(error) => error.to_string(),
                    other => other.to_string(),
                };
                return ill_formed(at, &crate::error::beginning(&text));
            }
        })
    }

    fn tag(&self, name_length: usize, closing: usize) -> Tag<'a> {
        let name_end = self.start + 1 + name_length;
        Tag {
            at: self.start,
            name: &self.text[self.start + 1..name_end],
            attributes: &self.text[name_end..self.end - closing],
        }
    }
}

/// The characters that HTML has this name for.
pub(crate) fn html_entity(name: &str) -> Option<&'static str> {
    quick_xml::escape::resolve_html5_entity(name)
}

fn offset(position: u64) -> usize {
    usize::try_from(position).expect("the text is in memory")
}

/// Whether this is a name in XML, with or without a prefix (XML 1.0, 2.3, and XML namespaces).
pub(crate) fn is_name(name: &str) -> bool {
    // All names of FHIR, and nearly all of XHTML.
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return true;
    }
    let part = |part: &str| {
        let mut characters = part.chars();
        characters.next().is_some_and(begins_name) && characters.all(continues_name)
    };
    match name.split_once(':') {
        None => part(name),
        Some((prefix, local)) => part(prefix) && part(local),
    }
}

fn begins_name(character: char) -> bool {
    matches!(character,
        'a'..='z' | 'A'..='Z' | '_'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}'
        | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn continues_name(character: char) -> bool {
    begins_name(character)
        || matches!(character,
            '0'..='9' | '-' | '.' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}
