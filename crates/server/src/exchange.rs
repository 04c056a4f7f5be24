//! One HTTP exchange: a request in, an answer out. Nothing here knows what an interaction does.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use contract::{Interaction, header as contract_header};
use database::Idempotency;
use fhir_core::json::Document;
use fhir_core::{Issue, Lines, OperationOutcome, Resource};
use fhir_schema::Schema;
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use crate::admission::{Admitted, NotAdmitted, admit};
use crate::call::{Answer, Call, Conditions};
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::holding::HeldBody;
use crate::idempotency::Turn;
use crate::interactions::{history, validate};
use crate::large::{LARGE, SMALL, Turns, where_it_belongs};
use crate::negotiation::{self, Encoding, Format, Handling, Return, SentAs, Spoken};
use crate::validation::Sent;
use crate::{Server, bundle, dispatch, idempotency, panics, representation, validation};

/// Answers whatever comes over the socket of requests.
pub(crate) async fn exchange(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Response {
    let started = server.clock.monotonic();
    let (head, body) = request.into_parts();
    let admitted = match admit(&server, &head) {
        Ok(admitted) => admitted,
        Err(error) => return refuse(&error, &head),
    };
    let nonce = admitted.grant.nonce.to_header();
    let schema = server.databases[&admitted.grant.tenant].schema();
    let answered = panics::caught(respond(&server, admitted, &head, body)).await;
    let mut response =
        answered.unwrap_or_else(|error| write_error(&error, Format::default(), &head, schema));
    let micros = (server.clock.monotonic().saturating_sub(started)).as_micros();
    let cost = contract::Cost { rows: 0, micros: u32::try_from(micros).unwrap_or(u32::MAX) };
    let headers = response.headers_mut();
    set(headers, HeaderName::from_static(contract_header::NONCE), &nonce);
    set(headers, HeaderName::from_static(contract_header::COST), &cost.to_header());
    response
}

/// Answers what the gateway's side does not vouch for, and closes the connection.
fn refuse(error: &NotAdmitted, head: &Parts) -> Response {
    let status = error.status();
    tracing::warn!(
        target: "hearthgate::security",
        error = error as &dyn std::error::Error,
        request_id = request_id(head),
        status = status.as_u16(),
        "a request without the gateway's word was refused"
    );
    let issue = Issue::error(
        fhir_core::IssueCode::Forbidden,
        "this socket answers Hearthgate's gateway alone; send requests to the gateway",
    );
    let mut response = Response::new(Body::from(OperationOutcome::of(issue).to_json()));
    *response.status_mut() = status;
    set(response.headers_mut(), CONTENT_TYPE, negotiation::FHIR_JSON);
    set(response.headers_mut(), CONNECTION, "close");
    response
}

fn request_id(head: &Parts) -> &str {
    let id = head.headers.get("x-request-id").and_then(|value| value.to_str().ok());
    id.unwrap_or_default()
}

async fn respond(server: &Arc<Server>, admitted: Admitted, head: &Parts, body: Body) -> Response {
    let query = head.uri.query().unwrap_or_default();
    let schema = server.databases[&admitted.grant.tenant].schema();
    let spoken = Spoken(schema.fhir_version());
    let negotiated = negotiation::check_one_version(spoken, &head.headers, query)
        .and_then(|()| negotiation::format(spoken, &head.headers, query));
    let format = negotiated.as_ref().copied().unwrap_or_default();
    let (preferred, handling) = negotiation::preference(&head.headers);
    // What to return is asked of writes (FHIR R4, 3.1.0.6); a read returns what it reads.
    let preference = if writes(&admitted.interaction) { preferred } else { Return::Default };
    // A Bundle's answer says of each entry what an outcome would say of the whole.
    let outcome_preferred = preference == Return::OperationOutcome
        && admitted.interaction != Interaction::BatchOrTransaction;
    let understood = negotiated.and_then(|_| match handling {
        Handling::Strict => known_parameters(&admitted.interaction, query),
        Handling::Lenient => Ok(()),
    });
    let is_write = writes(&admitted.interaction);
    let carried_out = match understood {
        Ok(()) => carry_out(server, admitted, head, body, preference).await,
        Err(error) => Err(error),
    };
    let format = match &carried_out {
        Ok(_) => format.named_as_in(spoken, &head.headers, query),
        Err(_) => format,
    };
    let written = match carried_out {
        Ok(answer) => {
            // What is set apart is told whatever is preferred: it is not what was asked for.
            let is_set_apart = answer.status == StatusCode::ACCEPTED;
            let says = outcome_preferred || is_set_apart;
            let answer = if says { with_outcome(answer) } else { answer };
            in_format((schema, &server.large), answer, format, is_write).await
        }
        Err(error) => Err(error),
    };
    match written {
        Ok((answer, format)) => {
            let is_set_apart = answer.status == StatusCode::ACCEPTED;
            let mut response = write(server, answer, format);
            if outcome_preferred || (preference != Return::OperationOutcome && !is_set_apart) {
                applied(response.headers_mut(), preference);
            }
            response
        }
        Err(error) => write_error(&error, format, head, schema),
    }
}

/// The answer with its body in the format asked for, and the format it is in.
///
/// # Errors
/// When the body cannot be written so, or not now. What was done is answered as plain JSON then:
/// an error would say that it was not.
async fn in_format(
    (schema, turns): (&'static Schema, &Turns),
    answer: Answer,
    format: Format,
    is_write: bool,
) -> Result<(Answer, Format), ServerError> {
    let Some(json) = answer.body.clone() else { return Ok((answer, format)) };
    match representation::in_format(schema, json, format, turns).await {
        Ok(body) => Ok((Answer { body: Some(body), ..answer }, format)),
        Err(_) if is_write && format.encoding() == Encoding::Json => Ok((answer, format)),
        Err(_) if is_write => Ok((answer, Format::default())),
        Err(error) => Err(error),
    }
}

async fn carry_out(
    server: &Arc<Server>,
    admitted: Admitted,
    head: &Parts,
    body: Body,
    preference: Return,
) -> Result<Answer, ServerError> {
    let Admitted { grant, interaction } = admitted;
    let invoked = matches!(interaction, Interaction::Operation(..));
    // An operation takes its parameters from the query of a GET, or from a body.
    let body = if takes_body(&interaction) || (invoked && head.method == http::Method::POST) {
        // What is denied whatever the body says is denied before a byte of it is read.
        if let contract::Decision::Deny(reason) = contract::decide(&grant, &interaction) {
            return Err(ServerError::Denied(reason));
        }
        let spoken = Spoken(server.databases[&grant.tenant].schema().fhir_version());
        Some(read_body(server, (spoken, &interaction), head, body).await?)
    } else {
        None
    };
    let length = body.as_ref().map_or(0, |(body, _)| body.bytes.len());
    // How long an operation takes, its parameters do not say, no patch how long a resource it is
    // for, and no body how long profiles do.
    let says_little = invoked
        || patches(&interaction)
        || (length > 0 && server.validations[&grant.tenant].is_deep())
        || (interaction == Interaction::BatchOrTransaction
            && body.as_ref().is_some_and(|(body, _)| names_patch(&body.bytes)));
    let length = if says_little { length.max(SMALL + 1) } else { length };
    // What is patched may be as large as a resource may be, several times in memory.
    let length = if patches(&interaction) { length.max(LARGE + 1) } else { length };
    let server = Arc::clone(server);
    let database = Arc::clone(&server.databases[&grant.tenant]);
    let query = head.uri.query().unwrap_or_default().to_owned();
    let conditions = conditions(&head.headers);
    let languages = text_of(&head.headers, ACCEPT_LANGUAGE.as_str());
    let named = if writes(&interaction) && head.headers.contains_key(idempotency::HEADER) {
        idempotency::named(head, &grant)?
    } else {
        None
    };
    let request_id = request_id(head).to_owned();
    let turns = server.large.clone();
    // On the heap: it would be copied with every future around it.
    let work = Box::pin(async move {
        let all = body.as_ref().map_or(&[][..], |(body, _)| &body.bytes);
        let named = named.map(|named| named.with_body(all));
        let accept_language = languages.as_deref();
        let call = Call {
            server: &server,
            database: &database,
            grant: &grant,
            interaction,
            query: &query,
            conditions,
            resource: None,
            json_patch: None,
            preference,
            accept_language,
            named: None,
            sent: Sent::Stored,
            original: None,
            request_id: &request_id,
        };
        let Some((body, sent_as)) = &body else {
            return perform(call, named).await;
        };
        let SentAs::Resource(encoding) = *sent_as else {
            let document = Document::parse(&body.bytes).map_err(ServerError::InvalidJson)?;
            return perform(Call { json_patch: Some(document.root()), ..call }, named).await;
        };
        let json = representation::as_json(&body.bytes, encoding, database.schema());
        let (bytes, places) = match json {
            Err(ServerError::InvalidXml(issues)) => return validate::without_json(&call, issues),
            json => json?,
        };
        let lines = Lines::new();
        let sent = places.as_ref().map_or(Sent::Json(&bytes, &lines), Sent::Xml);
        if call.interaction == Interaction::BatchOrTransaction {
            // The largest by far, and the rarest.
            return Box::pin(bundle::bundle(
                &server,
                &database,
                &grant,
                (&bytes, sent),
                (preference, accept_language, call.request_id),
                named,
            ))
            .await;
        }
        let document = Document::parse(&bytes).map_err(ServerError::InvalidJson)?;
        let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
        let original = Some((&body.bytes[..], encoding));
        perform(Call { resource: Some(resource), sent, original, ..call }, named).await
    });
    where_it_belongs(length, &turns, work).await
}

/// Carries the call out; one that its client named, once.
async fn perform(call: Call<'_>, named: Option<Idempotency>) -> Result<Answer, ServerError> {
    match named {
        None => dispatch::dispatch(call).await,
        Some(request) => Box::pin(once(call, request)).await,
    }
}

async fn once(call: Call<'_>, request: Idempotency) -> Result<Answer, ServerError> {
    for _ in 0..idempotency::TRIES {
        let done = match idempotency::turn((call.server, call.database), &request).await? {
            Turn::Replay(answered) => return idempotency::answer(&call, &answered).await,
            Turn::Perform(named) => {
                dispatch::dispatch(Call { named: Some(&named), ..call.clone() }).await
            }
        };
        if !idempotency::came_between(&done) {
            return done;
        }
    }
    Err(ServerError::Contended)
}

fn writes(interaction: &Interaction) -> bool {
    takes_body(interaction) || matches!(interaction, Interaction::Delete(_))
}

fn takes_body(interaction: &Interaction) -> bool {
    matches!(
        interaction,
        Interaction::Create(_) | Interaction::Update(_) | Interaction::BatchOrTransaction
    ) || patches(interaction)
}

pub(crate) fn patches(interaction: &Interaction) -> bool {
    matches!(interaction, Interaction::Patch(_) | Interaction::ConditionalPatch(_))
}

/// With `Prefer: handling=strict`, parameters that mean nothing here are errors (HTTP-026).
fn known_parameters(interaction: &Interaction, query: &str) -> Result<(), ServerError> {
    let history = matches!(
        interaction,
        Interaction::HistoryInstance(_) | Interaction::HistoryType(_) | Interaction::HistorySystem
    );
    let known = |name: &str| match name {
        "_format" | "_pretty" => true,
        "mode" => *interaction == Interaction::Capabilities,
        // An operation judges its own parameters, whatever is preferred, and so do criteria.
        _ if matches!(interaction, Interaction::Operation(..)) => true,
        _ if matches!(interaction, Interaction::ConditionalPatch(_)) => true,
        name if history::PARAMETERS.contains(&name) => history,
        _ => false,
    };
    let unknown = negotiation::parameters(query).map(|(name, _)| name).find(|name| !known(name));
    unknown.map_or(Ok(()), |name| Err(ServerError::UnsupportedParameter(name)))
}

/// Whether a short Bundle may have an entry that patches. What is escaped may say anything.
fn names_patch(bundle: &[u8]) -> bool {
    let escapes = |byte: &u8| matches!(byte, b'\\' | b'&');
    bundle.len() <= SMALL
        && (bundle.windows(5).any(|part| part == b"PATCH") || bundle.iter().any(escapes))
}

async fn read_body(
    server: &Server,
    (spoken, interaction): (Spoken, &Interaction),
    head: &Parts,
    body: Body,
) -> Result<(HeldBody, SentAs), ServerError> {
    if let Some(coding) = head.headers.get(CONTENT_ENCODING)
        && coding != "identity"
    {
        let coding = String::from_utf8_lossy(coding.as_bytes()).into_owned();
        return Err(ServerError::ContentCodingNotSupported(coding));
    }
    let limit = server.limits.body_bytes;
    let length = head.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(ServerError::BodyTooLong { limit });
    }
    let body = server.holding.read(body, limit, &*server.clock).await?;
    let begins = body.bytes.first().copied();
    let sent_as = if patches(interaction) {
        negotiation::patch_sent(spoken, &head.headers, begins)?
    } else {
        SentAs::Resource(negotiation::content_encoding(spoken, &head.headers, begins)?)
    };
    if body.bytes.is_empty() {
        return Err(ServerError::BodyMissing);
    }
    Ok((body, sent_as))
}

/// The lines of a header as one.
fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let lines: Vec<_> =
        lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
    Some(lines.join(", "))
}

