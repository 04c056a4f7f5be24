//! The narrative's `div` (FHIR R4, 2.4.2): XHTML in XML, a string in JSON, the same bytes in
//! both.
//!
//! It is checked and copied, not written anew. Copying changes what would mean something else in
//! its new place: namespace declarations from outside are repeated at the `div`, HTML's named
//! entities become their characters, CDATA becomes text, and processing instructions are left
//! out. Which elements FHIR allows in it is validation, and not asked here.

use std::borrow::Cow;

use crate::attributes::{self, Attribute};
use crate::error::{Found, XmlProblem, beginning, found, ill_formed};
use crate::escape;
use crate::namespaces::{self, Namespace, Namespaces};
use crate::read::HtmlEntities;
use crate::tokens::{Tag, Token, Tokens, html_entity};

/// How many elements may stand inside each other.
const MAX_LEVELS: usize = 256;

/// A `div` that was read.
#[derive(Debug)]
pub(crate) struct Div<'a> {
    /// From its `<` to its last `>`.
    source: &'a str,
    /// Parts of that which become something else, in order.
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    at: usize,
    length: usize,
    text: String,
}

impl Div<'_> {
    /// The `div` piece by piece.
    pub(crate) fn pieces(&self, mut each: impl FnMut(&str)) {
        let mut done = 0;
        for edit in &self.edits {
            each(&self.source[done..edit.at]);
            each(&edit.text);
            done = edit.at + edit.length;
        }
        each(&self.source[done..]);
    }
}

/// Reads the string that JSON has, which is one `div` and white space around it at most.
pub(crate) fn from_string(text: &str) -> Result<Div<'_>, Found> {
    if let Some((at, character)) = crate::encoding::forbidden(text) {
        return found(at, XmlProblem::ForbiddenCharacter(character));
    }
    let mut tokens = Tokens::new(text);
    // Many writers leave the namespace out, which is meant all the same.
    let mut namespaces = Namespaces::with_default(Namespace::Xhtml);
    let mut buffer = Vec::new();
    let mut div = None;
    loop {
        let token = tokens.next()?;
        let at = tokens.start;
        match token {
            Token::Text(text) if text.trim_ascii().is_empty() => {}
            Token::Start(tag) | Token::Empty(tag) if div.is_none() => {
                attributes::read(&tag, &mut buffer)?;
                namespaces.open(&mut buffer)?;
                let (prefix, local) = namespaces::split(tag.name);
                let namespace = namespaces.of(prefix).map(|(namespace, _)| namespace);
                if local != "div" || namespace != Some(Namespace::Xhtml) {
                    return found(at, XmlProblem::NotADiv);
                }
                let is_empty = matches!(token, Token::Empty(_));
                let reading = Reading {
                    text,
                    tokens: &mut tokens,
                    namespaces: &mut namespaces,
                    attributes: &mut buffer,
                    html_entities: HtmlEntities::Read,
                };
                div = Some(reading.div(&tag, is_empty)?);
            }
            Token::Eof => break,
            Token::Doctype => return found(at, XmlProblem::Doctype),
            _ => return found(at, XmlProblem::NotADiv),
        }
    }
    div.map_or_else(|| found(0, XmlProblem::NotADiv), Ok)
}

/// What reading needs; at a `div`'s start tag, whose attributes and namespaces are read.
pub(crate) struct Reading<'a, 'r> {
    /// The whole text.
    pub(crate) text: &'a str,
    pub(crate) tokens: &'r mut Tokens<'a>,
    pub(crate) namespaces: &'r mut Namespaces<'a>,
    pub(crate) attributes: &'r mut Vec<Attribute<'a>>,
    pub(crate) html_entities: HtmlEntities,
}

