//! Elements as the members of an object: which may come next, in which namespace, how often, and
//! what each becomes. Primitive values and resources have their own files.

use fhir_schema::{Element, Kind, Node};

use super::Reader;
use crate::attributes::Attribute;
use crate::error::{Found, XmlProblem, beginning};
use crate::escape::{attribute_to_json, text_to_json};
use crate::groups::Group;
use crate::namespaces::Namespace;
use crate::narrative;
use crate::path::Step;
use crate::tokens::Tag;

impl<'a, 's> Reader<'a, 's> {
    /// The elements of an object up to its end tag, as members. Whether there were any.
    pub(super) fn children(&mut self, node: Node) -> Result<bool, Found> {
        let schema = self.schema;
        let mut rest = schema.elements(node);
        let mut group: Option<Group<'s>> = None;
        let first_ended = self.ended.len();
        let mut any = false;
        while let Some((tag, is_empty)) = self.child()? {
            let at = self.tokens.start;
            any = true;
            let (namespace, local) = self.enter(&tag)?;
            match &group {
                Some(open) if open.name == local => {
                    let is_array = open.element.is_array;
                    if !self.is_of(namespace, open.element.kind, &tag)? {
                        self.skip(is_empty)?;
                        continue;
                    }
                    if !is_array {
                        self.issue(at, XmlProblem::Repeated(beginning(local)))?;
                        self.skip(is_empty)?;
                        continue;
                    }
                }
                _ => {
                    let mut ahead = rest.clone();
                    let next = match ahead.find(|(name, _)| *name == local) {
                        Some(next) => {
                            rest = ahead;
                            Some(next)
                        }
                        None => {
                            let ended = first_ended;
                            self.misplaced(node, &tag, (namespace, local), group.as_ref(), ended)?
                        }
                    };
                    let next = match next {
                        Some((name, element))
                            if self.may_begin(namespace, name, element, &tag)? =>
                        {
                            next.filter(|_| !self.ended[first_ended..].contains(&name))
                        }
                        _ => None,
                    };
                    let Some((name, element)) = next else {
                        self.skip(is_empty)?;
                        continue;
                    };
                    if let Some(before) = group.take() {
                        self.ended.push(before.name);
                        before.end(&mut self.out);
                    }
                    group = Some(Group::begin(name, element, at, &mut self.out));
                }
            }
            let open = group.as_mut().expect("a group was begun or goes on");
            self.item(node, open, &tag, is_empty)?;
        }
        if let Some(last) = group {
            last.end(&mut self.out);
        }
        self.ended.truncate(first_ended);
        Ok(any)
    }

    /// Whether an element is of its namespace, and an element in XML at all; an issue if not.
    fn may_begin(
        &mut self,
        namespace: Namespace<'a>,
        name: &str,
        element: Element,
        tag: &Tag<'a>,
    ) -> Result<bool, Found> {
        if !self.is_of(namespace, element.kind, tag)? {
            return Ok(false);
        }
        if element.is_attribute {
            self.issue(tag.at, XmlProblem::MustBeAttribute(name.to_owned()))?;
        }
        Ok(!element.is_attribute)
    }

    /// Whether an element is of the namespace that its kind calls for; an issue if not.
    fn is_of(
        &mut self,
        namespace: Namespace<'a>,
        kind: Kind,
        tag: &Tag<'a>,
    ) -> Result<bool, Found> {
        let wanted = if kind == Kind::Xhtml { Namespace::Xhtml } else { Namespace::Fhir };
        if namespace == wanted {
            return Ok(true);
        }
        if kind == Kind::Xhtml {
            self.issue(tag.at, XmlProblem::NotADiv)?;
        } else {
            self.foreign(namespace, tag)?;
        }
        Ok(false)
    }

    pub(super) fn foreign(&mut self, namespace: Namespace<'a>, tag: &Tag<'a>) -> Result<(), Found> {
        let (name, namespace) = (beginning(tag.name), beginning(namespace.name()));
        self.issue(tag.at, XmlProblem::ForeignNamespace { name, namespace })
    }

