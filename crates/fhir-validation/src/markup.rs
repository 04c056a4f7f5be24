//! The tokens of the XHTML in a narrative: just what is needed to say whether it is well-formed.

/// A piece of markup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    Text(&'t str),
    /// `<name …>`, or `<name …/>`.
    Open {
        name: &'t str,
        attributes: Vec<(&'t str, &'t str)>,
        is_closed: bool,
    },
    Close(&'t str),
    Comment,
    CharacterData(&'t str),
    /// `<!DOCTYPE`, `<?…?>` and the like.
    Declaration,
}

/// Cuts a text into tokens; an error says why that cannot go on.
pub(crate) struct Tokens<'t> {
    rest: &'t str,
}

type Cut<T> = Result<T, &'static str>;

impl<'t> Tokens<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { rest: text }
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn until(&mut self, begin: usize, end: &str, otherwise: &'static str) -> Cut<&'t str> {
        self.take(begin);
        let length = self.rest.find(end).ok_or(otherwise)?;
        let inner = self.take(length);
        self.take(end.len());
        Ok(inner)
    }

    pub(crate) fn next(&mut self) -> Cut<Option<Token<'t>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if !self.rest.starts_with('<') {
            let length = self.rest.find('<').unwrap_or(self.rest.len());
            return Ok(Some(Token::Text(self.take(length))));
        }
        let token = if self.rest.starts_with("<!--") {
            self.until(4, "-->", "a comment has no end")?;
            Token::Comment
        } else if self.rest.starts_with("<![CDATA[") {
            Token::CharacterData(self.until(9, "]]>", "a CDATA section has no end")?)
        } else if self.rest.starts_with("<!") || self.rest.starts_with("<?") {
            self.until(2, ">", "a declaration has no end")?;
            Token::Declaration
        } else if self.rest.starts_with("</") {
            let inner = self.until(2, ">", "a tag has no end")?.trim_end();
            if !is_name(inner) {
                return Err("the name in an end tag is none");
            }
            Token::Close(inner)
        } else {
            self.take(1);
            self.open()?
        };
        Ok(Some(token))
    }

    fn name(&mut self) -> Cut<&'t str> {
        let is_end = |it: char| it.is_whitespace() || matches!(it, '=' | '/' | '>' | '<' | '"');
        let length = self.rest.find(is_end).unwrap_or(self.rest.len());
        let name = self.take(length);
        if is_name(name) { Ok(name) } else { Err("a '<' or name that is no tag; write < as &lt;") }
    }

    fn open(&mut self) -> Cut<Token<'t>> {
        let name = self.name()?;
        let mut attributes = Vec::new();
        loop {
            let trimmed = self.rest.trim_start();
            let had_space = trimmed.len() < self.rest.len();
            self.rest = trimmed;
            if self.rest.starts_with('>') {
                self.take(1);
                return Ok(Token::Open { name, attributes, is_closed: false });
            }
            if self.rest.starts_with("/>") {
                self.take(2);
                return Ok(Token::Open { name, attributes, is_closed: true });
            }
            if !had_space {
                return Err("a tag has no end, or attributes without white space between them");
            }
            let attribute = self.name()?;
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('=') {
                return Err("an attribute has no value");
            }
            self.rest = self.rest[1..].trim_start();
            let quote = match self.rest.as_bytes().first() {
                Some(b'"') => "\"",
                Some(b'\'') => "'",
                _ => return Err("the value of an attribute has no quotes"),
            };
            let value = self.until(1, quote, "the value of an attribute has no end")?;
            if value.contains('<') {
                return Err("an attribute's value has a '<'; write it as &lt;");
            }
            if attributes.iter().any(|(name, _)| *name == attribute) {
                return Err("an attribute stands twice in a tag");
            }
            // A hostile tag could have as many as it has bytes, each compared with all others.
            if attributes.len() == 64 {
                return Err("a tag has more than 64 attributes");
            }
            attributes.push((attribute, value));
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|it: char| it.is_alphabetic() || it == '_')
        && text.chars().all(|it| it.is_alphanumeric() || matches!(it, '_' | '-' | '.' | ':'))
}

/// The first reference (`&…;`) in a text that XML does not know.
pub(crate) fn unknown_reference(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|it| it == b';');
        let name = end.map_or("", |end| &rest[1..end]);
        let is_number = match name.strip_prefix('#') {
            Some(number) => match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            }
            .is_ok_and(|it| {
                char::from_u32(it).is_some_and(|it| it >= ' ' || "\t\r\n".contains(it))
            }),
            None => false,
        };
        if !is_number && !matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") {
            let length = end.map_or_else(
                || rest.char_indices().nth(8).map_or(rest.len(), |(at, _)| at),
                |end| end + 1,
            );
            return Some(&rest[..length]);
        }
        rest = &rest[1..];
    }
    None
}
