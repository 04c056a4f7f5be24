//! Restricting a search to what may be seen.
//!
//! Of a `t` that has passed, a version is shown only if its own content and the newest content of
//! its resource may be seen: what was closed since then is closed there too.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Among, Context, Scope, Search};
use crate::documents::{DocumentOf, Ordinal};
use crate::error::SearchError;
use crate::evaluate::{Evaluation, Node, Resolver};
use crate::facet::Facet;
use crate::kept::{Restriction, Shown};
use crate::part::Part;
use crate::visible::{VisiblePart, VisibleTypes, VisibleWithin};

/// A visibility: what of it a segment can be asked for by itself, and the rest.
type Parted<'p> = (Option<&'p Restriction>, &'p [&'p VisiblePart]);

impl<'s> Search<'s> {
    /// Shows what one of `parts` shows, and nothing else.
    pub(super) fn restrict_to(
        &mut self,
        parts: &[VisiblePart],
        context: Context<'s>,
    ) -> Result<(), SearchError> {
        let (restriction, others) = self.index.restrictions.of(parts, self.codes);
        let asked = (restriction.as_deref(), &*others);
        // What who restricts asks is no part of what the search asks, and costs it nothing.
        let mut visible = self.meter.uncounted(|| self.shown(asked))?;
        let has_passed = self.scopes.iter().any(|scope| !scope.ended.since().is_empty());
        if has_passed && parts.iter().any(VisiblePart::may_change) {
            // Conditions that follow references are asked as of now, too.
            let (head, parts) = (self.index.head(), Arc::clone(&self.parts));
            let meter = self.meter.unlimited();
            let now = Search::of_everything(self.index, parts, head, (context, meter));
            let shown_now = now.shown(asked)?;
            self.close(&mut visible, &shown_now)?;
        }
        for (scope, visible) in self.scopes.iter_mut().zip(visible) {
            scope.visible = Some(visible);
        }
        Ok(())
    }

    /// Which documents of each part say what is shown.
    fn shown(&self, (restriction, others): Parted<'_>) -> Result<Vec<Arc<Shown>>, SearchError> {
        let resolver = Resolver { search: self, codes: self.codes };
        let of_others = others.iter().map(|part| {
            let ordinals = part.ordinals(&self.index.names.read());
            self.node(&resolver, part, ordinals)
        });
        let of_others = of_others.collect::<Result<Vec<_>, _>>()?;
        let others = (!of_others.is_empty()).then_some(Node::Any(of_others));
        // There are very many types: it is made only where something is not kept.
        let mut own_node = None;
        let each = self.parts.iter().map(|part| {
            let cancelled = self.meter.cancelled();
            let segment = part.as_segment();
            let shown = match restriction {
                None => None,
                Some(restriction) => {
                    let kept = segment.and_then(|_| part.kept.get(restriction));
                    Some(match kept {
                        Some(kept) => kept,
                        None => {
                            let node = match &own_node {
                                Some(node) => node,
                                None => own_node.insert(self.own_node(&resolver, restriction)?),
                            };
                            let set = part.read_until(cancelled, |it| self.all_that(it, node))?;
                            let shown = Arc::new(Shown::new(set));
                            // What could not be read, or nobody waits for, says nothing.
                            self.meter.look()?;
                            if let Some(segment) = segment.filter(|it| it.failure().is_none()) {
                                part.kept.keep(restriction, &shown, segment.documents_len());
                            }
                            shown
                        }
                    })
                }
            };
            let Some(others) = &others else { return Ok(shown.unwrap_or_default()) };
            let mut set = part.read_until(cancelled, |it| self.all_that(it, others))?;
            if let Some(shown) = shown {
                set |= shown.all();
            }
            Ok(Arc::new(Shown::new(set)))
        });
        each.collect()
    }

    /// All documents of a part that satisfy a node.
    fn all_that(&self, content: &dyn Part, node: &Node<'_>) -> Result<RoaringBitmap, SearchError> {
        let mut all = RoaringBitmap::new();
        if node.has_complement() {
            all.insert_range(0..content.documents().len());
        }
        // What is contained is there too, whatever the universe says.
        let (meter, among) = (&self.meter, Among::Contained);
        let evaluation = Evaluation { part: content, meter, universe: &all, among };
        Ok(evaluation.set(node)?.into_owned())
    }

