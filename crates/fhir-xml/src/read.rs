//! XML to JSON (FHIR R4, 2.6.1 and 2.6.2), in one pass over the text: what an element is, and
//! where it may stand, is looked up in the table.
//!
//! Here is what is taken and given, and how the text is gone through. Elements, primitive values
//! and resources have a file each.

use fhir_core::json::MAX_DEPTH;
use fhir_schema::{Node, Schema};

use crate::attributes::{self, Attribute};
use crate::encoding;
use crate::error::{Found, XmlIssue, XmlProblem, beginning, found, ill_formed};
use crate::groups::Out;
use crate::namespaces::{self, Namespace, Namespaces};
use crate::path::{Step, expression};
use crate::places::Places;
use crate::tokens::{Tag, Token, Tokens};

mod elements;
mod primitives;
mod resources;

/// What is taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a text; more than 1 GiB are never taken.
    pub bytes: usize,
    /// Issues after which reading ends.
    pub issues: usize,
    /// HTML's names of characters in a narrative.
    pub html_entities: HtmlEntities,
}

/// What becomes of HTML's names of characters (`&nbsp;`) in a narrative. XML does not have them, and
/// R4 asks for the characters instead (2.4.1); yet they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HtmlEntities {
    /// Each becomes its character.
    Read,
    /// They are unknown entities, as to any XML reader.
    Refuse,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 30, issues: 100, html_entities: HtmlEntities::Read }
    }
}

/// A resource as JSON.
#[derive(Debug, Clone)]
pub struct Converted<'a> {
    /// The text, without white space. It is JSON of one resource; nothing was left out.
    pub json: Vec<u8>,
    /// Where its values stood in the XML.
    pub places: Places<'a>,
}

/// Why a resource was not converted.
#[derive(Debug, Clone)]
pub struct Refused<'a> {
    /// What is wrong with it, never empty.
    pub issues: Vec<XmlIssue>,
    /// What could be read in spite of that, for finding what else is wrong. The issues name what
    /// is missing from it: it must not be stored.
    pub readable: Option<Converted<'a>>,
}

impl std::error::Error for Refused<'_> {}

impl std::fmt::Display for Refused<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (count, issue) in self.issues.iter().enumerate() {
            write!(formatter, "{}{issue}", if count > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// Reads a resource in FHIR's XML format and writes it in its JSON format.
///
/// # Errors
/// [`Refused`] says all that is wrong with it.
pub fn to_json<'a>(
    xml: &'a [u8],
    schema: &Schema,
    limits: &Limits,
) -> Result<Converted<'a>, Refused<'a>> {
    let most = limits.bytes.min(1 << 30);
    let text =
        if xml.len() > most { found(0, XmlProblem::TooLong(most)) } else { encoding::decode(xml) };
    let text = match text {
        Ok(text) => text,
        Err(found) => {
            let text = String::from_utf8_lossy(&xml[..xml.len().min(found.offset)]);
            let issues = located(vec![(found, String::new())], &text);
            return Err(Refused { issues, readable: None });
        }
    };
    let mut reader = Reader::new(&text, schema, limits);
    let done = reader.document();
    let Reader { out, mut issues, path, .. } = reader;
    let is_whole = done.is_ok();
    if let Err(found) = done {
        issues.push((found, expression(&path)));
    }
    let issues = located(issues, &text);
    let Out { json, places } = out;
    let converted = Converted { json, places: Places { text, places, lines: Box::default() } };
    if issues.is_empty() {
        return Ok(converted);
    }
    Err(Refused { issues, readable: is_whole.then_some(converted) })
}

/// Finds the lines of all issues in one pass over the text.
fn located(mut issues: Vec<(Found, String)>, text: &str) -> Vec<XmlIssue> {
    issues.sort_by_key(|(found, _)| found.offset);
    let (mut line, mut line_start, mut done) = (1, 0, 0);
    let mut locate = |(found, expression): (Found, String)| {
        let offset = text.floor_char_boundary(found.offset);
        let passed = &text[done..offset];
        line += passed.matches('\n').count();
        line_start = passed.rfind('\n').map_or(line_start, |at| done + at + 1);
        done = offset;
        let column = text[line_start..offset].chars().count() + 1;
        XmlIssue { problem: found.problem, line, column, expression }
    };
    issues.into_iter().map(&mut locate).collect()
}

struct Reader<'a, 's> {
    text: &'a str,
    schema: &'s Schema,
    limits: &'a Limits,
    tokens: Tokens<'a>,
    namespaces: Namespaces<'a>,
    /// Of the tag that was read last.
    attributes: Vec<Attribute<'a>>,
    out: Out,
    /// Objects and arrays of the JSON that are open.
    depth: usize,
    path: Vec<Step<'s>>,
    issues: Vec<(Found, String)>,
    /// Names of the groups that ended, of all objects that are being read, innermost last.
    ended: Vec<&'s str>,
    /// What a primitive value has beside the value: the type Element.
    primitive: Option<Node>,
    /// For names with an underscore before them.
    name: String,
}

impl<'a, 's> Reader<'a, 's> {
    fn new(text: &'a str, schema: &'s Schema, limits: &'a Limits) -> Self {
        Self {
            text,
            schema,
            limits,
            tokens: Tokens::new(text),
            namespaces: Namespaces::default(),
            attributes: Vec::new(),
            out: Out {
                json: Vec::with_capacity(text.len()),
                // About one value in thirty bytes; a vector that grows is copied.
                places: Vec::with_capacity(text.len() / 32),
            },
            depth: 0,
            path: Vec::new(),
            issues: Vec::new(),
            ended: Vec::new(),
            primitive: schema.datatype("Element"),
            name: String::new(),
        }
    }

