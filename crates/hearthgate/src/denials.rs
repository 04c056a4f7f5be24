//! `hearthgate denials show ID`: why a request was denied, asked of both running halves.

use std::path::Path;

use gateway::Denial;
use serde::{Deserialize, Serialize};

use crate::command_socket::is_not_there;
use crate::control::{self, Answer};
use crate::server_control;

/// A denial of the server's half, as it goes over its control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfServer {
    time: String,
    status: u16,
    client: Option<String>,
    authorization: Option<String>,
    asked: String,
    decided: String,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum DenialsError {
    /// Neither half answers.
    #[error(
        "neither half answers on its control socket; denials are kept in the memory of running ones: name the data directory with --data"
    )]
    NobodyRuns,
    /// A half answered something else.
    #[error("a half did not answer as it should: {0}")]
    Answer(String),
}

/// What the server's half has of the request.
pub(crate) fn of_server(denials: &server::Denials, id: &str) -> Vec<OfServer> {
    let found = denials.of_request(id).into_iter();
    found
        .map(|denial| OfServer {
            time: denial.time,
            status: denial.status,
            client: denial.client,
            authorization: denial.authorization,
            asked: denial.asked,
            decided: denial.decided,
        })
        .collect()
}

/// What both halves have of the request, in words.
///
/// # Errors
/// [`DenialsError`] when neither half can be asked.
pub(crate) async fn show(data: &Path, id: &str) -> Result<String, DenialsError> {
    let mut answered = false;
    let mut text = String::new();
    let asked = control::Request::ShowDenials(id.to_owned());
    match control::ask(data, &asked).await {
        Ok(Answer::Denials(denials)) => {
            answered = true;
            text.extend(denials.iter().map(of_gateway_in_words));
        }
        Ok(Answer::Refused(why)) => return Err(DenialsError::Answer(why)),
        Ok(other) => return Err(DenialsError::Answer(format!("{other:?}"))),
        Err(error) if is_not_there(&error) => {}
        Err(error) => return Err(DenialsError::Answer(error.to_string())),
    }
    let asked = server_control::Request::ShowDenials(id.to_owned());
    match server_control::ask::<Vec<OfServer>>(data, &asked).await {
        Ok(Ok(denials)) => {
            answered = true;
            text.extend(denials.iter().map(of_server_in_words));
        }
        Ok(Err(why)) => return Err(DenialsError::Answer(why)),
        Err(error) if is_not_there(&error) => {}
        Err(error) => return Err(DenialsError::Answer(error.to_string())),
    }
    match (answered, text.is_empty()) {
        (false, _) => Err(DenialsError::NobodyRuns),
        (true, true) => Ok(format!(
            "No denial of a request {id} is kept: it was not denied, or long ago, or before the last start.\n"
        )),
        (true, false) => Ok(text),
    }
}

fn of_gateway_in_words(denial: &Denial) -> String {
    let who = who(denial.client.as_deref(), denial.authorization.as_deref());
    let role = denial.role.iter().map(|role| format!(", role {role}")).collect::<String>();
    format!(
        "{} by the gateway: {} ({})\n  who:     {who}{role}\n  asked:   {}\n  decided: {}\n  mend:    {}\n",
        denial.time, denial.status, denial.reason, denial.asked, denial.decided, denial.mend
    )
}

fn of_server_in_words(denial: &OfServer) -> String {
    let who = who(denial.client.as_deref(), denial.authorization.as_deref());
    format!(
        "{} by the server: {}\n  who:     {who}\n  asked:   {}\n  decided: {}\n",
        denial.time, denial.status, denial.asked, denial.decided
    )
}

fn who(client: Option<&str>, authorization: Option<&str>) -> String {
    match (client, authorization) {
        (Some(client), Some(authorization)) => format!("client {client}, {authorization}"),
        (Some(client), None) => format!("client {client}"),
        (None, _) => "nobody known".to_owned(),
    }
}