    fn own_node<'q>(
        &self,
        resolver: &Resolver<'_, 'q>,
        restriction: &'q Restriction,
    ) -> Result<Node<'q>, SearchError> {
        let ordinals = restriction.ordinals(&self.index.names);
        let parts = restriction.parts().iter().zip(&*ordinals);
        let nodes = parts.map(|(part, ordinals)| self.node(resolver, part, ordinals.clone()));
        Ok(Node::Any(nodes.collect::<Result<_, _>>()?))
    }

    /// The documents of a part that may be seen, are of a type and satisfy a node.
    pub(super) fn documents_seen(
        &self,
        content: &dyn Part,
        (scope, shown): (&Scope, &Shown),
        (of, among): (&str, Among),
        node: &Node<'_>,
    ) -> Result<RoaringBitmap, SearchError> {
        let of_facet = |facet| scope.current(content, shown, (facet, of));
        let candidates = match among {
            Among::Resources => of_facet(Facet::TYPE),
            Among::ContainedAlone => of_facet(Facet::CONTAINED),
            Among::Contained => {
                let (own, contained) = (of_facet(Facet::TYPE), of_facet(Facet::CONTAINED));
                if contained.is_empty() { own } else { Arc::new(&*own | &*contained) }
            }
        };
        if candidates.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let meter = &self.meter;
        let evaluation = Evaluation { part: content, meter, universe: &candidates, among };
        let found = evaluation.within(node, &candidates)?;
        self.meter.count_set(found.as_ref().len())?;
        Ok(found.into_owned())
    }

    fn node<'q>(
        &self,
        resolver: &Resolver<'_, 'q>,
        part: &'q VisiblePart,
        ordinals: RoaringBitmap,
    ) -> Result<Node<'q>, SearchError> {
        let mut nodes = Vec::new();
        // First: a type may have very many.
        if let VisibleWithin::Compartments(_) = &part.within {
            nodes.push(Node::Targets { facet: Facet::COMPARTMENT, ordinals });
        }
        if let VisibleTypes::These(types) = &part.types {
            let mut any = Vec::new();
            for (of, clauses) in &**types {
                let key = of.as_str().as_bytes().to_vec();
                let mut all = vec![Node::Key { facet: Facet::TYPE, key }];
                for clause in clauses {
                    all.push(resolver.clause(of.as_str(), clause)?);
                }
                any.push(Node::All(all));
            }
            nodes.push(Node::Any(any));
        }
        Ok(Node::All(nodes))
    }

    /// Takes out the documents that have been replaced by what may not be seen.
    fn close(
        &self,
        visible: &mut [Arc<Shown>],
        shown_now: &[Arc<Shown>],
    ) -> Result<(), SearchError> {
        for (at, part) in self.parts.iter().enumerate() {
            let mut closed = RoaringBitmap::new();
            for doc in self.scopes[at].ended.since() {
                // What is not shown for what it says need not be closed.
                if !visible[at].all().contains(*doc) {
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
                if newest.is_some_and(|(at, newest)| shown_now[at].all().contains(newest)) {
                    // Of what is closed nothing is told, by no cost either.
                    self.meter.count(1)?;
                    continue;
                }
                closed.insert_range(part.read(|it| it.documents().with_contained(*doc)));
            }
            if !closed.is_empty() {
                visible[at] = Arc::new(visible[at].without(&closed));
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

impl Scope {
    /// The documents of a type that are shown of a part, were there and had not ended.
    fn current(
        &self,
        content: &dyn Part,
        shown: &Shown,
        (facet, of): (Facet, &str),
    ) -> Arc<RoaringBitmap> {
        if self.end >= content.documents().len() && self.ended.since().is_empty() {
            return shown.current(content, (facet, of), &self.ended);
        }
        let mut docs = shown.of_type(content, facet, of);
        self.restrict(Arc::make_mut(&mut docs));
        docs
    }
}