    /// Notes an issue at the element that is read, and goes on unless there are too many.
    fn issue(&mut self, offset: usize, problem: XmlProblem) -> Result<(), Found> {
        if self.issues.len() + 1 >= self.limits.issues {
            return found(offset, problem);
        }
        self.issues.push((Found { offset, problem }, expression(&self.path)));
        Ok(())
    }

    fn document(&mut self) -> Result<(), Found> {
        let mut is_done = false;
        loop {
            let token = self.tokens.next()?;
            let at = self.tokens.start;
            match token {
                Token::Text(text) if text.trim_ascii().is_empty() => {}
                Token::Comment | Token::Instruction => {}
                Token::Doctype => return found(at, XmlProblem::Doctype),
                Token::Start(_) | Token::Empty(_) if is_done => {
                    return ill_formed(at, "more than one element outside of all others");
                }
                Token::Start(tag) => self.root(&tag, false)?,
                Token::Empty(tag) => self.root(&tag, true)?,
                Token::Eof if is_done => return Ok(()),
                Token::Eof => return ill_formed(at, "there is no element in it"),
                Token::Text(_) | Token::Reference(_) | Token::Cdata(_) | Token::End => {
                    return ill_formed(at, "text outside of all elements");
                }
            }
            is_done |= matches!(token, Token::Start(_) | Token::Empty(_));
        }
    }

    fn root(&mut self, tag: &Tag<'a>, is_empty: bool) -> Result<(), Found> {
        tag.check_name()?;
        let (namespace, local) = self.enter(tag)?;
        if namespace != Namespace::Fhir {
            return found(tag.at, XmlProblem::NotFhir(beginning(local)));
        }
        let Some((name, node)) = self.resource_type(local) else {
            return found(tag.at, XmlProblem::UnknownResource(beginning(local)));
        };
        self.path.push(Step { name, index: None });
        self.resource(tag, name, node, is_empty)?;
        self.path.pop();
        Ok(())
    }

    /// Reads the attributes of a tag and what its prefix stands for.
    fn enter(&mut self, tag: &Tag<'a>) -> Result<(Namespace<'a>, &'a str), Found> {
        attributes::read(tag, &mut self.attributes)?;
        self.namespaces.open(&mut self.attributes)?;
        let (prefix, local) = namespaces::split(tag.name);
        match self.namespaces.of(prefix) {
            Some((namespace, _)) => Ok((namespace, local)),
            None => ill_formed(tag.at, "a prefix that is not declared"),
        }
    }

    /// Passes over an element that was entered.
    fn skip(&mut self, is_empty: bool) -> Result<(), Found> {
        let mut open = usize::from(!is_empty);
        while open > 0 {
            match self.tokens.next()? {
                Token::Start(_) => open += 1,
                Token::End => open -= 1,
                Token::Doctype => return found(self.tokens.start, XmlProblem::Doctype),
                Token::Eof => return self.ends_early(),
                _ => {}
            }
        }
        self.namespaces.close();
        Ok(())
    }

    fn ends_early<T>(&self) -> Result<T, Found> {
        ill_formed(self.tokens.start, "the text ends inside an element")
    }

    /// Goes this many levels of JSON deeper.
    fn deepen(&mut self, levels: usize, at: usize) -> Result<(), Found> {
        self.depth += levels;
        if self.depth > MAX_DEPTH {
            return found(at, XmlProblem::TooDeep);
        }
        Ok(())
    }

    /// An attribute that means nothing here. Where a schema may be found is no harm.
    fn unknown_attribute(&mut self, at: usize, mend: &'static str) -> Result<(), Found> {
        let attribute = self.attributes[at];
        let (prefix, local) = namespaces::split(attribute.name);
        if !prefix.is_empty() {
            match self.namespaces.of(prefix) {
                None => return ill_formed(attribute.at, "a prefix that is not declared"),
                Some((Namespace::SchemaInstance, _))
                    if matches!(local, "schemaLocation" | "noNamespaceSchemaLocation") =>
                {
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        let name = beginning(attribute.name);
        self.issue(attribute.at, XmlProblem::UnknownAttribute { name, mend })
    }

    /// The next element inside of what is open, and whether it is empty; `None` at the end tag.
    fn child(&mut self) -> Result<Option<(Tag<'a>, bool)>, Found> {
        loop {
            let token = self.tokens.next()?;
            let at = self.tokens.start;
            match token {
                Token::Start(tag) => return Ok(Some((tag, false))),
                Token::Empty(tag) => return Ok(Some((tag, true))),
                Token::End => return Ok(None),
                Token::Text(text) if text.trim_ascii().is_empty() => {}
                Token::Comment | Token::Instruction => {}
                Token::Text(_) | Token::Reference(_) | Token::Cdata(_) => {
                    self.issue(at, XmlProblem::Text)?;
                }
                Token::Doctype => return found(at, XmlProblem::Doctype),
                Token::Eof => return self.ends_early(),
            }
        }
    }
}
