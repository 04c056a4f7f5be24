//! Restricting a search to what may be seen.
//!
//! Of a `t` that has passed, a version is shown only if its own content and the newest content of
//! its resource may be seen: what was closed since then is closed there too.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Context, Search};
use crate::documents::{DocumentOf, Ordinal};
use crate::error::SearchError;
use crate::evaluate::{Evaluation, Node, Resolver};
use crate::facet::Facet;
use crate::visible::{VisiblePart, VisibleTypes, VisibleWithin};

impl<'s> Search<'s> {
    /// Shows what one of `parts` shows, and nothing else.
    pub(super) fn restrict_to(
        &mut self,
        parts: &[VisiblePart],
        context: Context<'s>,
    ) -> Result<(), SearchError> {
        let mut visible = self.shown(parts)?;
        let has_passed = self.scopes.iter().any(|scope| !scope.ended.since().is_empty());
        if has_passed && parts.iter().any(VisiblePart::may_change) {
            // Conditions that follow references are asked as of now, too.
            let head = self.index.head();
            let now = Search::of_everything(self.index, Arc::clone(&self.parts), head, context);
            let shown_now = now.shown(parts)?;
            self.meter.charge(now.cost())?;
            self.close(&mut visible, &shown_now)?;
        }
        for (scope, visible) in self.scopes.iter_mut().zip(visible) {
            scope.visible = Some(visible);
        }
        Ok(())
    }

    /// Which documents of each part say what one of `parts` shows.
    fn shown(&self, parts: &[VisiblePart]) -> Result<Vec<RoaringBitmap>, SearchError> {
        let resolver = Resolver { search: self, codes: self.codes };
        let nodes: Result<Vec<_>, _> =
            parts.iter().map(|part| self.node(&resolver, part)).collect();
        let node = Node::Any(nodes?);
        let each = self.parts.iter().map(|part| {
            part.read(|content| {
                let documents = content.documents();
                let mut all = RoaringBitmap::new();
                all.insert_range(0..documents.len());
                let meter = &self.meter;
                let evaluation = Evaluation { part: content, meter, universe: &all };
                Ok(evaluation.set(&node)?.into_owned())
            })
        });
        each.collect()
    }

    fn node<'q>(
        &self,
        resolver: &Resolver<'_, 'q>,
        part: &'q VisiblePart,
    ) -> Result<Node<'q>, SearchError> {
        let mut nodes = Vec::new();
        if let VisibleTypes::These(types) = &part.types {
            let mut any = Vec::new();
            for (of, clauses) in types {
                let key = of.as_str().as_bytes().to_vec();
                let mut all = vec![Node::Key { facet: Facet::TYPE, key }];
                for clause in clauses {
                    all.push(resolver.clause(of.as_str(), clause)?);
                }
                any.push(Node::All(all));
            }
            nodes.push(Node::Any(any));
        }
        if let VisibleWithin::Compartments(about) = &part.within {
            let names = self.index.names.read();
            let ordinals = about.iter().filter_map(|(of, id)| names.get(of.as_str(), id.as_str()));
            let ordinals = ordinals.map(|it| it.0).collect();
            nodes.push(Node::Targets { facet: Facet::COMPARTMENT, ordinals });
        }
        Ok(Node::All(nodes))
    }

    /// Takes out the documents that have been replaced by what may not be seen.
    fn close(
        &self,
        visible: &mut [RoaringBitmap],
        shown_now: &[RoaringBitmap],
    ) -> Result<(), SearchError> {
        for (at, part) in self.parts.iter().enumerate() {
            for doc in self.scopes[at].ended.since() {
                // What is not shown for what it says need not be closed, nor be paid for.
                if !visible[at].contains(*doc) {
                    continue;
                }
                self.meter.charge(1)?;
                let of = part.read(|content| {
                    let documents = content.documents();
                    (*doc < documents.len()).then(|| documents.get(*doc))
                });
                let Some(document) = of.filter(|it| it.of == DocumentOf::Resource) else {
                    continue;
                };
                let newest = self.newest(document.ordinal);
                let is_shown = newest.is_some_and(|(at, newest)| shown_now[at].contains(newest));
                if !is_shown {
                    let docs = part.read(|content| content.documents().with_contained(*doc));
                    visible[at].remove_range(docs);
                }
            }
        }
        Ok(())
    }

    /// The newest document of a resource, whether or not it has ended, and its part.
    fn newest(&self, ordinal: Ordinal) -> Option<(usize, u32)> {
        self.parts.iter().enumerate().rev().find_map(|(at, part)| {
            let newest = part.read(|content| content.documents().of(ordinal).max());
            newest.map(|doc| (at, doc))
        })
    }
}
