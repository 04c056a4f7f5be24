//! What is wrong with a resource that should become another format, where, and how to mend it.

use std::fmt;

use fhir_core::json::MAX_DEPTH;
use fhir_core::{Issue, IssueCode, Position};

/// One thing that keeps a resource from being converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlIssue {
    /// What is wrong.
    pub problem: XmlProblem,
    /// Line in the text that was converted, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The element as a simple FHIRPath, the same in both formats (`Patient.name[0].given[1]`);
    /// empty when nothing around it could be named.
    pub expression: String,
}

impl XmlIssue {
    /// As an issue for the client.
    #[must_use]
    pub fn issue(&self) -> Issue {
        let issue = Issue {
            position: Some(Position { line: self.line, column: self.column }),
            ..Issue::error(self.problem.code(), self.to_string())
        };
        issue.at(self.expression.as_str())
    }
}

impl std::error::Error for XmlIssue {}

impl fmt::Display for XmlIssue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (line {}, column {})", self.problem, self.line, self.column)
    }
}

/// What is wrong. Its text says how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlProblem {
    /// The text is empty or only white space.
    #[error("no content where an XML document was expected")]
    Empty,
    /// The text is longer than is taken.
    #[error("the text is longer than {0} bytes; send it in parts")]
    TooLong(usize),
    /// An encoding which is not read.
    #[error("the encoding \"{0}\" is not read; send the text as UTF-8")]
    UnknownEncoding(String),
    /// Bytes that the encoding of the text does not have.
    #[error("bytes that are not {0}; send the text as UTF-8")]
    NotInEncoding(&'static str),
    /// A character which XML 1.0 cannot hold, not even as a reference.
    #[error("the character U+{:04X} cannot stand in XML; leave it out", u32::from(*.0))]
    ForbiddenCharacter(char),
    /// A document type declaration.
    #[error("a DOCTYPE is not taken, nor what it declares; leave it out")]
    Doctype,
    /// An entity that nothing declares.
    #[error("the entity \"&{0};\" is not known; write the character itself")]
    UnknownEntity(String),
    /// It is no well-formed XML.
    #[error("this is not well-formed XML: {0}")]
    IllFormed(String),
    /// The root is not in FHIR's namespace.
    #[error(
        "the element {0} is not in FHIR's namespace; write the root as \
         <{0} xmlns=\"http://hl7.org/fhir\">"
    )]
    NotFhir(String),
    /// No resource type has this name.
    #[error("{0} is no resource type of this version of FHIR; type names are case-sensitive")]
    UnknownResource(String),
    /// No element of this name can stand here.
    #[error("the element \"{name}\" is not known in {parent}; correct its name or leave it out")]
    UnknownElement {
        /// Its name.
        name: String,
        /// Where the element around it is defined.
        parent: String,
    },
    /// No attribute of this name can stand here.
    #[error("the attribute \"{name}\" is not known here; {mend}")]
    UnknownAttribute {
        /// Its name.
        name: String,
        /// What to do, as the rest of a sentence.
        mend: &'static str,
    },
    /// An element whose content is an attribute in XML.
    #[error("\"{0}\" is an attribute here; write {0}=\"…\" in the start tag")]
    MustBeAttribute(String),
    /// The elements stand in another order than in the definition.
    #[error("the element \"{name}\" stands after \"{after}\"; move it before that")]
    WrongOrder {
        /// The element.
        name: String,
        /// What stood before it.
        after: String,
    },
    /// An element stands more than once.
    #[error("the element \"{0}\" stands more than once and may stand once; leave one")]
    Repeated(String),
    /// Text in an element that has none.
    #[error("text where there is none; values are written as the attribute value=\"…\"")]
    Text,
    /// An element of another namespace.
    #[error("the element \"{name}\" is of the namespace \"{namespace}\"; leave it out")]
    ForeignNamespace {
        /// The element.
        name: String,
        /// The namespace; empty for none.
        namespace: String,
    },
    /// An attribute without content.
    #[error("the attribute \"{0}\" is empty; leave it out")]
    EmptyAttribute(&'static str),
    /// An element without value and content.
    #[error("the element has neither a value nor elements; leave it out")]
    EmptyElement,
    /// The value is not of the element's type.
    #[error("\"{value}\" is no {type_name}; {mend}")]
    InvalidValue {
        /// The value, or the beginning of it.
        value: String,
        /// The type.
        type_name: String,
        /// What to do, as the rest of a sentence.
        mend: &'static str,
    },
    /// Nothing but the value may stand in this element.
    #[error("the element has a value alone: neither an id nor extensions; leave them out")]
    ValueAlone,
    /// An element that holds a resource holds none.
    #[error("there is no resource in this element; put one in it or leave the element out")]
    NoResource,
    /// An element that holds a resource holds more than one.
    #[error("this element holds one resource; give each an element of its own")]
    SecondResource,
    /// The narrative is not one XHTML div.
    #[error("the narrative is not one <div xmlns=\"http://www.w3.org/1999/xhtml\">")]
    NotADiv,
    /// More levels than are read.
    #[error("more than {MAX_DEPTH} levels inside each other")]
    TooDeep,
    /// The JSON value is of another kind than its element.
    #[error("{0} was expected")]
    UnexpectedJson(&'static str),
}

impl XmlProblem {
    /// Whether the text is XML of a resource, and this is about what stands in it.
    #[must_use]
    pub fn is_of_content(&self) -> bool {
        match self {
            Self::UnknownElement { .. }
            | Self::UnknownAttribute { .. }
            | Self::MustBeAttribute(_)
            | Self::WrongOrder { .. }
            | Self::Repeated(_)
            | Self::Text
            | Self::ForeignNamespace { .. }
            | Self::EmptyAttribute(_)
            | Self::EmptyElement
            | Self::InvalidValue { .. }
            | Self::ValueAlone
            | Self::NoResource
            | Self::SecondResource
            | Self::NotADiv
            | Self::UnexpectedJson(_) => true,
            Self::Empty
            | Self::TooLong(_)
            | Self::UnknownEncoding(_)
            | Self::NotInEncoding(_)
            | Self::ForbiddenCharacter(_)
            | Self::Doctype
            | Self::UnknownEntity(_)
            | Self::IllFormed(_)
            | Self::NotFhir(_)
            | Self::UnknownResource(_)
            | Self::TooDeep => false,
        }
    }

    /// The kind of issue this is.
    #[must_use]
    pub fn code(&self) -> IssueCode {
        match self {
            Self::TooLong(_) => IssueCode::TooLong,
            Self::UnknownEncoding(_) => IssueCode::NotSupported,
            Self::ForbiddenCharacter(_)
            | Self::InvalidValue { .. }
            | Self::EmptyAttribute(_)
            | Self::UnexpectedJson(_) => IssueCode::Value,
            Self::Empty
            | Self::NotInEncoding(_)
            | Self::Doctype
            | Self::UnknownEntity(_)
            | Self::IllFormed(_)
            | Self::NotFhir(_)
            | Self::UnknownResource(_)
            | Self::UnknownElement { .. }
            | Self::UnknownAttribute { .. }
            | Self::MustBeAttribute(_)
            | Self::WrongOrder { .. }
            | Self::Repeated(_)
            | Self::Text
            | Self::ForeignNamespace { .. }
            | Self::EmptyElement
            | Self::ValueAlone
            | Self::NoResource
            | Self::SecondResource
            | Self::NotADiv
            | Self::TooDeep => IssueCode::Structure,
        }
    }
}

/// What is wrong at this byte of the text: its line is found when everything was read.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) offset: usize,
    pub(crate) problem: XmlProblem,
}

pub(crate) fn found<T>(offset: usize, problem: XmlProblem) -> Result<T, Found> {
    Err(Found { offset, problem })
}

pub(crate) fn ill_formed<T>(offset: usize, text: &str) -> Result<T, Found> {
    found(offset, XmlProblem::IllFormed(text.to_owned()))
}

/// The beginning of a text, for a message.
pub(crate) fn beginning(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
