//! What of a resource is indexed, made before its commit is judged, so that the serial step has
//! only to put it where it belongs.

use std::sync::Arc;

use fhir_core::json::Value;
use fhir_core::{ResourceId, ResourceType};
use fhir_search::{
    ExtractOptions, Extracted, Extractor, IndexValue, Parameter, Reference, ReferenceTarget, Token,
    fold,
};

use crate::Index;
use crate::documents::Ordinal;
use crate::facet::{Facet, Number, View};
use crate::key::{
    Writer, canonical_key, canonical_prefix, composite_keys, date_key, folded_key, local_key,
    nowhere_key, number_key, quantity_key, string_key, token_key, typed_key, url_key, word_keys,
};
use crate::names::Names;
use crate::part::FacetKey;

/// A resource ready to be applied.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) resource_type: ResourceType,
    pub(crate) id: ResourceId,
    pub(crate) keys: Vec<PreparedKey>,
    pub(crate) contained: Vec<PreparedContained>,
}

/// A contained resource ready to be applied.
#[derive(Debug)]
pub(crate) struct PreparedContained {
    pub(crate) resource_type: ResourceType,
    /// Its id within the container.
    pub(crate) id: Box<str>,
    pub(crate) keys: Vec<PreparedKey>,
}

/// A key, or what it is made of once ordinals can be given.
#[derive(Debug)]
pub(crate) enum PreparedKey {
    Ready(Facet, Arc<[u8]>),
    /// A reference to a resource of this server.
    Local {
        facet: Facet,
        resource_type: ResourceType,
        id: Box<str>,
        version: Option<Box<str>>,
    },
    /// A reference to what is contained in the same resource.
    Contained {
        facet: Facet,
        id: Box<str>,
    },
}

/// What is known of a resource beside its content.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// Its type.
    pub resource_type: &'s ResourceType,
    /// Its id.
    pub id: &'s ResourceId,
    /// The compartments it is in, by the resources that they are about. A view that is
    /// restricted to compartments goes by these.
    pub compartments: &'s [(ResourceType, ResourceId)],
}

/// Parameters that the index knows about by itself.
pub(crate) fn is_own(code: &str) -> bool {
    matches!(code, "_id" | "_lastUpdated")
}

impl Index {
    /// Takes from a resource what is indexed of it, and of the resources that it contains. Any
    /// thread may do so, at any time before its commit is applied.
    #[must_use]
    pub fn prepare(
        &self,
        resource: Value<'_>,
        subject: Subject<'_>,
        extractor: &Extractor<'_>,
        options: &ExtractOptions<'_>,
    ) -> Prepared {
        let not_own = |parameter: &Parameter| !is_own(parameter.code());
        let of = subject.resource_type.as_str();
        let mut keys = self.keys(resource, of, extractor, options, not_own);
        let of = subject.resource_type.as_str().as_bytes();
        keys.push(PreparedKey::Ready(Facet::TYPE, of.into()));
        keys.extend(subject.compartments.iter().map(|(resource_type, id)| PreparedKey::Local {
            facet: Facet::COMPARTMENT,
            resource_type: resource_type.clone(),
            id: id.as_str().into(),
            version: None,
        }));
        let mut contained = Vec::new();
        for inner in resource.get("contained").into_iter().flat_map(|it| it.items()) {
            let resource_type = inner.get_str("resourceType").unwrap_or_default();
            let id = inner.get_str("id").unwrap_or_default();
            let Ok(resource_type) = ResourceType::new(&resource_type) else { continue };
            // An id within a container is a value as any other, and there is no time of its own.
            let of = resource_type.as_str();
            let options = ExtractOptions { last_updated: None, ..*options };
            let mut keys = self.keys(inner, of, extractor, &options, |_| true);
            let of = resource_type.as_str().as_bytes();
            keys.push(PreparedKey::Ready(Facet::CONTAINED, of.into()));
            contained.push(PreparedContained { resource_type, id: (&*id).into(), keys });
        }
        Prepared {
            resource_type: subject.resource_type.clone(),
            id: subject.id.clone(),
            keys,
            contained,
        }
    }

