//! What a reference points at, by its text (FHIR R4 2.3.0.1 and 3.1.1.5.5).

use std::borrow::Cow;

use fhir_core::{ResourceId, ResourceType};

use super::Token;

/// The value of a reference parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// What its text points at.
    pub target: ReferenceTarget<'a>,
    /// Reference.identifier, which `:identifier` searches.
    pub identifier: Option<Box<Token<'a>>>,
    /// Reference.display, which `:text` searches.
    pub display: Option<Cow<'a, str>>,
}

/// What the text of a reference points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceTarget<'a> {
    /// A resource of this server: `Type/id`, or an absolute URL below the server's own base.
    Local {
        /// The type.
        resource_type: Cow<'a, str>,
        /// The id.
        id: Cow<'a, str>,
        /// The version, where the reference names one.
        version: Option<Cow<'a, str>>,
    },
    /// An absolute URL of elsewhere, a URN, or whatever else is no reference of another form: it
    /// is found by its whole text alone.
    Url(Cow<'a, str>),
    /// A canonical URL.
    Canonical {
        /// The URL, without version and fragment.
        url: Cow<'a, str>,
        /// The business version after `|`.
        version: Option<Cow<'a, str>>,
    },
    /// A contained resource, by its id, or with an empty one the container: no search for an id
    /// finds it.
    Contained(Cow<'a, str>),
    /// Nothing: there is an identifier or a display alone.
    Logical,
}

/// `base/Type/id/_history/version`, cut up.
struct Parts<'t> {
    /// Empty for a relative reference, else with its last slash.
    base: &'t str,
    resource_type: &'t str,
    id: &'t str,
    version: Option<&'t str>,
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (rest, version) = match text.rsplit_once("/_history/") {
        Some((rest, version)) => (rest, Some(version).filter(|it| ResourceId::is_valid(it))),
        None => (text, None),
    };
    let (before, id) = rest.rsplit_once('/')?;
    let start = before.rfind('/').map_or(0, |at| at + 1);
    let (base, resource_type) = before.split_at(start);
    let is_target = ResourceType::is_valid(resource_type) && ResourceId::is_valid(id);
    let is_absolute = base.contains("://");
    (is_target && (base.is_empty() || is_absolute)).then_some(Parts {
        base,
        resource_type,
        id,
        version,
    })
}

/// The type that the text of a reference names, if it names one.
#[must_use]
pub fn type_of_reference(text: &str) -> Option<&str> {
    parts(text).map(|parts| parts.resource_type)
}

/// A part of a text that is kept as long as the text is.
fn part_of<'a>(text: &Cow<'a, str>, part: &str) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(whole) => {
            let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
            match whole.get(start..start.wrapping_add(part.len())) {
                Some(part) => Cow::Borrowed(part),
                None => Cow::Owned(part.to_owned()),
            }
        }
        Cow::Owned(_) => Cow::Owned(part.to_owned()),
    }
}

impl<'a> ReferenceTarget<'a> {
    /// Reads Reference.reference. `base` is the server's own base URL without its last slash, if
    /// absolute references to it are to be known.
    #[must_use]
    pub fn of_reference(text: Cow<'a, str>, base: Option<&str>) -> Self {
        if let Some(id) = text.strip_prefix('#') {
            return Self::Contained(part_of(&text, id));
        }
        let is_own = |parts: &Parts<'_>| {
            parts.base.is_empty()
                || base.is_some_and(|base| parts.base.strip_suffix('/') == Some(base))
        };
        match parts(&text).filter(is_own) {
            Some(Parts { resource_type, id, version, .. }) => Self::Local {
                resource_type: part_of(&text, resource_type),
                id: part_of(&text, id),
                version: version.map(|it| part_of(&text, it)),
            },
            None => Self::Url(text),
        }
    }

    /// Reads a canonical, as FHIR R4 2.24.0.1 has it: `url|version#fragment`.
    #[must_use]
    pub fn of_canonical(text: Cow<'a, str>) -> Self {
        if let Some(id) = text.strip_prefix('#') {
            return Self::Contained(part_of(&text, id));
        }
        let whole = text.split_once('#').map_or(&*text, |(before, _)| before);
        let (url, version) = match whole.split_once('|') {
            Some((url, version)) => (url, Some(version).filter(|it| !it.is_empty())),
            None => (whole, None),
        };
        Self::Canonical { url: part_of(&text, url), version: version.map(|it| part_of(&text, it)) }
    }
}