fn conditions(headers: &HeaderMap) -> Conditions {
    let text = |name: &str| text_of(headers, name);
    Conditions {
        if_match: text(IF_MATCH.as_str()),
        if_none_match: text(IF_NONE_MATCH.as_str()),
        if_modified_since: text(IF_MODIFIED_SINCE.as_str()),
        if_none_exist: text("if-none-exist"),
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(error) => tracing::error!(%error, %name, "a header could not be written"),
    }
}

/// The answer with an OperationOutcome in its body (`Prefer: return=OperationOutcome`).
fn with_outcome(answer: Answer) -> Answer {
    let body = if answer.told.is_empty() {
        Bytes::from(OperationOutcome::of(Issue::information("done as asked")).to_json())
    } else {
        validation::outcome(answer.told.clone())
    };
    let status = match answer.status {
        // What has a body cannot say that it has none.
        StatusCode::NO_CONTENT => StatusCode::OK,
        status => status,
    };
    Answer { status, body: Some(body), ..answer }
}

fn write(server: &Server, answer: Answer, format: Format) -> Response {
    let mut response = with_body(answer.status, answer.body, format);
    let headers = response.headers_mut();
    if let Some((version, instant)) = answer.version {
        set(headers, ETAG, &format!("W/\"{version}\""));
        set(headers, LAST_MODIFIED, &http_date(instant));
    }
    if let Some(location) = answer.location {
        set(headers, LOCATION, &format!("{}/{location}", server.base.as_str()));
    }
    response
}