impl<'a> Reading<'a, '_> {
    /// Reads the `div` to its end and closes its namespaces.
    pub(crate) fn div(self, tag: &Tag<'a>, is_empty: bool) -> Result<Div<'a>, Found> {
        let start = tag.at;
        let outside = self.namespaces.level();
        let mut edits = Vec::new();
        let mut wanted: Vec<&str> = Vec::new();
        self.element(tag, outside, &mut wanted, &mut edits)?;
        let mut open = usize::from(!is_empty);
        if is_empty {
            self.namespaces.close();
        }
        while open > 0 {
            let token = self.tokens.next()?;
            let (at, end) = (self.tokens.start, self.tokens.end);
            let mut replace = |text| edits.push(Edit { at, length: end - at, text });
            match token {
                Token::Start(tag) | Token::Empty(tag) => {
                    if open == MAX_LEVELS {
                        return found(at, XmlProblem::TooDeep);
                    }
                    attributes::read(&tag, self.attributes)?;
                    self.namespaces.open(self.attributes)?;
                    self.element(&tag, outside, &mut wanted, &mut edits)?;
                    match token {
                        Token::Start(_) => open += 1,
                        _ => self.namespaces.close(),
                    }
                }
                Token::End => {
                    open -= 1;
                    self.namespaces.close();
                }
                Token::Text(text) => {
                    if text.contains("]]>") {
                        return ill_formed(at, "]]> in text; write ]]&gt;");
                    }
                }
                Token::Reference(name) => {
                    if let Some(text) = entity(name, at, self.html_entities)? {
                        replace(text);
                    }
                }
                Token::Cdata(content) => {
                    let mut text = String::with_capacity(content.len());
                    escape::text_to_content(content, &mut text);
                    replace(text);
                }
                Token::Comment => {}
                Token::Instruction => replace(String::new()),
                Token::Doctype => return found(at, XmlProblem::Doctype),
                Token::Eof => return ill_formed(at, "the text ends inside an element"),
            }
        }
        for edit in &mut edits {
            edit.at -= start;
        }
        if !wanted.is_empty() {
            let at = tag.name_end() - start;
            edits.insert(0, Edit { at, length: 0, text: self.declarations(&wanted) });
        }
        Ok(Div { source: &self.text[start..self.tokens.end], edits })
    }

    /// Checks a start tag whose attributes and namespaces were read. Prefixes that are declared
    /// outside of the `div` are added to `wanted`.
    fn element(
        &self,
        tag: &Tag<'a>,
        outside: usize,
        wanted: &mut Vec<&'a str>,
        edits: &mut Vec<Edit>,
    ) -> Result<(), Found> {
        tag.check_name()?;
        let mut namespace_of = |prefix: &'a str, at: usize| match self.namespaces.of(prefix) {
            None => ill_formed(at, "a prefix that is not declared"),
            Some((namespace, level)) => {
                if level < outside && !wanted.contains(&prefix) {
                    wanted.push(prefix);
                }
                Ok(namespace)
            }
        };
        let foreign = |name: &str, namespace: Namespace<'_>| XmlProblem::ForeignNamespace {
            name: beginning(name),
            namespace: beginning(namespace.name()),
        };
        let (prefix, _) = namespaces::split(tag.name);
        let namespace = namespace_of(prefix, tag.at)?;
        if namespace != Namespace::Xhtml {
            return found(tag.at, foreign(tag.name, namespace));
        }
        for attribute in &*self.attributes {
            let (prefix, _) = namespaces::split(attribute.name);
            if !prefix.is_empty() {
                let namespace = namespace_of(prefix, attribute.at)?;
                if namespace != Namespace::Xml {
                    return found(attribute.at, foreign(attribute.name, namespace));
                }
            }
            references(attribute, self.html_entities, edits)?;
        }
        Ok(())
    }

    fn declarations(&self, prefixes: &[&str]) -> String {
        let mut text = String::new();
        for prefix in prefixes {
            let colon = if prefix.is_empty() { "" } else { ":" };
            let namespace = self.namespaces.of(prefix).map_or("", |(it, _)| it.name());
            text.push_str(&format!(" xmlns{colon}{prefix}=\"{namespace}\""));
        }
        text
    }
}

/// Checks the references in an attribute's value.
fn references(
    attribute: &Attribute<'_>,
    html_entities: HtmlEntities,
    edits: &mut Vec<Edit>,
) -> Result<(), Found> {
    let value = attribute.value;
    if let Some(at) = value.find('<') {
        return ill_formed(attribute.value_at + at, "'<' in an attribute; write &lt;");
    }
    let mut done = 0;
    while let Some(ampersand) = value[done..].find('&').map(|at| done + at) {
        let at = attribute.value_at + ampersand;
        let Some(length) = value[ampersand..].find(';') else {
            return ill_formed(at, "'&' that begins no reference; write &amp;");
        };
        if let Some(text) = entity(&value[ampersand + 1..ampersand + length], at, html_entities)? {
            edits.push(Edit { at, length: length + 1, text });
        }
        done = ampersand + length + 1;
    }
    Ok(())
}

