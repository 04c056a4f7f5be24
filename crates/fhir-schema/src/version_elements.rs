//! Which elements the published FHIR versions have, from DSTU2 on: paths alone, nothing of what
//! an element holds. That is what extensions across versions are judged by (FHIR R4, "Extensions
//! for converting between versions").
//!
//! The file has a header as [`crate::compiled`] has it, of which each text is a list with an entry
//! for each version, then one zstd frame:
//!
//! ```text
//! number of versions
//!   release                               string: 3.0
//!   number of types
//!     name                                string
//!     number of elements
//!       depth, name, content reference    number and two strings, the last empty for none
//! ```
//!
//! An element stands after its parent. The same elements give the same bytes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::LazyLock;

use crate::SchemaError;
use crate::compiled::{Reader, pack, put_number, put_string, unpack};
use crate::definitions::{Source, TypeDefinition, TypeKind};

/// The one format that is written and read.
pub const FORMAT: u16 = 1;

const MAGIC: &[u8; 8] = b"HGELEMNT";

/// Compiled by `cargo xtask elements`.
static FILE: &[u8] = include_bytes!("../definitions/elements-of-versions.zst");

static VERSIONS: LazyLock<Vec<VersionElements>> = LazyLock::new(|| {
    decode(FILE).map(|(_, versions)| versions).expect(
        "the elements built in were written by `version_elements::encode`, and a test reads them",
    )
});

/// What is not carried as an element of its own.
const OF_EVERY_ELEMENT: &[&str] = &["id", "extension", "modifierExtension"];

/// The elements of the resource types and complex datatypes of one FHIR version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionElements {
    release: Box<str>,
    /// By path, a choice without its `[x]`.
    elements: BTreeMap<Box<str>, VersionElement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct VersionElement {
    is_choice: bool,
    /// The path of the element whose children are this one's.
    content_reference: Option<Box<str>>,
}

/// The elements of a version that is built in, by its release: `1.0` (DSTU2), `3.0` (STU3), `4.0`,
/// `4.3` (R4B) or `5.0`. They are unpacked when first asked for.
#[must_use]
pub fn of_release(release: &str) -> Option<&'static VersionElements> {
    VERSIONS.iter().find(|it| &*it.release == release)
}

impl VersionElements {
    /// The elements of a version's types. Primitive types are left out.
    ///
    /// # Errors
    /// [`SchemaError::Element`] for an element without its parent or with the content of one that
    /// is not there.
    pub fn new(release: &str, types: &[TypeDefinition]) -> Result<Self, SchemaError> {
        let mut elements: BTreeMap<Box<str>, VersionElement> = BTreeMap::new();
        let mut type_names = Vec::new();
        for definition in types.iter().filter(|it| it.kind != TypeKind::Primitive) {
            type_names.push(&*definition.name);
            for element in &definition.elements {
                let (path, is_choice) = without_choice(&element.path);
                let content_reference = element.content_reference.clone();
                elements.insert(path.into(), VersionElement { is_choice, content_reference });
            }
        }
        let damaged = |path: &str, problem| SchemaError::Element { path: path.to_owned(), problem };
        for (path, element) in &elements {
            let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
            if !elements.contains_key(parent) && !type_names.contains(&parent) {
                return Err(damaged(path, "has no parent"));
            }
            if element.content_reference.as_ref().is_some_and(|it| !elements.contains_key(it)) {
                return Err(damaged(path, "has the content of an element that is not there"));
            }
        }
        Ok(Self { release: release.into(), elements })
    }

