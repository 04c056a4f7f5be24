//! Callers by the certificate of their connection, where the request brings no other credentials.

use std::sync::Arc;
use std::time::Duration;

use contract::GrantFields;
use registry::ClientId;

use super::{Callers, Known, fields_for};
use crate::certificates::PeerCertificate;
use crate::errors::Refusal;

/// What an authorization id of a certificate begins with; the client's id follows.
const AUTHORIZATION: &str = "certificate:";

impl Callers {
    /// Whom a certificate stands for; `None` when it is nobody's, which a certificate may be that
    /// only opens the connection.
    pub(super) fn of_certificate(
        &self,
        shown: &PeerCertificate,
        now: Duration,
    ) -> Option<Result<Arc<Known>, Refusal>> {
        if let Some(kept) = self.certified.get(shown.digest()) {
            let known = kept?;
            let client = known.client.as_ref()?;
            let current = self.registry.client(&client.id);
            if current.is_some_and(|current| Arc::ptr_eq(&current, client)) {
                return Some(Ok(known));
            }
        }
        let Some(id) = self.certificates.client_of(shown.der()) else {
            self.certified.put(*shown.digest(), None);
            return None;
        };
        let Some(client) = self.registry.client(id) else {
            tracing::warn!(client = id.as_str(), "a certificate is of a client that there is not");
            return None;
        };
        let authorization = [AUTHORIZATION, id.as_str()].concat();
        let learned = self.learn(&client, &authorization, now).map(Arc::new);
        if let Ok(known) = &learned {
            self.certified.put(*shown.digest(), Some(known.clone()));
        }
        Some(learned)
    }

    /// The members of a grant for work that a certificate began, as long as certificates are the
    /// client's; `None` when they are not.
    pub(crate) fn renewed_certificate(
        &self,
        authorization: &str,
        request: GrantFields,
    ) -> Option<GrantFields> {
        let id = authorization.strip_prefix(AUTHORIZATION)?;
        let id = ClientId::new(id).ok().filter(|id| self.certificates.names(id.as_str()))?;
        let client = self.registry.client(&id)?;
        fields_for(&client, authorization, &self.roles, self.default_budget, request).ok()
    }
}
