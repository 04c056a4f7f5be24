//! From one resource to another: chains, `_has`, and what canonicals name. A reference to a
//! resource of this server is its ordinal; a canonical is text, which is compared with the `url`
//! and the `version` of resources.

use std::collections::{BTreeMap, BTreeSet};

use fhir_search::{Chain, Has};
use roaring::RoaringBitmap;

use super::node::Check;
use super::{Node, Resolver};
use crate::error::SearchError;
use crate::facet::{Facet, View};
use crate::key::{
    KeyRange, Reader, ReferenceKey, Writer, canonical_prefix, canonicals, code_prefix,
    local_ordinal, read_reference_key, read_token,
};
use crate::search::{Among, Search};

/// Canonical URLs with the versions that something with such a URL has.
pub(crate) type Named = BTreeMap<Box<str>, BTreeSet<Box<str>>>;

/// So many URLs are looked up one by one.
const FEW: usize = 64;

impl<'q> Resolver<'_, 'q> {
    pub(super) fn chain(&self, chain: &'q Chain) -> Result<Node<'q>, SearchError> {
        let facet = self.number(&chain.parameter).map(|it| Facet::of(it, View::Value));
        // Whether others than may be seen have canonicals must not change the turn of the chain.
        let has_canonicals = self.search.counts_what_is_seen()
            || facet.is_some_and(|facet| self.search.has_canonicals(facet));
        let (mut ordinals, mut named) = (RoaringBitmap::new(), Named::new());
        for (target, clause) in &chain.targets {
            let of = target.as_str();
            let node = self.clause(of, clause)?;
            ordinals |= self.search.ordinals(of, &node, Among::Contained)?;
            if has_canonicals {
                let meter = &self.search.meter;
                meter.uncounted(|| self.search.named_by(of, &node, &mut named))?;
            }
        }
        let Some(facet) = facet else { return Ok(Node::Nothing) };
        let targets = Node::Targets { facet, ordinals };
        Ok(match named.is_empty() {
            true => targets,
            false => Node::Any(vec![targets, naming(facet, named)]),
        })
    }

    pub(super) fn has(&self, asked: &str, has: &'q Has) -> Result<Node<'q>, SearchError> {
        let of = has.resource_type.as_str();
        let node = self.clause(of, &has.clause)?;
        let Some(number) = self.number(&has.parameter) else {
            return Ok(Node::Nothing);
        };
        let (mut targets, mut canonicals) = (Vec::new(), BTreeSet::new());
        self.search.each_key(
            of,
            &node,
            Facet::of(number, View::Value),
            |key| match local_ordinal(key) {
                Some(ordinal) => targets.push(ordinal.0),
                None => {
                    if let Some(ReferenceKey::Canonical { url, version }) = read_reference_key(key)
                    {
                        canonicals.insert((url.into_owned(), version.map(|it| it.into_owned())));
                    }
                }
            },
        )?;
        targets.sort_unstable();
        targets.dedup();
        let targets = RoaringBitmap::from_sorted_iter(targets).unwrap_or_default();
        let own = Node::Own(self.without_contained(targets));
        if canonicals.is_empty() {
            return Ok(own);
        }
        let named = canonicals.iter().filter_map(|(url, version)| {
            let node = self.search.named(asked, url, version.as_deref())?;
            Some(Node::All(vec![node, is_no_part()]))
        });
        Ok(Node::Any(std::iter::once(own).chain(named).collect()))
    }

    /// Takes out what is contained, to which nothing leads from outside its container.
    pub(super) fn without_contained(&self, mut ordinals: RoaringBitmap) -> RoaringBitmap {
        ordinals -= self.search.index.names.read().contained();
        ordinals
    }
}

/// All that is not contained in another resource.
fn is_no_part<'q>() -> Node<'q> {
    let ranges = vec![KeyRange::all()];
    Node::Not(Box::new(Node::Keys { facet: Facet::CONTAINED, ranges, check: None }))
}

/// What has a canonical that names something of these URLs and versions.
pub(crate) fn naming<'q>(facet: Facet, named: Named) -> Node<'q> {
    let ranges = if named.len() <= FEW {
        named.keys().map(|url| KeyRange::prefix(canonical_prefix(url).finish())).collect()
    } else {
        vec![canonicals()]
    };
    let check: Check<'q> = Box::new(move |key| {
        Ok(match read_reference_key(key) {
            Some(ReferenceKey::Canonical { url, version }) => {
                let versions = named.get(&*url);
                versions.is_some_and(|it| version.is_none_or(|version| it.contains(&*version)))
            }
            _ => false,
        })
    });
    Node::Keys { facet, ranges, check: Some(check) }
}

impl Search<'_> {
    /// Whether any value of a reference parameter is a canonical.
    fn has_canonicals(&self, facet: Facet) -> bool {
        let KeyRange { low, high, .. } = canonicals();
        (0..self.parts.len()).any(|part| {
            self.read(part, |content| content.range(facet, &low, high.as_deref()).next().is_some())
        })
    }

    /// The resources of a type that a canonical names; none when no resource of it has a URL.
    pub(crate) fn named<'q>(&self, of: &str, url: &str, version: Option<&str>) -> Option<Node<'q>> {
        let facet = |code| Some(Facet::of(self.number(of, code)?, View::Value));
        let has_url = Node::Key { facet: facet("url")?, key: url.as_bytes().to_vec() };
        let Some(version) = version else { return Some(has_url) };
        let facet = facet("version")?;
        let ranges = vec![KeyRange::prefix(code_prefix(Writer::default(), version).finish())];
        let version: Box<str> = version.into();
        let check: Check<'q> = Box::new(move |key| {
            let token = read_token(&mut Reader::new(key));
            Ok(token.is_some_and(|it| it.code.as_deref() == Some(&*version)))
        });
        Some(Node::All(vec![has_url, Node::Keys { facet, ranges, check: Some(check) }]))
    }

    /// Adds the URLs and versions of the resources of a type that satisfy a node.
    pub(crate) fn named_by(
        &self,
        of: &str,
        node: &Node<'_>,
        named: &mut Named,
    ) -> Result<(), SearchError> {
        if self.facet(of, "url").is_none() {
            return Ok(());
        }
        for part in 0..self.parts.len() {
            for doc in self.documents(part, of, node, Among::Resources)? {
                self.meter.charge(1)?;
                self.add_names((part, doc), of, named);
            }
        }
        Ok(())
    }

    /// Adds the URLs and versions of a document, which is of this type.
    pub(crate) fn add_names(&self, (part, doc): (usize, u32), of: &str, named: &mut Named) {
        let Some(url) = self.facet(of, "url") else { return };
        let version = self.facet(of, "version");
        self.read(part, |content| {
            let versions: Vec<Box<str>> = match version {
                None => Vec::new(),
                Some(facet) => {
                    let keys = content.by_document(facet).of(doc);
                    let tokens = keys.iter().filter_map(|key| read_token(&mut Reader::new(key)));
                    tokens.filter_map(|it| it.code.map(|code| (&*code).into())).collect()
                }
            };
            for key in content.by_document(url).of(doc) {
                let url = String::from_utf8_lossy(key).into_owned().into_boxed_str();
                named.entry(url).or_default().extend(versions.iter().cloned());
            }
        });
    }
}