    /// `3.0`.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// How many elements there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.elements.len()
    }

    /// Whether a type of this version has an element, by the path of its definition. A choice may
    /// be written with or without `[x]`, not by one of its types.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let (path, is_choice) = without_choice(path);
        self.elements.get(path).is_some_and(|it| it.is_choice || !is_choice)
    }

    /// The path that defines what an element holds: that of another one where the definition
    /// refers to it (`Questionnaire.item` for `Questionnaire.item.item`), else its own.
    #[must_use]
    pub fn content<'a>(&'a self, path: &'a str) -> &'a str {
        let element = self.elements.get(path);
        element.and_then(|it| it.content_reference.as_deref()).unwrap_or(path)
    }

    /// The names of the elements that stand within an element by its own definition, sorted,
    /// choices without `[x]`, but for `id`, `extension` and `modifierExtension`. There are none
    /// where a datatype says what the element holds.
    #[must_use]
    pub fn children(&self, path: &str) -> Vec<&str> {
        let parent = format!("{}.", self.content(path));
        let from = (Bound::Included(&*parent), Bound::Unbounded);
        let below = self.elements.range::<str, _>(from);
        below
            .map_while(|(path, _)| path.strip_prefix(&*parent))
            .filter(|name| !name.contains('.') && !OF_EVERY_ELEMENT.contains(name))
            .collect()
    }
}

/// A path without `[x]`, and whether it had that.
fn without_choice(path: &str) -> (&str, bool) {
    path.strip_suffix("[x]").map_or((path, false), |path| (path, true))
}

/// Writes the elements of versions.
///
/// # Errors
/// [`SchemaError::Compression`] when the compressor fails.
pub fn encode(source: &Source, versions: &[VersionElements]) -> Result<Vec<u8>, SchemaError> {
    let mut body = Vec::new();
    put_number(&mut body, versions.len());
    for version in versions {
        put_string(&mut body, &version.release);
        let mut types: BTreeMap<&str, Vec<(&str, &VersionElement)>> = BTreeMap::new();
        for (path, element) in &version.elements {
            let (type_name, below) = path.split_once('.').unwrap_or((path, ""));
            types.entry(type_name).or_default().push((below, element));
        }
        put_number(&mut body, types.len());
        for (type_name, elements) in types {
            put_string(&mut body, type_name);
            put_number(&mut body, elements.len());
            for (below, element) in elements {
                put_number(&mut body, below.matches('.').count());
                let name = below.rsplit_once('.').map_or(below, |(_, name)| name);
                let choice = if element.is_choice { "[x]" } else { "" };
                put_string(&mut body, &format!("{name}{choice}"));
                put_string(&mut body, element.content_reference.as_deref().unwrap_or_default());
            }
        }
    }
    pack(MAGIC, FORMAT, source, &body)
}

/// Reads the elements of versions, and where they come from.
///
/// # Errors
/// [`SchemaError::Damaged`] or [`SchemaError::UnknownFormat`].
pub fn decode(file: &[u8]) -> Result<(Source, Vec<VersionElements>), SchemaError> {
    let (source, body) = unpack(MAGIC, FORMAT, file)?;
    let mut reader = Reader { rest: &body };
    let versions = reader.many(|reader| {
        let release = reader.string()?;
        let mut elements = BTreeMap::new();
        for _ in 0..reader.number()? {
            read_type(reader, &mut elements)?;
        }
        Ok(VersionElements { release, elements })
    })?;
    match reader.rest {
        [] => Ok((source, versions)),
        _ => Err(SchemaError::Damaged("it goes on after its end")),
    }
}

fn read_type(
    reader: &mut Reader<'_>,
    elements: &mut BTreeMap<Box<str>, VersionElement>,
) -> Result<(), SchemaError> {
    // The path to the element before, as the end of each of its parts.
    let mut path = reader.string()?.into_string();
    let mut ends = vec![path.len()];
    for _ in 0..reader.number()? {
        let depth = reader.number()?;
        if depth >= ends.len() {
            return Err(SchemaError::Damaged("an element stands before its parent"));
        }
        ends.truncate(depth + 1);
        path.truncate(ends[depth]);
        let name = reader.string()?;
        let (name, is_choice) = without_choice(&name);
        path.push('.');
        path.push_str(name);
        ends.push(path.len());
        let content_reference = Some(reader.string()?).filter(|it| !it.is_empty());
        elements.insert(path.as_str().into(), VersionElement { is_choice, content_reference });
    }
    Ok(())
}