/// Says which preference was followed (RFC 7240, 3).
fn applied(headers: &mut HeaderMap, preference: Return) {
    let text = match preference {
        Return::Default => return,
        Return::Minimal => "return=minimal",
        Return::Representation => "return=representation",
        Return::OperationOutcome => "return=OperationOutcome",
    };
    let name = HeaderName::from_static("preference-applied");
    headers.insert(name, HeaderValue::from_static(text));
}

fn http_date(instant: fhir_core::Instant) -> String {
    let seconds = u64::try_from(instant.as_seconds()).unwrap_or(0);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

fn write_error(error: &ServerError, format: Format, head: &Parts, schema: &Schema) -> Response {
    let answer = ErrorAnswer::of(error);
    if answer.is_our_fault() {
        tracing::error!(
            error = error as &dyn std::error::Error,
            request_id = request_id(head),
            "a request failed by our fault"
        );
    }
    let body = representation::outcome(&answer.outcome, schema, format);
    let mut response = with_body(answer.status, Some(body), format);
    let headers = response.headers_mut();
    if let Some(seconds) = answer.retry_after {
        set(headers, RETRY_AFTER, &seconds.to_string());
    }
    if let Some(version) = answer.deleted {
        set(headers, ETAG, &format!("W/\"{version}\""));
    }
    response
}

/// More headers than any answer has, those that its connection adds included.
const HEADERS: usize = 12;

fn with_body(status: StatusCode, body: Option<Bytes>, format: Format) -> Response {
    let written = body.is_some();
    let mut response = Response::new(body.map_or_else(Body::empty, Body::from));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Room for all that an answer has, found once.
    headers.reserve(HEADERS);
    if written {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers
        .insert(VARY, HeaderValue::from_static("Accept, Accept-Language, Prefer, Authorization"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::large::LARGE;

    fn format(query: &str) -> Format {
        negotiation::format(Spoken("4.0.1"), &HeaderMap::new(), query).unwrap()
    }

    #[test]
    fn what_may_patch_is_known_whatever_is_escaped() {
        for names in ["\"PATCH\"", r#""P\u0041TCH""#, "<method value=\"&#80;ATCH\"/>"] {
            assert!(names_patch(names.as_bytes()), "{names}");
        }
        assert!(!names_patch(br#"{"method":"PUT","url":"Patient/1"}"#));
    }

    /// A large Binary, as a read or a write answers it.
    fn answer() -> Answer {
        let data = "QUJD".repeat(LARGE / 4);
        Answer::of(format!(
            "{{\"resourceType\":\"Binary\",\"contentType\":\"text/plain\",\"data\":\"{data}\"}}"
        ))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_large_answer_is_written_in_its_turn_and_a_write_is_answered_without_one() {
        let turns = Turns::of(1, Duration::from_millis(50));
        let ((begun, begins), (end, ends)) = (tokio::sync::oneshot::channel(), channel::<()>());
        let busy = where_it_belongs(LARGE + 1, &turns, async move {
            begun.send(()).unwrap();
            // It uses a processor, as far as its turn is concerned.
            ends.recv().map_err(|_| ServerError::Interrupted)
        });
        let while_busy = async {
            begins.await.unwrap();
            let with = (Schema::r4(), &turns);
            for query in ["_pretty=true", "_format=xml", "_format=xml&_pretty=true"] {
                let asked = format(query);
                let read = in_format(with, answer(), asked, false).await;
                assert!(matches!(read, Err(ServerError::TooManyLarge)), "{query}");
                let (written, format) = in_format(with, answer(), asked, true).await.unwrap();
                assert_eq!(format.encoding(), Encoding::Json, "{query}");
                assert!(written.body == answer().body, "{query}");
            }
            let (plain, _) = in_format(with, answer(), format(""), false).await.unwrap();
            assert!(plain.body == answer().body);
            end.send(()).unwrap();
        };
        let (done, ()) = tokio::join!(busy, while_busy);
        done.unwrap();
        let xml = in_format((Schema::r4(), &turns), answer(), format("_format=xml"), true).await;
        let (written, format) = xml.unwrap();
        assert_eq!(format.encoding(), Encoding::Xml);
        let xml = written.body.unwrap();
        assert!(xml.starts_with(b"<") && xml.ends_with(b"</Binary>"));
    }
}
