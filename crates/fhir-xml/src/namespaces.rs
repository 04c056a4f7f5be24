//! Which namespace a prefix stands for (Namespaces in XML 1.0), as far as FHIR tells apart.

use crate::attributes::Attribute;
use crate::error::{Found, ill_formed};
use crate::escape;

/// More than any resource declares.
const MOST: usize = 64;

/// A namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespace<'a> {
    /// `http://hl7.org/fhir`
    Fhir,
    /// `http://www.w3.org/1999/xhtml`
    Xhtml,
    /// That of `xsi:schemaLocation`.
    SchemaInstance,
    /// That of `xml:lang`, whose prefix needs no declaration.
    Xml,
    /// Another, as it was written; empty for none.
    Other(&'a str),
}

impl<'a> Namespace<'a> {
    /// The namespace's name.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Fhir => "http://hl7.org/fhir",
            Self::Xhtml => "http://www.w3.org/1999/xhtml",
            Self::SchemaInstance => "http://www.w3.org/2001/XMLSchema-instance",
            Self::Xml => "http://www.w3.org/XML/1998/namespace",
            Self::Other(name) => name,
        }
    }
}

/// A declaration that holds at a place.
#[derive(Debug, Clone, Copy)]
struct Declared<'a> {
    prefix: &'a str,
    namespace: Namespace<'a>,
    /// How many elements are open where it stands.
    level: usize,
}

/// The declarations that hold.
#[derive(Debug, Default)]
pub(crate) struct Namespaces<'a> {
    declared: Vec<Declared<'a>>,
    level: usize,
}

impl<'a> Namespaces<'a> {
    /// What holds where nothing is declared but this default.
    pub(crate) fn with_default(namespace: Namespace<'a>) -> Self {
        Self { declared: vec![Declared { prefix: "", namespace, level: 0 }], level: 0 }
    }

    /// How many elements are open.
    pub(crate) fn level(&self) -> usize {
        self.level
    }

    /// An element begins: takes its declarations out of `attributes`.
    pub(crate) fn open(&mut self, attributes: &mut Vec<Attribute<'a>>) -> Result<(), Found> {
        self.level += 1;
        if !attributes.iter().any(|it| it.name.starts_with("xmlns")) {
            return Ok(());
        }
        for attribute in &*attributes {
            let prefix = match attribute.name.split_once(':') {
                Some(("xmlns", prefix)) => prefix,
                None if attribute.name == "xmlns" => "",
                _ => continue,
            };
            self.declare(prefix, attribute)?;
        }
        attributes.retain(|it| it.name != "xmlns" && !it.name.starts_with("xmlns:"));
        Ok(())
    }

    fn declare(&mut self, prefix: &'a str, attribute: &Attribute<'a>) -> Result<(), Found> {
        let name = escape::attribute_text(attribute.value, attribute.value_at)?;
        let namespace = match &*name {
            "http://hl7.org/fhir" => Namespace::Fhir,
            "http://www.w3.org/1999/xhtml" => Namespace::Xhtml,
            "http://www.w3.org/2001/XMLSchema-instance" => Namespace::SchemaInstance,
            "" if !prefix.is_empty() => {
                return ill_formed(attribute.at, "a prefix that stands for no namespace");
            }
            _ => Namespace::Other(attribute.value),
        };
        if matches!(prefix, "xml" | "xmlns") {
            return ill_formed(attribute.at, "a declaration of the prefix xml or xmlns");
        }
        if self.declared.len() == MOST {
            return ill_formed(attribute.at, "more than 64 declarations of namespaces");
        }
        self.declared.push(Declared { prefix, namespace, level: self.level });
        Ok(())
    }

    /// The last element that was opened ends.
    pub(crate) fn close(&mut self) {
        while self.declared.last().is_some_and(|last| last.level == self.level) {
            self.declared.pop();
        }
        self.level -= 1;
    }

    /// What a prefix stands for, and how many elements were open where that was said.
    pub(crate) fn of(&self, prefix: &str) -> Option<(Namespace<'a>, usize)> {
        if prefix == "xml" {
            return Some((Namespace::Xml, usize::MAX));
        }
        let declared = self.declared.iter().rev().find(|it| it.prefix == prefix);
        match declared {
            Some(declared) => Some((declared.namespace, declared.level)),
            None => prefix.is_empty().then_some((Namespace::Other(""), usize::MAX)),
        }
    }
}

/// Prefix (empty for none) and local part of a name.
pub(crate) fn split(name: &str) -> (&str, &str) {
    match name.bytes().position(|byte| byte == b':') {
        Some(colon) => (&name[..colon], &name[colon + 1..]),
        None => ("", name),
    }
}
