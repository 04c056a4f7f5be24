//! `POST /break-glass`: a caller whose role allows it takes wider rights for one patient, for some
//! minutes, and says why. The registry has it on its disk before the answer names its id; a
//! request that carries the id in `Break-Glass` then has the role's rules for it, and its grant
//! says so. Whether there is such a patient is not known here: the answer is the same.

use std::sync::Arc;

use bytes::Bytes;
use contract::ResourceId;
use http::header;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use registry::{BreakGlass, CannotFollow, ChangeError};
use serde::Deserialize;

use crate::errors::Refusal;
use crate::proxy::Gateway;
use crate::request::Request;

/// Where it is asked for.
pub(crate) const PATH: &str = "/break-glass";
/// The header that a request carries the id in.
pub(crate) const HEADER: &str = "break-glass";
/// The purpose of use that such a grant says: HL7's code for breaking the glass.
pub(crate) const PURPOSE: &str = "BTG";
/// The longest body, in bytes.
const LONGEST: usize = 8 * 1024;

/// What a caller sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    patient: String,
    reason: String,
}

impl Gateway {
    /// Records a break-glass and answers its id, or says why not.
    pub(crate) async fn take_break_glass(
        &self,
        session: &mut Session,
        request: &Request,
    ) -> Result<Arc<BreakGlass>, Refusal> {
        let who = request.who.as_ref().ok_or(Refusal::Internal)?;
        // A token has no key that the record could name.
        let caller = who.caller().ok_or(Refusal::Denied { reason: "no-break-glass" })?;
        if !request.snapshot.callers.has_break_glass(&caller.client) {
            return Err(Refusal::Denied { reason: "no-break-glass" });
        }
        let reading = tokio::time::timeout(request.snapshot.limits.body_grace, read_body(session));
        let body = reading.await.map_err(|_| Refusal::ClientTooSlow)??;
        let asked: Asked =
            serde_json::from_slice(&body).map_err(|_| Refusal::BreakGlassMalformed)?;
        let patient = ResourceId::new(&asked.patient).map_err(|_| Refusal::BreakGlassMalformed)?;
        // By what is in force now: the body may have taken half a minute.
        let snapshot = self.current.take();
        if !snapshot.callers.may_break_glass(&caller.client, &patient) {
            return Err(Refusal::Denied { reason: "no-break-glass" });
        }
        let (registry, minutes) = (snapshot.callers.registry(), snapshot.break_glass_minutes);
        // It waits for the disk.
        let taken = tokio::task::spawn_blocking(move || {
            registry.break_glass(&caller, &patient, &asked.reason, minutes)
        });
        let refused = |error: ChangeError| match error {
            ChangeError::Refused(CannotFollow::TooManyBreakGlasses(_)) => {
                Refusal::TooManyBreakGlasses
            }
            // The registry judges it once more, as it records it.
            ChangeError::Refused(CannotFollow::NotGood(_)) => Refusal::CredentialsInvalid,
            ChangeError::Refused(_) => Refusal::BreakGlassMalformed,
            error @ (ChangeError::Away(_)
            | ChangeError::Unknown(_)
            | ChangeError::Behind(_)
            | ChangeError::Contended) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a break-glass could not be recorded, and is not given");
                Refusal::BreakGlassNotRecorded
            }
            error => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a break-glass could not be recorded, and is not given");
                Refusal::Internal
            }
        };
        taken.await.map_err(|_| Refusal::Internal)?.map_err(refused)
    }
}

/// The answer to a break-glass that was taken.
pub(crate) fn answer(taken: &BreakGlass) -> pingora::Result<(Box<ResponseHeader>, Bytes)> {
    let body = serde_json::json!({
        "id": taken.id,
        "patient": taken.patient.as_str(),
        "until": taken.until.to_string(),
    });
    let body = Bytes::from(body.to_string());
    let mut head = ResponseHeader::build_no_case(201, Some(8))?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    Ok((Box::new(head), body))
}

async fn read_body(session: &mut Session) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    loop {
        match session.downstream_session.read_request_body().await {
            Ok(Some(piece)) if body.len() + piece.len() <= LONGEST => body.extend(piece),
            Ok(Some(_)) => return Err(Refusal::BodyTooLarge),
            Ok(None) => return Ok(body),
            Err(error) => return Err(Refusal::of_failure(&error)),
        }
    }
}