    /// An element that is not one of those that may come next: an issue. Where it would be known
    /// further up, that is given back.
    fn misplaced(
        &mut self,
        node: Node,
        tag: &Tag<'a>,
        (namespace, local): (Namespace<'a>, &'a str),
        group: Option<&Group<'s>>,
        first_ended: usize,
    ) -> Result<Option<(&'s str, Element)>, Found> {
        tag.check_name()?;
        if namespace != Namespace::Fhir {
            self.foreign(namespace, tag)?;
            return Ok(None);
        }
        let schema = self.schema;
        let known = schema.elements(node).find(|(name, _)| *name == local);
        let problem = match (&known, group) {
            (Some((_, element)), _) if element.is_attribute => return Ok(known),
            (Some((name, element)), Some(group)) => {
                let choice = element.choice_name(name);
                if choice.is_none() || choice != group.element.choice_name(group.name) {
                    XmlProblem::WrongOrder { name: beginning(local), after: group.name.to_owned() }
                } else if self.ended[first_ended..].contains(name) {
                    XmlProblem::Repeated(beginning(local))
                } else {
                    // Which alternative comes first has no meaning; that there are two is for
                    // validation, as in JSON.
                    return Ok(known);
                }
            }
            _ => XmlProblem::UnknownElement {
                name: beginning(local),
                parent: schema.node_path(node).to_owned(),
            },
        };
        self.issue(tag.at, problem)?;
        Ok(known)
    }

    /// One of the elements of a group, whose tag was entered.
    fn item(
        &mut self,
        node: Node,
        group: &mut Group<'s>,
        tag: &Tag<'a>,
        is_empty: bool,
    ) -> Result<(), Found> {
        let element = group.element;
        let index = element.is_array.then_some(group.count);
        self.path.push(Step { name: group.name, index });
        let depth = self.depth;
        self.deepen(usize::from(element.is_array), tag.at)?;
        match element.kind {
            Kind::Complex(content) | Kind::Reference(content) | Kind::Identifier(content) => {
                self.begin_item(group, tag);
                self.complex(content, tag, is_empty)?;
            }
            Kind::Resource => {
                self.begin_item(group, tag);
                self.holder(tag, is_empty)?;
            }
            Kind::Xhtml => {
                self.begin_item(group, tag);
                self.div(tag, is_empty)?;
            }
            Kind::Uri | Kind::Url | Kind::Oid | Kind::Uuid | Kind::Canonical | Kind::Primitive => {
                self.primitive(node, group, tag, is_empty)?
            }
        }
        self.depth = depth;
        group.count += 1;
        self.path.pop();
        Ok(())
    }

    /// What stands before an item that is not a primitive.
    fn begin_item(&mut self, group: &mut Group<'s>, tag: &Tag<'a>) {
        group.has_value = true;
        if group.element.is_array {
            self.out.comma();
        } else {
            self.out.member("", group.name);
        }
        self.out.place(tag.at);
    }

    fn complex(&mut self, node: Node, tag: &Tag<'a>, is_empty: bool) -> Result<(), Found> {
        self.deepen(1, tag.at)?;
        self.out.push(b"{");
        let mut any = false;
        for at in 0..self.attributes.len() {
            let attribute = self.attributes[at];
            let known = self.schema.element(node, attribute.name);
            if known.is_some_and(|element| element.is_attribute) {
                any |= attribute.name != "id";
                self.attribute(attribute)?;
            } else {
                let mend = match attribute.name {
                    "value" => "this element has elements, and no value of its own",
                    _ => "leave it out, or make it an element",
                };
                self.unknown_attribute(at, mend)?;
            }
        }
        if !is_empty {
            any |= self.children(node)?;
        }
        if !any {
            self.issue(tag.at, XmlProblem::EmptyElement)?;
        }
        self.out.push(b"}");
        self.namespaces.close();
        Ok(())
    }

    /// `id` or `url` as a member.
    pub(super) fn attribute(&mut self, attribute: Attribute<'a>) -> Result<(), Found> {
        if attribute.value.is_empty() {
            let name = if attribute.name == "id" { "id" } else { "url" };
            return self.issue(attribute.at, XmlProblem::EmptyAttribute(name));
        }
        self.out.member("", attribute.name);
        self.out.place(attribute.at);
        self.string(attribute)
    }

    pub(super) fn string(&mut self, attribute: Attribute<'a>) -> Result<(), Found> {
        self.out.push(b"\"");
        attribute_to_json(attribute.value, attribute.value_at, &mut self.out.json)?;
        self.out.push(b"\"");
        Ok(())
    }

    fn div(&mut self, tag: &Tag<'a>, is_empty: bool) -> Result<(), Found> {
        let reading = narrative::Reading {
            text: self.text,
            tokens: &mut self.tokens,
            namespaces: &mut self.namespaces,
            attributes: &mut self.attributes,
            html_entities: self.limits.html_entities,
        };
        let div = reading.div(tag, is_empty)?;
        self.out.push(b"\"");
        div.pieces(|piece| text_to_json(piece, &mut self.out.json));
        self.out.push(b"\"");
        Ok(())
    }
}
