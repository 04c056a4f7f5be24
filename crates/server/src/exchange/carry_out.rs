//! A request that was admitted and understood is carried out: its body read, its conditions
//! gathered, and the call given to the interaction, on the threads where its work belongs.
//!
//! How the answer is written, and what an error is over HTTP, is not said here.

use std::sync::Arc;

use axum::body::Body;
use contract::{Decision, Grant, Interaction};
use database::{Abandoned, Idempotency, Rows};
use fhir_core::json::Document;
use fhir_core::{Lines, Resource};
use fhir_search::MalformedForm;
use http::HeaderMap;
use http::header::{
    ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
};
use http::request::Parts;

use super::request_id;
use crate::admission::Admitted;
use crate::audit::{self, Trail};
use crate::call::{Answer, Call, Conditions};
use crate::error::ServerError;
use crate::holding::HeldBody;
use crate::idempotency::Turn;
use crate::interactions::{operation, validate};
use crate::large::{
    LARGE, SMALL, Waited, told_who_left, while_it_is_waited_for, whoever_waits_for_it,
};
use crate::negotiation::{self, Handling, Return, SentAs, Spoken};
use crate::validation::Sent;
use crate::{Server, bundle, dispatch, idempotency, representation, revocations};

/// Carries out what is asked and returns what to answer.
///
/// # Errors
/// Whatever keeps it from being done, from a denial to a body that cannot be read.
pub(super) async fn carry_out(
    server: &Arc<Server>,
    admitted: Admitted,
    head: &Parts,
    body: Body,
    (preference, handling): (Return, Handling),
    (rows, trail): (&Rows, &Trail),
) -> Result<Answer, ServerError> {
    let Admitted { grant, interaction } = admitted;
    let grant = Arc::new(grant);
    let known_as_of = revocations::known_as_of(&head.headers);
    let revocable = server.revocations.begin(&grant, known_as_of, server.clock.now())?;
    let invoked = matches!(interaction, Interaction::Operation(..));
    // An operation takes its parameters from the query of a GET, or from a body.
    let (body, form) = if searches(&interaction) && head.method == http::Method::POST {
        if let contract::Decision::Deny(reason) = contract::decide(&grant, &interaction) {
            return Err(ServerError::Denied(reason));
        }
        (None, Some(read_form(server, head, body).await?))
    } else if takes_body(&interaction) || (invoked && head.method == http::Method::POST) {
        // What is denied whatever the body says is denied before a byte of it is read.
        if let contract::Decision::Deny(reason) = contract::decide(&grant, &interaction) {
            return Err(ServerError::Denied(reason));
        }
        let spoken = Spoken(server.databases[&grant.tenant].schema().fhir_version());
        (Some(read_body(server, (spoken, &interaction), head, body).await?), None)
    } else {
        (None, None)
    };
    // Before anything is done: a body may have taken long to come.
    if let Some(revocable) = &revocable {
        revocable.goes_on()?;
    }
    let (is_search, is_write) = (searches(&interaction), writes(&interaction));
    if !is_write {
        server.writing.a_read_came();
    }
    let only_reads = is_search || is_judged_one_by_one(&grant, &interaction);
    let length = body.as_ref().map_or(0, |(body, _)| body.bytes.len());
    // How long an operation takes, its parameters do not say, no patch how long a resource it is
    // for, no body how long profiles do, no Bundle how long its searches do, and no history how
    // many versions must be judged one by one: where its request is, nobody would see that its
    // client has left.
    let says_little = invoked
        || patches(&interaction)
        || is_judged_one_by_one(&grant, &interaction)
        || (length > 0 && server.validations[&grant.tenant].is_deep())
        || (interaction == Interaction::BatchOrTransaction
            && body.as_ref().is_some_and(|(body, _)| says_little(&body.bytes)));
    let length = if says_little { length.max(SMALL + 1) } else { length };
    // What is patched may be as large as a resource may be, several times in memory, and what is
    // quarantined as a request's body.
    let is_large = patches(&interaction) || operation::reads_bodies(&interaction);
    let length = if is_large { length.max(LARGE + 1) } else { length };
    let server = Arc::clone(server);
    let database = Arc::clone(&server.databases[&grant.tenant]);
    let query = head.uri.query().unwrap_or_default();
    let query = match &form {
        Some(form) => with_form(query, form)?,
        None => query.to_owned(),
    };
    let conditions = conditions(&head.headers);
    let languages = text_of(&head.headers, ACCEPT_LANGUAGE.as_str());
    let named = if writes(&interaction) && head.headers.contains_key(idempotency::HEADER) {
        idempotency::named(head, &grant)?
    } else {
        None
    };
    let request_id = request_id(head).to_owned();
    let (rows, trail) = (rows.clone(), trail.clone());
    let (turns, within) = (server.large.of(grant.lane).clone(), Arc::clone(&server));
    let abandoned = Abandoned::default();
    let waited = Waited {
        abandoned: abandoned.clone(),
        clock: Arc::clone(&server.clock),
        request_id: request_id.clone(),
    };
    // On the heap: it would be copied with every future around it.
    let work = Box::pin(async move {
        // The room that it takes is held as long as it is read.
        let _form = form;
        let all = body.as_ref().map_or(&[][..], |(body, _)| &body.bytes);
        let named = named.map(|named| named.with_body(all));
        let accept_language = languages.as_deref();
        let call = Call {
            server: &server,
            database: &database,
            grant: &grant,
            interaction,
            query: &query,
            handling,
            conditions,
            resource: None,
            json_patch: None,
            preference,
            accept_language,
            named: None,
            sent: Sent::Stored,
            original: None,
            request_id: &request_id,
            abandoned: &abandoned,
            rows: &rows,
            trail: &trail,
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
                (preference, handling, accept_language),
                (call.request_id, call.rows, call.abandoned, call.trail),
                named,
            ))
            .await;
        }
        let document = Document::parse(&bytes).map_err(ServerError::InvalidJson)?;
        let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
        let original = Some((&body.bytes[..], encoding));
        perform(Call { resource: Some(resource), sent, original, ..call }, named).await
    });
    // It goes along to whichever thread the work is done on.
    let work = trace::under(trace::scope(), work);
    // Nor do the parameters of a search, which may have to look at very much.
    let length = if is_search { LARGE + 1 } else { length };
    match only_reads {
        true => {
            let work = while_it_is_waited_for(length, &turns, waited, work);
            match &revocable {
                Some(revocable) => revocable.or_ends(work).await,
                None => work.await,
            }
        }
        false => {
            let abandoned = waited.abandoned.clone();
            let work = async {
                match is_write && length <= SMALL {
                    true => told_who_left(waited, within.writing.there(work)).await,
                    false => whoever_waits_for_it(length, &turns, waited, work).await,
                }
            };
            match &revocable {
                Some(revocable) => revocable.or_is_told(&abandoned, work).await,
                None => work.await,
            }
        }
    }
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
            Turn::Replay(answered) => {
                let done = idempotency::answer(&call, &answered).await;
                audit::note(&call, None, done.as_ref()).await;
                return done;
            }
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

