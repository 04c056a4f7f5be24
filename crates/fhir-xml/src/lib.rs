//! FHIR's XML format (FHIR R4, 2.6.1) to JSON and back.
//!
//! [`to_json`] gives JSON text, which `fhir_core::json` then reads like any other, and a map from
//! its values to lines of the XML. [`to_xml`] and [`write()`] give XML. Both are driven by the
//! table of elements in `fhir_schema` alone: the same code serves every FHIR version.
//!
//! Numbers keep their digits, strings every character, the narrative its bytes. A DOCTYPE, and
//! with it every entity of one's own, is refused. What the two formats cannot both say is an
//! issue with its place, its element and the way to mend it; whether the content keeps FHIR's
//! rules is validation, and not asked here.

mod attributes;
mod encoding;
mod error;
mod escape;
mod groups;
mod namespaces;
mod narrative;
mod path;
mod places;
mod read;
mod tokens;
mod write;

pub use encoding::is_allowed;
pub use error::{XmlIssue, XmlProblem};
pub use places::Places;
pub use read::{Converted, HtmlEntities, Limits, Refused, to_json};
pub use write::{Style, WriteError, to_xml, write};