    fn keys(
        &self,
        resource: Value<'_>,
        resource_type: &str,
        extractor: &Extractor<'_>,
        options: &ExtractOptions<'_>,
        is_kept: impl Fn(&Parameter) -> bool,
    ) -> Vec<PreparedKey> {
        let extracted = extractor.extract(resource, options);
        if !extracted.problems().is_empty() {
            self.left_out.add(&extracted, extractor.parameters());
        }
        let with_values: Vec<&Parameter> = extractor
            .parameters()
            .of_type(resource_type)
            .iter()
            .map(|it| &**it)
            .filter(|it| is_kept(it) && extracted.of(it.id).next().is_some())
            .collect();
        let mut keys = Vec::with_capacity(32);
        for (parameter, number) in with_values.iter().zip(self.numbers_of(&with_values)) {
            add_values(&mut keys, &extracted, parameter, number);
        }
        keys
    }

    /// The number of each parameter.
    fn numbers_of(&self, parameters: &[&Parameter]) -> Vec<Number> {
        // Almost always all are known, under one lock.
        let known: Option<Vec<Number>> = {
            let numbers = self.numbers.read();
            let known = parameters.iter().map(|it| numbers.get(&it.resource_type, it.code()));
            known.collect()
        };
        known.unwrap_or_else(|| {
            let mut numbers = self.numbers.write();
            let given = parameters.iter().map(|it| {
                let (of, code) = (&it.resource_type, it.code());
                numbers.get_or_give(of, code, it.kind)
            });
            given.collect()
        })
    }
}

fn add_values(
    keys: &mut Vec<PreparedKey>,
    extracted: &Extracted<'_>,
    parameter: &Parameter,
    number: Number,
) {
    let mut keys = KeysOf { keys, number };
    keys.add(View::Present, Vec::new());
    for value in extracted.of(parameter.id) {
        match value {
            IndexValue::Number(range) => {
                keys.add(View::Value, number_key(Writer::default(), range).finish());
            }
            IndexValue::Date(range) => keys.add(View::Value, date_key(*range)),
            IndexValue::String(text) => keys.add_string(text, parameter),
            IndexValue::Token(token) => keys.add_token(token),
            IndexValue::Reference(reference) => keys.add_reference(reference),
            IndexValue::Composite(composite) => {
                for key in composite_keys(composite) {
                    keys.add(View::Value, key);
                }
            }
            IndexValue::Quantity(quantity) => {
                keys.add(View::Value, quantity_key(Writer::default(), quantity).finish());
                if let Some(canonical) = &quantity.canonical {
                    keys.add(View::Canonical, canonical_key(canonical));
                }
            }
            IndexValue::Uri(uri) => keys.add(View::Value, uri.as_bytes().to_vec()),
            IndexValue::Position(position) => {
                let key = Writer::default()
                    .float(position.latitude.to_f64())
                    .decimal(position.latitude)
                    .decimal(position.longitude);
                keys.add(View::Value, key.finish());
            }
        }
    }
}

/// The keys of one parameter.
struct KeysOf<'k> {
    keys: &'k mut Vec<PreparedKey>,
    number: Number,
}