/// Whether something may be stored or deleted.
pub(super) fn writes(interaction: &Interaction) -> bool {
    takes_body(interaction)
        || matches!(interaction, Interaction::Delete(_) | Interaction::ConditionalDelete(_))
}

fn takes_body(interaction: &Interaction) -> bool {
    matches!(
        interaction,
        Interaction::Create(_)
            | Interaction::Update(_)
            | Interaction::ConditionalUpdate(_)
            | Interaction::BatchOrTransaction
    ) || patches(interaction)
}

/// Whether a resource that is there is changed by a patch.
pub(crate) fn patches(interaction: &Interaction) -> bool {
    matches!(interaction, Interaction::Patch(_) | Interaction::ConditionalPatch(_))
}

/// Whether versions are listed of which a part alone may be shown.
fn is_judged_one_by_one(grant: &Grant, interaction: &Interaction) -> bool {
    let is_history = matches!(
        interaction,
        Interaction::HistoryInstance(_) | Interaction::HistoryType(_) | Interaction::HistorySystem
    );
    is_history && matches!(contract::decide(grant, interaction), Decision::AllowWithin(_))
}

/// Whether resources are looked for by what they say.
pub(super) fn searches(interaction: &Interaction) -> bool {
    matches!(
        interaction,
        Interaction::SearchType(_) | Interaction::SearchSystem | Interaction::SearchCompartment(..)
    )
}

/// Whether a short Bundle may have an entry that patches, or one that searches: by a URL with a
/// query, or all of a type. What is escaped may say anything.
fn says_little(bundle: &[u8]) -> bool {
    let has = |word: &[u8]| bundle.windows(word.len()).any(|part| part == word);
    let says_more = |byte: &u8| matches!(byte, b'\\' | b'&' | b'?');
    bundle.len() <= SMALL
        && (bundle.iter().any(says_more)
            || [&b"PATCH"[..], b"GET", b"_search"].into_iter().any(has))
}

/// Bytes of a form: more than the most that a query may have once it is decoded.
const FORM_BYTES: usize = 1 << 20;

/// The form of a search by POST.
async fn read_form(server: &Server, head: &Parts, body: Body) -> Result<HeldBody, ServerError> {
    let form = read_bytes(server, head, body, server.limits.body_bytes.min(FORM_BYTES)).await?;
    match text_of(&head.headers, CONTENT_TYPE.as_str()) {
        // Nothing needs no name.
        None if form.bytes.is_empty() => Ok(form),
        Some(given) if negotiation::is_form(&given) => Ok(form),
        given => Err(ServerError::NotAForm { given }),
    }
}

/// The parameters of a URL and, after them, those of a form.
fn with_form(query: &str, form: &HeldBody) -> Result<String, ServerError> {
    let form = std::str::from_utf8(&form.bytes)
        .map_err(|error| ServerError::MalformedForm(MalformedForm::Utf8(error.valid_up_to())))?;
    let between = if query.is_empty() || form.is_empty() { "" } else { "&" };
    Ok([query, between, form].concat())
}

async fn read_body(
    server: &Server,
    (spoken, interaction): (Spoken, &Interaction),
    head: &Parts,
    body: Body,
) -> Result<(HeldBody, SentAs), ServerError> {
    let body = read_bytes(server, head, body, server.limits.body_bytes).await?;
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

async fn read_bytes(
    server: &Server,
    head: &Parts,
    body: Body,
    limit: usize,
) -> Result<HeldBody, ServerError> {
    if let Some(coding) = head.headers.get(CONTENT_ENCODING)
        && coding != "identity"
    {
        let coding = String::from_utf8_lossy(coding.as_bytes()).into_owned();
        return Err(ServerError::ContentCodingNotSupported(coding));
    }
    let length = head.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(ServerError::BodyTooLong { limit });
    }
    server.holding.read(body, limit, &*server.clock).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_patch_or_search_is_known_whatever_is_escaped() {
        for says in [
            "\"PATCH\"",
            r#""P\u0041TCH""#,
            "<method value=\"&#80;ATCH\"/>",
            r#"{"method":"GET","url":"Patient"}"#,
            r#"{"method":"HEAD","url":"Patient?name=x"}"#,
        ] {
            assert!(says_little(says.as_bytes()), "{says}");
        }
        assert!(!says_little(br#"{"method":"PUT","url":"Patient/1"}"#));
    }
}
