//! Primitives: the value, in JSON's kind for its type, and the id and extensions beside it.

use fhir_schema::{Element, Node};

use super::Reader;
use crate::attributes::Attribute;
use crate::error::{Found, XmlProblem, beginning};
use crate::escape::{attribute_text, text_to_json};
use crate::groups::Group;
use crate::tokens::Tag;

impl<'a, 's> Reader<'a, 's> {
    /// An element of a primitive type.
    pub(super) fn primitive(
        &mut self,
        node: Node,
        group: &mut Group<'s>,
        tag: &Tag<'a>,
        is_empty: bool,
    ) -> Result<(), Found> {
        let is_array = group.element.is_array;
        let (mut value, mut id) = (None, None);
        for at in 0..self.attributes.len() {
            let attribute = self.attributes[at];
            match attribute.name {
                "value" => value = Some(attribute),
                "id" => id = Some(attribute),
                _ => self.unknown_attribute(at, "leave it out")?,
            }
        }
        let start = self.out.mark();
        if is_array {
            self.out.comma();
        } else if value.is_some() {
            self.out.member("", group.name);
        }
        self.out.place(tag.at);
        let is_written = match value {
            Some(value) => self.value(value, group.element)?,
            None => false,
        };
        group.has_value |= is_written;
        if !is_written {
            if is_array {
                self.out.push(b"null");
            } else {
                self.out.back_to(start);
            }
        }
        let has_content = if id.is_none() && is_empty {
            if let Some(sibling) = &mut group.sibling {
                sibling.push(b",null");
            }
            false
        } else {
            self.beside(node, group, tag, (id, is_empty))?
        };
        if value.is_none() && !has_content {
            self.issue(tag.at, XmlProblem::EmptyElement)?;
        }
        self.namespaces.close();
        Ok(())
    }

    /// The id and extensions of a primitive: the member `_name`. Whether there are extensions.
    fn beside(
        &mut self,
        node: Node,
        group: &mut Group<'s>,
        tag: &Tag<'a>,
        (id, is_empty): (Option<Attribute<'a>>, bool),
    ) -> Result<bool, Found> {
        let is_array = group.element.is_array;
        let is_first = group.sibling.is_none();
        let mut sibling = is_array.then(|| group.begin_sibling());
        if let Some(sibling) = &mut sibling {
            std::mem::swap(&mut self.out, sibling);
        }
        let start = self.out.mark();
        if is_array {
            self.out.comma();
        } else {
            self.out.member("_", group.name);
        }
        self.out.place(tag.at);
        self.deepen(1, tag.at)?;
        self.out.push(b"{");
        if let Some(id) = id {
            self.attribute(id)?;
        }
        let has_content = match self.primitive {
            Some(element) if !is_empty => self.children(element)?,
            _ => false,
        };
        let any = id.is_some() || has_content;
        if any {
            self.out.push(b"}");
        } else {
            self.out.back_to(start);
            if is_array {
                self.out.comma();
                self.out.push(b"null");
            }
        }
        if let Some(mut sibling) = sibling {
            std::mem::swap(&mut self.out, &mut sibling);
            if any || !is_first {
                group.sibling = Some(sibling);
            }
        }
        if any {
            self.name.clear();
            self.name.push('_');
            self.name.push_str(group.name);
            if self.schema.element(node, &self.name).is_none() {
                self.issue(tag.at, XmlProblem::ValueAlone)?;
            }
        }
        Ok(has_content)
    }

    /// A primitive value, in JSON's kind for its type. Whether it could be written.
    fn value(&mut self, value: Attribute<'a>, element: Element) -> Result<bool, Found> {
        if value.value.is_empty() {
            self.issue(value.at, XmlProblem::EmptyAttribute("value"))?;
            return Ok(false);
        }
        let schema = self.schema;
        let type_name = schema.type_name(element);
        let (is_right, mend) = match type_name {
            "boolean" => {
                let text = attribute_text(value.value, value.value_at)?;
                let is_right = matches!(&*text, "true" | "false");
                if is_right {
                    self.out.push(text.as_bytes());
                }
                (is_right, "write true or false")
            }
            "integer" | "positiveInt" | "unsignedInt" | "decimal" => {
                let text = attribute_text(value.value, value.value_at)?;
                // JSON has no plus sign.
                let digits = match type_name {
                    "decimal" => &*text,
                    _ => text.strip_prefix('+').filter(|it| !it.starts_with('-')).unwrap_or(&text),
                };
                let is_right = is_number(digits);
                if is_right {
                    self.out.push(digits.as_bytes());
                }
                (is_right, "write digits, such as 12 or 0.50, without spaces")
            }
            "base64Binary" => (self.base64(value)?, "write the content as base64"),
            _ => {
                self.string(value)?;
                (true, "")
            }
        };
        if !is_right {
            let (type_name, text) = (type_name.to_owned(), beginning(value.value));
            let problem = XmlProblem::InvalidValue { value: text, type_name, mend };
            self.issue(value.value_at, problem)?;
        }
        Ok(is_right)
    }

    /// White space in base64 is for line lengths, and no content. Whether there is any other.
    fn base64(&mut self, value: Attribute<'a>) -> Result<bool, Found> {
        let mut text = attribute_text(value.value, value.value_at)?;
        if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
            text = text.split_ascii_whitespace().collect();
        }
        if text.is_empty() {
            return Ok(false);
        }
        self.out.push(b"\"");
        text_to_json(&text, &mut self.out.json);
        self.out.push(b"\"");
        Ok(true)
    }
}

/// Whether this is a number in JSON, which is what FHIR's decimal is in both formats.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|it| digits(it.strip_prefix(['+', '-']).unwrap_or(it)))
}
