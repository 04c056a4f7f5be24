//! Parameters that a tenant defines by resources of its own, on top of those of FHIR and of its
//! packages (FHIR R4, 3.1.1.4 and SearchParameter).
//!
//! A code that a type has already is replaced only by a definition that says so with
//! `derivedFrom`. What the expression comes to is not judged here: see `Extractor::try_out`.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhir_schema::conformance::SearchParameter;
use fhir_schema::{DefinitionSet, Schema};

use super::{Kind, Origin, Parameter, ParameterId, Parameters, components};

/// Letters of a code at most.
const MOST_LETTERS: usize = 64;
/// Definitions at most: each is taken from every resource of its types.
const MOST: usize = 1000;

/// Why a posted definition does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct PostedError {
    /// The element that is at fault, as FHIRPath: `SearchParameter.base[1]`.
    pub element: String,
    /// What is wrong with it.
    pub problem: PostedProblem,
}

/// What is wrong with a posted definition, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostedProblem {
    /// It is for no type.
    #[error("base names no type; name the types of the resources that it finds")]
    NoBase,
    /// A base that is no type of resources.
    #[error("there is no type of resources {0}; name one as FHIR does")]
    UnknownBase(Arc<str>),
    /// A code that could not be asked for.
    #[error(
        "the code {0} cannot be asked for; take up to {MOST_LETTERS} of the letters a to z, digits, - and _, \
         the first neither a digit nor _"
    )]
    InvalidCode(Arc<str>),
    /// A kind that is none, or that only a server could give a meaning.
    #[error(
        "a parameter of type {0} cannot be defined; take number, date, string, token, reference, \
         composite, quantity or uri"
    )]
    InvalidKind(Arc<str>),
    /// Nothing says where its values are.
    #[error("there is no expression; write the FHIRPath that leads to its values")]
    NoExpression,
    /// The type has the code already.
    #[error(
        "{resource_type} has a search parameter {code} already, defined by {url}; take another \
         code, or name that URL as derivedFrom to replace it"
    )]
    Conflict {
        /// The type.
        resource_type: Arc<str>,
        /// The code that it has.
        code: Arc<str>,
        /// Who defines that.
        url: Arc<str>,
    },
    /// The type has a code that differs by small and capital letters alone.
    #[error(
        "{resource_type} has a search parameter {code}, defined by {url}, and codes may not differ \
         by small and capital letters alone; take another code"
    )]
    Alike {
        /// The type.
        resource_type: Arc<str>,
        /// The code that it has.
        code: Arc<str>,
        /// Who defines that.
        url: Arc<str>,
    },
    /// There are so many already.
    #[error("there are {MOST} search parameters of the server's own already; delete one first")]
    TooMany,
}

impl PostedProblem {
    fn at(self, element: impl Into<String>) -> PostedError {
        PostedError { element: format!("SearchParameter.{}", element.into()), problem: self }
    }
}

/// What a definition without a mistake in itself is for.
struct Sound<'s> {
    kind: Kind,
    types: Vec<&'s str>,
}

impl Parameters {
    /// These, with posted definitions on top. Beside them stands which of these, by its place, do
    /// not count, and why; of two that want the same code the earlier counts, or the one that is
    /// derived from the other. What says of itself the same as a definition that counts already
    /// changes nothing.
    #[must_use]
    pub fn with_posted(
        &self,
        posted: &[Arc<SearchParameter>],
        definitions: &DefinitionSet,
        schema: &Schema,
    ) -> (Self, Vec<(usize, PostedError)>) {
        let mut errors = Vec::new();
        let mut added: BTreeMap<(&str, &str), (Kind, &Arc<SearchParameter>)> = BTreeMap::new();
        for (at, definition) in posted.iter().enumerate() {
            let sound = if at < MOST {
                sound(definition, schema)
            } else {
                Err(PostedProblem::TooMany.at("code"))
            };
            let wanted = sound.and_then(|sound| {
                let mut wanted = Vec::with_capacity(sound.types.len());
                for resource_type in &sound.types {
                    if self.is_wanted(resource_type, definition, &added)? {
                        wanted.push(*resource_type);
                    }
                }
                Ok((sound.kind, wanted))
            });
            match wanted {
                Ok((kind, types)) => {
                    for resource_type in types {
                        added.insert((resource_type, &definition.code), (kind, definition));
                    }
                }
                Err(error) => errors.push((at, error)),
            }
        }
        let find = |canonical: &str| {
            let url = canonical.split_once('|').map_or(canonical, |(url, _)| url);
            let own = posted.iter().find(|it| &*it.url == url);
            own.or_else(|| definitions.search_parameter(canonical)).cloned()
        };
        (self.with(&added, find), errors)
    }

