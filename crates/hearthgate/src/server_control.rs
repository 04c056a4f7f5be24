//! The control socket of the server's half, `DATA/control.sock`: what it can be asked is a purge, a
//! change of the tenant's packages, what is quarantined, and why a request was denied. The registry has a socket of its own
//! (`control`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use database::audit::AuditLog;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use server::{Denials, PublicBase, Quarantine, Validation, record_command};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::audit::{self, AuditRequest};
use crate::command_socket::{self, CommandSocket, CommandSocketError, Commands};
use crate::denials;
use crate::doors::SystemClock;
use crate::packages::{self, PackagesRequest};
use crate::purge::{self, PurgeRequest, Tenant, by};
use crate::quarantine::{self, QuarantineAnswer, QuarantineRequest};

/// What a running server can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// Destroy a patient's key.
    Purge(PurgeRequest),
    /// Add, list or remove packages.
    Packages(PackagesRequest),
    /// List, release or discard what is quarantined.
    Quarantine(QuarantineRequest),
    /// A page of what the audit log holds.
    Audit(AuditRequest),
    /// Why the request of this id was denied, of whichever tenant.
    ShowDenials(String),
}

/// What came of it, or why it was not done.
type Answer = Result<serde_json::Value, String>;

/// Where the socket is.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// The bound socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct ServerControl(CommandSocket);

/// What a running server carries commands out with.
#[derive(Clone)]
pub(crate) struct Commanded {
    pub(crate) tenant: Tenant,
    pub(crate) validation: Arc<Validation>,
    pub(crate) base: PublicBase,
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) denials: Arc<Denials>,
}

impl ServerControl {
    /// Binds the socket. The caller holds the server half's lock, so that a socket file that is
    /// there already was left behind.
    pub(crate) fn bind(data: &Path) -> Result<Self, CommandSocketError> {
        CommandSocket::bind(socket_path(data)).map(Self)
    }

    /// Answers until `shutdown` says true; a purge that has begun is finished at the next start.
    pub(crate) async fn serve(self, commanded: Commanded, shutdown: watch::Receiver<bool>) {
        self.0.serve(commanded, shutdown).await;
    }
}

impl Commands for Commanded {
    type Request = Request;
    type Answer = Answer;

    const LONGEST: u64 = packages::LONGEST_REQUEST;

    async fn carry_out(&self, request: Request, uid: u32) -> io::Result<Answer> {
        let tenant = match &request {
            Request::Purge(request) => request.tenant.as_str(),
            Request::Packages(request) => request.tenant.as_str(),
            Request::Quarantine(request) => request.tenant.as_str(),
            Request::Audit(request) => request.tenant.as_str(),
            Request::ShowDenials(_) => self.tenant.name.as_str(),
        };
        if tenant != self.tenant.name.as_str() {
            return Ok(Err(format!("this server has no tenant {tenant}")));
        }
        match request {
            Request::Purge(request) => {
                // Also on a full disk: its ledger has it, and the event waits for room.
                let patient = request.patient.clone();
                let done = purge::carry_out(&self.tenant, request, by(uid)).await;
                if done.is_ok() {
                    self.record(("purge", None), Some(&patient), uid).await;
                }
                said(done)
            }
            Request::Audit(request) => {
                let (audit, base) = (Arc::clone(&self.audit), self.base.clone());
                let read = move || audit::page(&*audit, &request, base.as_str());
                let page = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
                said(page.map_err(|error| error.to_string()))
            }
            Request::Packages(request) => {
                if let Some(refused) = self.audit.trouble() {
                    return Ok(Err(refused.to_string()));
                }
                if let Some(change) = request.change() {
                    self.record(("packages", Some(&change)), None, uid).await;
                }
                let Tenant { database, ids, .. } = &self.tenant;
                said(packages::carry_out(database, &self.validation, &**ids, request).await)
            }
            Request::Quarantine(request) => {
                if let Some(refused) = self.audit.trouble() {
                    return Ok(Err(refused.to_string()));
                }
                self.record(("quarantine", None), None, uid).await;
                let (commanded, runtime) = (self.clone(), Handle::current());
                // It reads and judges bodies as large as those of requests.
                let work = move || runtime.block_on(commanded.work_on_the_quarantine(request));
                said(tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?)
            }
            Request::ShowDenials(id) => said(Ok(denials::of_server(&self.denials, &id))),
        }
    }

