//! Bodies in the format that was sent or asked for. Within, everything is JSON: XML is read when
//! it comes in and written when it goes out (FHIR R4, 2.6.1).

use bytes::Bytes;
use fhir_core::OperationOutcome;
use fhir_core::json::{Document, pretty};
use fhir_schema::Schema;
use fhir_xml::{Limits, Places, Style, to_json, to_xml};

use crate::error::ServerError;
use crate::large::{Turns, where_it_belongs};
use crate::negotiation::{Encoding, Format};

/// A body that was sent, as JSON; with where in the XML its values stood, where it was XML.
///
/// # Errors
/// [`ServerError::InvalidXml`].
pub(crate) fn as_json<'a>(
    body: &'a Bytes,
    encoding: Encoding,
    schema: &Schema,
) -> Result<(Bytes, Option<Places<'a>>), ServerError> {
    match encoding {
        Encoding::Json => Ok((body.clone(), None)),
        Encoding::Xml => match to_json(body, schema, &Limits::default()) {
            Ok(converted) => Ok((converted.json.into(), Some(converted.places))),
            Err(refused) => Err(ServerError::InvalidXml(refused.issues)),
        },
    }
}

/// A body of JSON in the format that was asked for, written where bodies of its length are worked
/// on: so not from within such work, which would wait for another turn while it has one.
///
/// # Errors
/// [`ServerError::NotWritableAsXml`]; [`ServerError::TooManyLarge`] when its turn does not come.
pub(crate) async fn in_format(
    schema: &'static Schema,
    json: Bytes,
    format: Format,
    turns: &Turns,
) -> Result<Bytes, ServerError> {
    if format.encoding() == Encoding::Json && !format.pretty {
        return Ok(json);
    }
    let length = json.len();
    let work = async move {
        match format.encoding() {
            Encoding::Json => Ok(as_pretty(json, format)),
            Encoding::Xml => as_xml(&json, schema, format),
        }
    };
    where_it_belongs(length, turns, work).await
}

/// An outcome in the format that was asked for.
pub(crate) fn outcome(outcome: &OperationOutcome, schema: &Schema, format: Format) -> Bytes {
    let mut json = outcome.to_json();
    if format.encoding() == Encoding::Xml {
        // Texts may repeat what was sent, and that may be what XML cannot hold.
        let mut outcome = outcome.clone();
        for issue in &mut outcome.issues {
            let texts = std::iter::once(&mut issue.diagnostics).chain(&mut issue.expression);
            for text in texts {
                *text = text.replace(|it| !fhir_xml::is_allowed(it), "\u{fffd}");
            }
        }
        json = outcome.to_json();
        match as_xml(&json, schema, format) {
            Ok(xml) => return xml,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an outcome is no XML");
            }
        }
    }
    as_pretty(json.into(), format)
}

fn as_pretty(json: Bytes, format: Format) -> Bytes {
    match format.pretty {
        true => pretty(&json).map_or(json, Bytes::from),
        false => json,
    }
}

fn as_xml(json: &[u8], schema: &Schema, format: Format) -> Result<Bytes, ServerError> {
    let document = Document::parse(json).map_err(|error| {
        tracing::error!(%error, "the body of an answer is no JSON");
        ServerError::Interrupted
    })?;
    let style = if format.pretty { Style::Pretty } else { Style::Compact };
    let xml = to_xml(document.root(), schema, style);
    xml.map(Bytes::from).map_err(ServerError::NotWritableAsXml)
}