    /// Whether a definition is to be one of a type's.
    fn is_wanted(
        &self,
        resource_type: &str,
        definition: &SearchParameter,
        added: &BTreeMap<(&str, &str), (Kind, &Arc<SearchParameter>)>,
    ) -> Result<bool, PostedError> {
        let code = &*definition.code;
        let of_type: Arc<str> = resource_type.into();
        let conflict = |other: &SearchParameter| {
            let (code, url) = (Arc::clone(&other.code), Arc::clone(&other.url));
            PostedProblem::Conflict { resource_type: Arc::clone(&of_type), code, url }.at("code")
        };
        if let Some((_, other)) = added.get(&(resource_type, code)) {
            return match (derives(definition, other), derives(other, definition)) {
                (true, _) => Ok(true),
                (false, true) => Ok(false),
                (false, false) => Err(conflict(other)),
            };
        }
        if let Some(other) = self.get(resource_type, code) {
            let other = &other.definition;
            if derives(definition, other) {
                return Ok(true);
            }
            return if says_the_same(definition, other) { Ok(false) } else { Err(conflict(other)) };
        }
        let own = self.of_type(resource_type).iter().map(|it| &it.definition);
        let posted = added.iter().filter(|((of, _), _)| *of == resource_type);
        let mut others = own.chain(posted.map(|(_, (_, other))| *other));
        match others.find(|other| other.code.eq_ignore_ascii_case(code)) {
            None => Ok(true),
            Some(other) => {
                let (code, url) = (Arc::clone(&other.code), Arc::clone(&other.url));
                Err(PostedProblem::Alike { resource_type: of_type, code, url }.at("code"))
            }
        }
    }

    fn with(
        &self,
        added: &BTreeMap<(&str, &str), (Kind, &Arc<SearchParameter>)>,
        find: impl Fn(&str) -> Option<Arc<SearchParameter>>,
    ) -> Self {
        let (mut all, mut by_type) = (self.all.clone(), self.by_type.clone());
        for ((resource_type, code), (kind, definition)) in added {
            let Ok(index) = u32::try_from(all.len()) else { break };
            let parts = match kind {
                Kind::Composite => components(definition, &find),
                _ => (Arc::from([]), None),
            };
            let origin = (*kind, Origin::Posted);
            let resource_type: Arc<str> = Arc::from(*resource_type);
            let parameter =
                Parameter::new(ParameterId(index), &resource_type, origin, definition, parts);
            let parameter = Arc::new(parameter);
            all.push(Arc::clone(&parameter));
            let mut of_type = by_type.get(&*resource_type).map_or(Vec::new(), |it| it.to_vec());
            match of_type.binary_search_by(|it| it.code().cmp(code)) {
                Ok(at) => of_type[at] = parameter,
                Err(at) => of_type.insert(at, parameter),
            }
            by_type.insert((&*resource_type).into(), of_type.into());
        }
        Self::from_parts(all, by_type)
    }
}

/// What is wrong with a definition whatever others there are.
fn sound<'s>(definition: &SearchParameter, schema: &'s Schema) -> Result<Sound<'s>, PostedError> {
    let code = &definition.code;
    let is_letter = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
    let is_first = |it: char| it.is_ascii_alphabetic() || it == '-';
    if code.len() > MOST_LETTERS || !code.starts_with(is_first) || !code.chars().all(is_letter) {
        return Err(PostedProblem::InvalidCode(Arc::clone(code)).at("code"));
    }
    let kind = Kind::of(&definition.kind).filter(|kind| *kind != Kind::Special);
    let kind =
        kind.ok_or_else(|| PostedProblem::InvalidKind(Arc::clone(&definition.kind)).at("type"))?;
    if definition.expression.as_deref().is_none_or(|text| text.trim().is_empty()) {
        return Err(PostedProblem::NoExpression.at("expression"));
    }
    if definition.base.is_empty() {
        return Err(PostedProblem::NoBase.at("base"));
    }
    let mut types: Vec<&str> = Vec::new();
    for (at, base) in definition.base.iter().enumerate() {
        let derived = schema.resource_types().filter(|it| schema.is_subtype(it, base));
        let before = types.len();
        types.extend(derived);
        if types.len() == before {
            let problem = PostedProblem::UnknownBase(Arc::clone(base));
            return Err(problem.at(format!("base[{at}]")));
        }
    }
    types.sort_unstable();
    types.dedup();
    Ok(Sound { kind, types })
}

/// Whether a definition says that it is to stand for another.
fn derives(definition: &SearchParameter, other: &SearchParameter) -> bool {
    let from = definition.derived_from.as_deref();
    from.is_some_and(|from| from.split_once('|').map_or(from, |(url, _)| url) == &*other.url)
}

/// Whether two definitions under one URL find the same.
fn says_the_same(one: &SearchParameter, other: &SearchParameter) -> bool {
    one.url == other.url
        && one.kind == other.kind
        && one.expression == other.expression
        && one.components == other.components
}
