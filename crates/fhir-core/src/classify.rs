//! The URL grammar of the RESTful API (FHIR R4, 3.1.0 with the operation framework 3.2.0).
//!
//! Type names are syntax: whether a type exists, the server says. Queries are carried, not read:
//! only whether there is one counts, for it makes PUT, PATCH and DELETE on a type conditional.

use std::borrow::Cow;

use crate::{Instance, Interaction, Level, ResourceId, ResourceType};

/// The request is no FHIR request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFhir {
    /// A path with bad percent-encoding, an encoded slash, an empty or dot segment, or bytes that
    /// do not belong in a URL.
    #[error("the path or query is badly encoded")]
    BadEncoding,
    /// A URL of the right form whose id cannot be one.
    #[error("an id has 1 to 64 characters of A-Z a-z 0-9 - and .")]
    InvalidId,
    /// No URL of the API has this form.
    #[error("no such URL")]
    NoSuchUrl,
    /// The URL is one of the API's, with other methods.
    #[error("this URL takes {}", .allowed.join(", "))]
    MethodNotAllowed {
        /// The methods it takes: the value of `Allow`, joined by commas.
        allowed: Vec<&'static str>,
    },
}

impl NotFhir {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadEncoding | Self::InvalidId => 400,
            Self::NoSuchUrl => 404,
            Self::MethodNotAllowed { .. } => 405,
        }
    }
}

const GET: &str = "GET";
const POST: &str = "POST";