/// What a reference becomes: nothing when XML knows it, else the characters of HTML's entity.
fn entity(name: &str, at: usize, html_entities: HtmlEntities) -> Result<Option<String>, Found> {
    match html_entity(name) {
        Some(_) if matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") => Ok(None),
        Some(characters) if html_entities == HtmlEntities::Read => {
            let mut text = String::new();
            // HTML has names for `<` and `&` too (`&LT;`, `&AMP;`).
            escape::text_to_content(characters, &mut text);
            Ok(Some(text.replace('"', "&quot;").replace('\'', "&apos;")))
        }
        _ => escape::reference(name, at).map(|_| None),
    }
}

/// As a string of its own.
impl<'a> From<&Div<'a>> for Cow<'a, str> {
    fn from(div: &Div<'a>) -> Self {
        if div.edits.is_empty() {
            return Cow::Borrowed(div.source);
        }
        let mut text = String::with_capacity(div.source.len());
        div.pieces(|piece| text.push_str(piece));
        Cow::Owned(text)
    }
}

#[cfg(test)]
mod tests {
    use super::from_string;
    use std::borrow::Cow;

    fn copied(text: &str) -> Result<String, String> {
        let div = from_string(text);
        div.map(|div| Cow::from(&div).into_owned()).map_err(|found| found.problem.to_string())
    }

    const DIV: &str = "<div xmlns=\"http://www.w3.org/1999/xhtml\"";

    #[test]
    fn a_div_is_copied_as_it_is() {
        // XML-014, XML-036, XML-046
        for inner in [
            "/>",
            "></div>",
            " id='n1' class=\"a\nb\"> <p >a\r\n  b&amp;&#160;<br/></p ><!-- c --></div>",
            " xml:lang=\"en\"><a href=\"x?a=1&amp;b=2\">é</a></div>",
        ] {
            let text = format!("{DIV}{inner}");
            assert_eq!(copied(&text).as_deref(), Ok(&*text));
        }
        let prefixed = "<h:div xmlns:h=\"http://www.w3.org/1999/xhtml\"><h:p/></h:div>";
        assert_eq!(copied(prefixed).as_deref(), Ok(prefixed));
    }

    #[test]
    fn what_would_mean_something_else_in_xml_is_written_as_what_it_means() {
        // XML-015, XML-043, XML-044
        let check = |inner: &str, expected: &str| {
            let copied = copied(&format!("{DIV}>{inner}</div>"));
            assert_eq!(copied.as_deref(), Ok(&*format!("{DIV}>{expected}</div>")), "{inner}");
        };
        check("a&nbsp;b&copy;", "a\u{a0}b©");
        check("<p title='&nbsp;&quot;'>&LT;</p>", "<p title='\u{a0}&quot;'>&lt;</p>");
        check("<![CDATA[a<b&c]]>", "a&lt;b&amp;c");
        check("a<?php echo ?>b", "ab");
        assert_eq!(copied("<div>a</div>"), Ok(format!("{DIV}>a</div>")));
        assert_eq!(copied(" \n<div/> "), Ok(format!("{DIV}/>")));
    }

    #[test]
    fn what_is_no_div_is_refused() {
        // XML-015, XML-023, XML-026
        let check = |text: &str, reason: &str| {
            let error = copied(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        check("", "not one <div");
        check("text", "not one <div");
        check("<p/>", "not one <div");
        check("\u{feff}<div/>", "not one <div");
        check("\u{feff}\u{feff}<div>\u{e9}</div>", "not one <div");
        check("<div/><div/>", "not one <div");
        check("<div xmlns=\"urn:x\"/>", "not one <div");
        check("<!DOCTYPE div><div/>", "DOCTYPE");
        check("<div><p></div>", "not well-formed");
        check("<div><p>", "ends inside");
        check("<div>&unknown;</div>", "\"&unknown;\" is not known");
        check("<div>&#2;</div>", "U+0002 cannot");
        check("<div>\u{1}</div>", "U+0001 cannot");
        check("<div>a]]>b</div>", "]]&gt;");
        check("<div><p a='<'/></div>", "write &lt;");
        check("<div><p a='&b'/></div>", "write &amp;");
        check("<div><p a='1' a='2'/></div>", "twice");
        check("<div>a < b</div>", "not well-formed");
        check("<div><x:p/></div>", "not declared");
        check("<div><svg xmlns=\"http://www.w3.org/2000/svg\"/></div>", "2000/svg");
        check("<div xmlns:l=\"urn:l\"><a l:href=\"x\"/></div>", "urn:l");
        check(&"<div>".repeat(300), "levels");
    }
}