impl KeysOf<'_> {
    fn add(&mut self, view: View, key: Vec<u8>) {
        self.keys.push(PreparedKey::Ready(Facet::of(self.number, view), key.into()));
    }

    fn add_string(&mut self, text: &str, of: &Parameter) {
        let folded = fold(text);
        if of.finds_words() {
            for key in word_keys(&folded) {
                self.add(View::Words, key);
            }
        }
        self.add(View::Value, string_key(&folded, text));
    }

    fn add_token(&mut self, token: &Token<'_>) {
        if let Some(text) = &token.text {
            self.add(View::Text, folded_key(text));
        }
        // What is a text or a system alone is found by no code.
        if token.code.is_none() {
            return;
        }
        if let Some(system) = &token.system {
            self.add(View::System, system.as_bytes().to_vec());
        }
        for (system, code) in &token.identifier_types {
            self.add(View::Typed, token_key(typed_key(system, code), token).finish());
        }
        self.add(View::Value, token_key(Writer::default(), token).finish());
    }

    fn add_reference(&mut self, reference: &Reference<'_>) {
        if let Some(identifier) = &reference.identifier {
            self.add(View::Identifier, token_key(Writer::default(), identifier).finish());
        }
        let facet = Facet::of(self.number, View::Value);
        match &reference.target {
            ReferenceTarget::Local { resource_type, id, version } => {
                if let Ok(resource_type) = ResourceType::new(resource_type) {
                    let version = version.as_deref().map(Into::into);
                    let id = (&**id).into();
                    self.keys.push(PreparedKey::Local { facet, resource_type, id, version });
                }
            }
            ReferenceTarget::Url(url) => self.add(View::Value, url_key(url)),
            ReferenceTarget::Canonical { url, version } => {
                let key = canonical_prefix(url).optional(version.as_deref());
                self.add(View::Value, key.finish());
            }
            ReferenceTarget::Contained(id) => {
                let id = (&**id).into();
                self.keys.push(PreparedKey::Contained { facet, id });
            }
            ReferenceTarget::Logical => self.add(View::Value, nowhere_key()),
        }
    }
}

/// What a contained resource is called among the names: no resource can have such an id.
fn contained_name(resource_type: &ResourceType, id: &ResourceId, inner: &str) -> String {
    format!("{resource_type}/{id}#{inner}")
}

/// Whether a name is one of what is contained.
pub(crate) fn is_contained(name: &str) -> bool {
    name.contains('#')
}

/// A document's resource and keys, its ordinals given.
pub(crate) struct Named {
    pub(crate) ordinal: Ordinal,
    pub(crate) keys: Vec<FacetKey>,
}

/// What each key takes beside its bytes, about: its place in the list, its counts, its length.
const BESIDE_KEY: usize = 48;

impl Prepared {
    /// About how much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let of = |key: &PreparedKey| {
            BESIDE_KEY
                + match key {
                    PreparedKey::Ready(_, key) => key.len(),
                    PreparedKey::Local { id, version, .. } => {
                        id.len() + version.as_ref().map_or(0, |it| it.len())
                    }
                    PreparedKey::Contained { id, .. } => id.len(),
                }
        };
        let contained = self.contained.iter().flat_map(|it| &it.keys);
        size_of::<Self>() + self.keys.iter().chain(contained).map(of).sum::<usize>()
    }

    /// Gives the ordinals of a resource, of what it contains and of what it refers to: its own
    /// document first.
    pub(crate) fn name(self, names: &mut Names) -> Vec<Named> {
        let Self { resource_type, id, keys, contained } = self;
        let own = names.get_or_give(&resource_type, id.as_str());
        let inner: Vec<(Box<str>, Ordinal)> = contained
            .iter()
            .map(|it| {
                let name = contained_name(&resource_type, &id, &it.id);
                (it.id.clone(), names.get_or_give(&it.resource_type, &name))
            })
            .collect();
        let container = (Box::from(""), own);
        let within: Vec<(Box<str>, Ordinal)> = std::iter::once(container).chain(inner).collect();
        let of_contained = contained.into_iter().map(|it| it.keys);
        std::iter::once(keys)
            .chain(of_contained)
            .zip(&within)
            .map(|(keys, (_, ordinal))| Named {
                ordinal: *ordinal,
                keys: keys.into_iter().map(|key| key.finish(names, &within)).collect(),
            })
            .collect()
    }
}

impl PreparedKey {
    fn finish(self, names: &mut Names, within: &[(Box<str>, Ordinal)]) -> FacetKey {
        let local = |ordinal, version: Option<&str>| local_key(ordinal).optional(version).finish();
        match self {
            Self::Ready(facet, key) => (facet, key),
            Self::Local { facet, resource_type, id, version } => {
                let ordinal = names.get_or_give(&resource_type, &id);
                (facet, local(ordinal, version.as_deref()).into())
            }
            Self::Contained { facet, id } => {
                let inner = within.iter().find(|(it, _)| *it == id);
                let key = inner.map_or_else(nowhere_key, |(_, ordinal)| local(*ordinal, None));
                (facet, key.into())
            }
        }
    }
}
