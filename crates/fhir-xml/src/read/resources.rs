//! Resources: the object of one, and the element that holds one. What stands in it is read by its
//! elements.

use fhir_schema::Node;

use super::Reader;
use crate::error::{Found, XmlProblem, beginning};
use crate::namespaces::Namespace;
use crate::tokens::Tag;

impl<'a, 's> Reader<'a, 's> {
    pub(super) fn resource_type(&self, name: &str) -> Option<(&'s str, Node)> {
        let node = self.schema.resource(name)?;
        Some((self.schema.node_path(node), node))
    }

    /// The object of a resource, whose tag was entered.
    pub(super) fn resource(
        &mut self,
        tag: &Tag<'a>,
        name: &'s str,
        node: Node,
        is_empty: bool,
    ) -> Result<(), Found> {
        self.deepen(1, tag.at)?;
        self.out.place(tag.at);
        self.out.push(b"{\"resourceType\":\"");
        self.out.push(name.as_bytes());
        self.out.push(b"\"");
        for at in 0..self.attributes.len() {
            let mend = match self.attributes[at].name {
                "id" => "a resource's id is an element: <id value=\"…\"/>",
                _ => "leave it out",
            };
            self.unknown_attribute(at, mend)?;
        }
        if !is_empty {
            self.children(node)?;
        }
        self.out.push(b"}");
        self.namespaces.close();
        self.depth -= 1;
        Ok(())
    }

    /// An element that holds a resource.
    pub(super) fn holder(&mut self, tag: &Tag<'a>, is_empty: bool) -> Result<(), Found> {
        for at in 0..self.attributes.len() {
            self.unknown_attribute(at, "leave it out")?;
        }
        let mut is_held = false;
        while !is_empty && let Some((inner, inner_is_empty)) = self.child()? {
            let at = self.tokens.start;
            inner.check_name()?;
            let (namespace, local) = self.enter(&inner)?;
            let resource_type = self.resource_type(local);
            match resource_type {
                _ if namespace != Namespace::Fhir => self.foreign(namespace, &inner)?,
                _ if is_held => self.issue(at, XmlProblem::SecondResource)?,
                Some((name, node)) => {
                    is_held = true;
                    self.resource(&inner, name, node, inner_is_empty)?;
                    continue;
                }
                None => {
                    is_held = true;
                    self.out.push(b"null");
                    self.issue(at, XmlProblem::UnknownResource(beginning(local)))?;
                }
            }
            self.skip(inner_is_empty)?;
        }
        if !is_held {
            self.out.push(b"null");
            self.issue(tag.at, XmlProblem::NoResource)?;
        }
        self.namespaces.close();
        Ok(())
    }
}
