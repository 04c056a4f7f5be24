//! batch and transaction (FHIR R4, 3.1.0.11): a Bundle posted to the base.
//!
//! Permissions are judged entry by entry, like any interaction. A transaction is planned as a
//! whole against one snapshot (`plan`), then committed as one; when what it looked up has changed
//! meanwhile it is planned again.

mod all_or_none;
mod allowance;
mod batch;
mod conditional;
mod matches;
mod narrative;
mod patches;
mod plan;
pub(crate) mod references;
mod replay;
mod respond;
mod target;
pub(crate) mod walk;

use contract::Grant;
use database::{Abandoned, Database, Idempotency, Named, Rows, Snapshot};
use fhir_core::json::Document;
use fhir_core::{Bundle, BundleRequest, BundleType, Issue, IssueCode, Resource, ResourceType};

use self::target::Target;
use crate::Server;
use crate::audit::{self, Trail};
use crate::call::Answer;
use crate::error::ServerError;
use crate::idempotency::{self, Turn};
use crate::interactions::write::Issues;
use crate::negotiation::{Handling, Return};
use crate::validation::Sent;

/// Carries out the Bundle in `bytes`.
pub(crate) async fn bundle(
    server: &Server,
    database: &Database,
    grant: &Grant,
    (bytes, sent): (&[u8], Sent<'_>),
    (preference, handling, accept_language): (Return, Handling, Option<&str>),
    (request_id, rows, abandoned, trail): (&str, &Rows, &Abandoned, &Trail),
    request: Option<Idempotency>,
) -> Result<Answer, ServerError> {
    let document = Document::parse(bytes).map_err(ServerError::InvalidJson)?;
    let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
    if resource.resource_type().as_str() != "Bundle" {
        let expected = ResourceType::new("Bundle").expect("Bundle is a type name");
        let found = resource.resource_type().clone();
        return Err(ServerError::TypeDiffers { expected, found });
    }
    // Counted before any is read: an entry read takes a hundred times the bytes of a short one.
    let count = resource.value().get("entry").map_or(0, |entries| entries.items().count());
    let limit = server.limits.bundle_entries;
    if count > limit {
        return Err(ServerError::TooManyEntries { count, limit });
    }
    let bundle = Bundle::read(&resource)
        .map_err(|malformed| ServerError::InvalidContent(malformed.issues))?;
    let named = None;
    let context = Context {
        server,
        database,
        grant,
        preference,
        handling,
        accept_language,
        named,
        sent,
        request_id,
        rows,
        abandoned,
        trail,
    };
    if bundle.bundle_type == BundleType::Other {
        let text = "only a batch or transaction is carried out; to store a Bundle of another \
                    type, post it to /Bundle";
        let issue = Issue::error(IssueCode::Value, text).at("Bundle.type");
        return Err(ServerError::InvalidContent(vec![issue]));
    }
    let requests = requests(&bundle)?;
    let done = match (bundle.bundle_type, request) {
        (BundleType::Batch, request) => {
            batch::batch(&context, &bundle, &requests, request.as_ref()).await
        }
        (_, None) => all_or_none::transaction(&context, &bundle, &requests).await,
        (_, Some(request)) => once(&context, &bundle, &requests, &request).await,
    };
    if let Err(ServerError::InEntry { index, source }) = &done
        && let Some(request) = requests.get(*index)
        && let Ok(target) = Target::of(&context, request)
    {
        // The one that failed the whole, which no one else says.
        audit::note(&target.call(&context, None), None, Err(source)).await;
        context.denied(*index, &target, source);
    }
    done
}

/// Carries a named transaction out, unless it was.
async fn once(
    whole: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
    request: &Idempotency,
) -> Result<Answer, ServerError> {
    for _ in 0..idempotency::TRIES {
        let done = match idempotency::turn((whole.server, whole.database), request).await? {
            Turn::Replay(answered) => {
                return replay::replay(whole, bundle, requests, answered).await;
            }
            Turn::Perform(named) => {
                let context = Context { named: Some(&named), ..*whole };
                all_or_none::transaction(&context, bundle, requests).await
            }
        };
        if !idempotency::came_between(&done) {
            return done;
        }
    }
    Err(ServerError::Contended)
}

/// The request of each entry; without one, the whole Bundle is malformed (bdl-3, HTTP-171).
fn requests<'b, 'a>(bundle: &'b Bundle<'a>) -> Result<Vec<&'b BundleRequest<'a>>, ServerError> {
    let mut issues = Issues::default();
    let mut requests = Vec::with_capacity(bundle.entries.len());
    for (index, entry) in bundle.entries.iter().enumerate() {
        match &entry.request {
            Some(request) => requests.push(request),
            None => issues.note(|| {
                let text = "an entry of a batch or transaction needs a request";
                let expression = format!("Bundle.entry[{index}].request");
                Issue::error(IssueCode::Required, text).at(expression)
            }),
        }
    }
    issues.refuse_any().map(|()| requests)
}

/// What every entry of one Bundle shares.
pub(crate) struct Context<'a> {
    pub(crate) server: &'a Server,
    pub(crate) database: &'a Database,
    pub(crate) grant: &'a Grant,
    pub(crate) preference: Return,
    pub(crate) handling: Handling,
    /// `Accept-Language` of the whole.
    pub(crate) accept_language: Option<&'a str>,
    /// The name that the client gave the whole, while it is carried out.
    pub(crate) named: Option<&'a Named>,
    /// Where in what was sent issues of its resources stand.
    pub(crate) sent: Sent<'a>,
    /// The id of the request.
    pub(crate) request_id: &'a str,
    /// What is read for the whole request.
    pub(crate) rows: &'a Rows,
    /// Whether its client has left.
    pub(crate) abandoned: &'a Abandoned,
    /// What is shown and done for the whole request.
    pub(crate) trail: &'a Trail,
}

impl Context<'_> {
    /// Keeps for an operator why an entry was refused, where that was a denial.
    fn denied(&self, index: usize, target: &Target, error: &ServerError) {
        let of = (index, &target.interaction, error);
        let now = self.server.clock.now();
        self.server.denials.keep_entry(of, (self.grant, self.request_id), now);
    }

    /// What this snapshot shows, counted as read for the request, and searched as long as its
    /// client waits.
    fn counted(&self, snapshot: Snapshot) -> Snapshot {
        snapshot.counted(self.rows).until(self.abandoned)
    }
}
