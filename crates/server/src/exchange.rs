//! One HTTP exchange: a request in, an answer out. Nothing here knows what an interaction does.
//!
//! `carry_out` has what is done in between, `response` how it is written.

mod carry_out;
mod response;
mod spans;
mod steps;

pub(crate) use carry_out::patches;
use carry_out::searches;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use contract::{Interaction, Nonce, header as contract_header};
use database::Rows;
use fhir_core::{Issue, OperationOutcome};
use fhir_schema::Schema;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, Request, StatusCode};

use self::carry_out::{carry_out, writes};
use self::response::{applied, set, write, write_error};
use self::steps::Stepped;
use crate::admission::{Admitted, NotAdmitted, admit};
use crate::audit::{self, Trail};
use crate::call::Answer;
use crate::error::ServerError;
use crate::interactions::history;
use crate::large::Turns;
use crate::negotiation::{self, Encoding, Format, Handling, Return, Spoken};
use crate::{Server, panics, representation, validation};

/// Answers whatever comes over the socket of requests.
pub(crate) async fn exchange(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Response {
    let started = server.clock.monotonic();
    let (head, body) = request.into_parts();
    let admitted = match admit(&server, &head) {
        Ok(admitted) => admitted,
        Err(error) => {
            server.metrics.not_admitted(&error);
            let (status, id) = (error.status(), request_id(&head));
            server.audit.not_admitted(status, id, &*server.clock).await;
            return refuse(&error, &head);
        }
    };
    let counted = server.metrics.begin(admitted.interaction.code());
    let nonce = admitted.grant.nonce.to_header();
    let schema = server.databases[&admitted.grant.tenant].schema();
    let rows = Rows::default();
    let trail = Trail::default();
    let failed = |error: &ServerError| write_error(error, Format::default(), &head, schema);
    let asked = (&admitted.grant, &admitted.interaction);
    let stepped = Stepped::of(&asked.0.rules, asked.1);
    let span = spans::begin(&server, &head, asked);
    let mut response = match server.audit.begin(asked, request_id(&head), &*server.clock) {
        // What cannot be written down is not done.
        Err(error) => failed(&error),
        Ok(audited) => {
            trail.begin(audited);
            let work = respond(&server, admitted, &head, body, (&rows, &trail));
            let answered = match &span {
                None => panics::caught(work).await,
                Some(span) => {
                    panics::caught(trace::under(Some(span.scope()), Box::pin(work))).await
                }
            };
            let response = answered.unwrap_or_else(|error| failed(&error));
            let ended = trail.end(&*server.clock, response.status()).await;
            ended.map_or_else(|error| failed(&error), |()| response)
        }
    };
    let taken = server.clock.monotonic().saturating_sub(started);
    let wait = stepped.wait(response.status(), taken);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    // The end of the step, and not what came before it, which could tell what is hidden.
    let whole = taken + wait;
    counted.end(response.status(), whole, rows.get());
    let micros = whole.as_micros();
    let cost = contract::Cost {
        rows: u32::try_from(rows.get()).unwrap_or(u32::MAX),
        micros: u32::try_from(micros).unwrap_or(u32::MAX),
    };
    if let Some(span) = span {
        spans::end(span, response.status(), &rows);
    }
    let headers = response.headers_mut();
    set(headers, HeaderName::from_static(contract_header::NONCE), &nonce);
    set(headers, HeaderName::from_static(contract_header::COST), &cost.to_header());
    response
}

/// Answers what the gateway's side does not vouch for, and closes the connection.
fn refuse(error: &NotAdmitted, head: &Parts) -> Response {
    let status = error.status();
    if let NotAdmitted::Expired { nonce, .. } = error {
        return refuse_expired((error, nonce), head);
    }
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

/// Answers a request whose grant came too late, as the one whom the gateway asked: the gateway is to
/// know that no stranger answers.
fn refuse_expired((error, nonce): (&NotAdmitted, &Nonce), head: &Parts) -> Response {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        request_id = request_id(head),
        "a request was not carried out"
    );
    let issue = Issue::error(
        fhir_core::IssueCode::Transient,
        "the request came too late to be carried out, or the clocks of this service differ; its \
         operator finds in the log which of the two",
    );
    let mut response = Response::new(Body::from(OperationOutcome::of(issue).to_json()));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, negotiation::FHIR_JSON);
    set(headers, CONNECTION, "close");
    set(headers, RETRY_AFTER, "1");
    set(headers, HeaderName::from_static(contract_header::NONCE), &nonce.to_header());
    response
}

fn request_id(head: &Parts) -> &str {
    let id = head.headers.get("x-request-id").and_then(|value| value.to_str().ok());
    id.unwrap_or_default()
}

async fn respond(
    server: &Arc<Server>,
    admitted: Admitted,
    head: &Parts,
    body: Body,
    (rows, trail): (&Rows, &Trail),
) -> Response {
    let query = head.uri.query().unwrap_or_default();
    let schema = server.databases[&admitted.grant.tenant].schema();
    let spoken = Spoken(schema.fhir_version());
    let wants_page = audit::wants_page(&admitted.interaction, &head.headers);
    let negotiated =
        negotiation::check_one_version(spoken, &head.headers, query).and_then(
            |()| match wants_page {
                true => Ok(Format::default()),
                false => negotiation::format(spoken, &head.headers, query),
            },
        );
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
    let turns = server.large.of(admitted.grant.lane);
    let carried_out = match understood {
        Ok(()) => {
            let asked = (preference, handling);
            carry_out(server, admitted, head, body, asked, (rows, trail)).await
        }
        Err(error) => Err(error),
    };
    let format = match &carried_out {
        Ok(_) => format.named_as_in(spoken, &head.headers, query),
        Err(_) => format,
    };
    let written = match carried_out {
        Ok(Answer { page: Some(page), .. }) if wants_page => {
            return response::page(page);
        }
        Ok(answer) => {
            // What is set apart is told whatever is preferred: it is not what was asked for.
            let is_set_apart = answer.status == StatusCode::ACCEPTED;
            let says = outcome_preferred || is_set_apart;
            let answer = if says { with_outcome(answer) } else { answer };
            in_format((schema, turns), answer, format, is_write).await
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
        Err(error) => {
            server.denials.keep(&error, head, server.clock.now());
            write_error(&error, format, head, schema)
        }
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

/// Whether the query says which resources are written.
fn has_criteria(interaction: &Interaction) -> bool {
    matches!(
        interaction,
        Interaction::ConditionalUpdate(_)
            | Interaction::ConditionalPatch(_)
            | Interaction::ConditionalDelete(_)
    )
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
        _ if has_criteria(interaction) => true,
        // A search has parameters of its own, and those of a form beside these.
        _ if searches(interaction) => true,
        name if history::PARAMETERS.contains(&name) => history,
        _ => false,
    };
    let unknown = negotiation::parameters(query).map(|(name, _)| name).find(|name| !known(name));
    unknown.map_or(Ok(()), |name| Err(ServerError::UnsupportedParameter(name)))
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use crate::large::{LARGE, where_it_belongs};

    fn format(query: &str) -> Format {
        negotiation::format(Spoken("4.0.1"), &HeaderMap::new(), query).unwrap()
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