    fn refused(why: &str) -> Answer {
        Err(why.to_owned())
    }
}

impl Commanded {
    /// Writes down what an operator does. What was done stands whether it could be written or not:
    /// then the log says so.
    async fn record(&self, what: (&str, Option<&str>), patient: Option<&str>, uid: u32) {
        let by = by(uid);
        let kept = record_command(&*self.audit, &*self.clock, what, patient, &by).await;
        if let Err(error) = kept {
            tracing::error!(%error, what = what.0, by, "what was done is not in the audit log");
        }
    }

    async fn work_on_the_quarantine(
        &self,
        request: QuarantineRequest,
    ) -> Result<QuarantineAnswer, String> {
        let Tenant { database, ids, .. } = &self.tenant;
        let of = (&**database, &*self.validation);
        let quarantine = Quarantine::new(of, &self.base, &**ids, &*self.clock);
        quarantine::carry_out(&quarantine, request).await
    }
}

fn said(done: Result<impl Serialize, String>) -> io::Result<Answer> {
    match done {
        Ok(answer) => serde_json::to_value(answer).map(Ok).map_err(io::Error::other),
        Err(why) => Ok(Err(why)),
    }
}

/// Asks a running server half, or one that is starting.
///
/// # Errors
/// What the system says when nobody answers or the answer is none.
pub(crate) async fn ask<A: DeserializeOwned>(
    data: &Path,
    request: &Request,
) -> io::Result<Result<A, String>> {
    let answer: Answer = command_socket::ask_once_there(&socket_path(data), request).await?;
    match answer {
        Ok(value) => serde_json::from_value(value).map(Ok).map_err(io::Error::other),
        Err(why) => Ok(Err(why)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use database::{Database, Sealing};
    use fhir_schema::Schema;
    use serde_json::json;
    use server::WritePolicy;
    use store::TenantText;
    use store::model::ModelStore;
    use store_sled::AuditFiles;

    use super::*;
    use crate::doors::SystemIds;
    use crate::storage::Backend;

    fn commanded() -> Commanded {
        let name = TenantText::new("default").unwrap();
        let store = Arc::new(ModelStore::new(name.clone()));
        let (schema, clock) = (Schema::r4(), Arc::new(SystemClock::start()));
        let opened = Database::open(store, name.clone(), schema, clock.clone(), Default::default());
        let tenant = Tenant {
            name,
            directory: PathBuf::new(),
            backend: Backend::Embedded,
            sealing: Sealing::none(),
            database: Arc::new(opened.unwrap()),
            ids: Arc::new(SystemIds::open().unwrap()),
            turn: Arc::default(),
        };
        let validation = Arc::new(Validation::new(WritePolicy::default(), schema.fhir_version()));
        let base = "http://clinic.example/fhir".parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (now, options) = (contract::Instant::from_micros(0), Default::default());
        let opened = AuditFiles::open(directory.path(), &tenant.name, None, now, options);
        let audit = Arc::new(opened.unwrap());
        let denials = Arc::default();
        Commanded { tenant, validation, base, clock, audit, denials }
    }

    #[test]
    fn the_quarantine_is_worked_on_by_no_thread_that_answers_others() {
        let list = json!({ "sender": null, "resource_type": null, "count": 1 });
        let request = json!({ "tenant": "default", "command": { "list": list } });
        let request: Request = serde_json::from_value(json!({ "quarantine": request })).unwrap();
        let threads = Arc::new(AtomicUsize::new(0));
        let started = Arc::clone(&threads);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.on_thread_start(move || {
            started.fetch_add(1, Ordering::SeqCst);
        });
        let runtime = runtime.enable_all().build().unwrap();
        let answer = runtime.block_on(commanded().carry_out(request, 0)).unwrap().unwrap();
        assert_eq!(answer, json!({ "listed": [] }));
        assert_eq!(threads.load(Ordering::SeqCst), 1);
    }
}