/// The interactions that a URL offers, each with its method.
type Offers = Vec<(&'static str, Interaction)>;

impl Interaction {
    /// What a request asks for. `path` is relative to the FHIR base, empty or beginning with a
    /// slash, and percent-encoded as received; it is decoded once. One slash may follow the base
    /// or a single segment, as the specification writes it (`[base]/[type]/`). HEAD is GET.
    ///
    /// # Errors
    /// [`NotFhir`]: 400, 404 or 405.
    pub fn classify(method: &str, path: &str, query: Option<&str>) -> Result<Self, NotFhir> {
        let query = query.unwrap_or_default();
        if query.chars().any(|char| char.is_control() || char == '#') {
            return Err(NotFhir::BadEncoding);
        }
        let segments = segments(path)?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let mut offers = offers(&segments, query)?;
        let method = if method == "HEAD" { GET } else { method };
        let Some(at) = offers.iter().position(|(offered, _)| *offered == method) else {
            let mut allowed: Vec<_> = offers.iter().map(|(method, _)| *method).collect();
            if allowed.first() == Some(&GET) {
                allowed.insert(1, "HEAD");
            }
            return Err(NotFhir::MethodNotAllowed { allowed });
        };
        Ok(offers.swap_remove(at).1)
    }
}

/// The table of URLs. GET stands first wherever it is offered.
fn offers(segments: &[&str], criteria: &str) -> Result<Offers, NotFhir> {
    use Interaction::{
        BatchOrTransaction, Capabilities, HistoryInstance, HistorySystem, HistoryType,
        SearchCompartment, SearchSystem, SearchType, Vread,
    };
    let &[first, ref rest @ ..] = segments else {
        let options = ("OPTIONS", Capabilities);
        return Ok(vec![(GET, SearchSystem), (POST, BatchOrTransaction), options]);
    };
    match segments {
        ["metadata"] => return Ok(vec![(GET, Capabilities), ("OPTIONS", Capabilities)]),
        ["_history"] => return Ok(vec![(GET, HistorySystem)]),
        ["_search"] => return Ok(vec![(POST, SearchSystem)]),
        [name] if name.starts_with('$') => return operation(name, Level::System),
        _ => {}
    }
    let of = resource_type(first)?;
    let &[id, ref rest @ ..] = rest else {
        return Ok(on_type(of, criteria));
    };
    match (id, rest) {
        ("_history", []) => return Ok(vec![(GET, HistoryType(of))]),
        ("_search", []) => return Ok(vec![(POST, SearchType(of))]),
        (name, []) if name.starts_with('$') => return operation(name, Level::Type(of)),
        _ => {}
    }
    let of = Instance { resource_type: of, id: resource_id(id)? };
    Ok(match rest {
        [] => on_instance(of),
        ["_history"] => vec![(GET, HistoryInstance(of))],
        ["_history", version] => vec![(GET, Vread(of, resource_id(version)?))],
        ["_history", version, name] => operation(name, Level::Version(of, resource_id(version)?))?,
        [name] if name.starts_with('$') => operation(name, Level::Instance(of))?,
        ["*"] => vec![(GET, SearchCompartment(of, None))],
        ["_search"] | ["*", "_search"] => vec![(POST, SearchCompartment(of, None))],
        [name] => vec![(GET, SearchCompartment(of, Some(resource_type(name)?)))],
        [name, "_search"] => vec![(POST, SearchCompartment(of, Some(resource_type(name)?)))],
        _ => return Err(NotFhir::NoSuchUrl),
    })
}

fn on_type(of: ResourceType, criteria: &str) -> Offers {
    use Interaction::{ConditionalDelete, ConditionalPatch, ConditionalUpdate, Create, SearchType};
    let mut offers = vec![(GET, SearchType(of.clone())), (POST, Create(of.clone()))];
    if !criteria.is_empty() {
        offers.push(("PUT", ConditionalUpdate(of.clone())));
        offers.push(("PATCH", ConditionalPatch(of.clone())));
        offers.push(("DELETE", ConditionalDelete(of)));
    }
    offers
}

fn on_instance(of: Instance) -> Offers {
    use Interaction::{Delete, Patch, Read, Update};
    let (read, update, patch) = (Read(of.clone()), Update(of.clone()), Patch(of.clone()));
    vec![(GET, read), ("PUT", update), ("PATCH", patch), ("DELETE", Delete(of))]
}

/// Whether an operation may be invoked by GET, its definition says, and so the server.
fn operation(name: &str, level: Level) -> Result<Offers, NotFhir> {
    let name = name.parse().map_err(|_| NotFhir::NoSuchUrl)?;
    let operation = Interaction::Operation(name, level);
    Ok(vec![(GET, operation.clone()), (POST, operation)])
}

fn resource_type(text: &str) -> Result<ResourceType, NotFhir> {
    ResourceType::new(text).map_err(|_| NotFhir::NoSuchUrl)
}

fn resource_id(text: &str) -> Result<ResourceId, NotFhir> {
    ResourceId::new(text).map_err(|_| NotFhir::InvalidId)
}

fn segments(path: &str) -> Result<Vec<Cow<'_, str>>, NotFhir> {
    if path.is_empty() || path == "/" {
        return Ok(Vec::new());
    }
    let path = path.strip_prefix('/').ok_or(NotFhir::BadEncoding)?;
    let alone = path.strip_suffix('/').filter(|first| !first.contains('/'));
    alone.unwrap_or(path).split('/').map(decode).collect()
}

/// One segment, its percent-encoding undone once.
fn decode(segment: &str) -> Result<Cow<'_, str>, NotFhir> {
    let foreign = |byte: u8| !byte.is_ascii_graphic() || b"?#\\".contains(&byte);
    if segment.is_empty() || segment.bytes().any(foreign) {
        return Err(NotFhir::BadEncoding);
    }
    let mut parts = segment.split('%');
    let mut decoded = Cow::Borrowed(parts.next().unwrap_or_default());
    if decoded.len() < segment.len() {
        let mut bytes = decoded.into_owned().into_bytes();
        for part in parts {
            let digits = part
                .get(..2)
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let digits = digits.ok_or(NotFhir::BadEncoding)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| NotFhir::BadEncoding)?);
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        decoded = Cow::Owned(String::from_utf8(bytes).map_err(|_| NotFhir::BadEncoding)?);
    }
    let splits = |char: char| char.is_control() || char == '/' || char == '\\';
    if decoded == "." || decoded == ".." || decoded.contains(splits) {
        return Err(NotFhir::BadEncoding);
    }
    Ok(decoded)
}
