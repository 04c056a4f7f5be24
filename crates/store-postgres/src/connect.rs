//! Sessions: connections with what is set and prepared on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::Failure;
use crate::options::{PostgresOptions, Transport};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes sessions. Each connection is driven by a task of the store's own runtime and ends with
/// its client or with the runtime.
pub(crate) struct Connector {
    config: Config,
    transport: Transport,
    runtime: Handle,
}

impl Connector {
    pub(crate) fn new(options: &PostgresOptions, runtime: Handle) -> Self {
        let mut config = options.config.clone();
        config.connect_timeout(CONNECT);
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(options.patience);
        Self { config, transport: options.transport.clone(), runtime }
    }

    /// A new session, in which a commit is durable when it is answered.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let connecting = async {
            match &self.transport {
                Transport::Verified(config) => {
                    self.connect_by(MakeRustlsConnect::new(config.as_ref().clone())).await
                }
                Transport::Local | Transport::InsecurePlain => self.connect_by(NoTls).await,
            }
        };
        let limit = 2 * CONNECT;
        timeout(limit, connecting).await.map_err(|_| Failure::Silent(limit))?
    }

    async fn connect_by<M>(&self, tls: M) -> Result<Client, Failure>
    where
        M: MakeTlsConnect<Socket>,
        M::Stream: Send + 'static,
        M::TlsConnect: Send,
        <M::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let (client, connection) = self.config.connect(tls).await?;
        self.runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(error = %Failure::from(error), "a connection to PostgreSQL ended");
            }
        });
        let durable = "SELECT current_setting('synchronous_commit')";
        let durable: String = client.query_one(durable, &[]).await?.try_get(0)?;
        if durable == "off" {
            client.batch_execute("SET synchronous_commit = on").await?;
        }
        // What a lost server leaves in the middle of a transaction must not hold rows for ever.
        let limits = "SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = '30s'";
        client.batch_execute(limits).await?;
        Ok(client)
    }
}

/// Sessions that are used by many at once, each asking without waiting for the others' answers.
pub(crate) struct Pool {
    sessions: Vec<Mutex<Option<Arc<Session>>>>,
    next: AtomicUsize,
}

/// A session that reads, with its statements.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) statements: crate::reads::Statements,
    /// Asks whether the lease is held.
    pub(crate) held: Statement,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        let sessions = (0..size.max(1)).map(|_| Mutex::new(None)).collect();
        Self { sessions, next: AtomicUsize::new(0) }
    }

    /// Asks nothing more on the sessions there are.
    pub(crate) fn forget(&self) {
        self.sessions.iter().for_each(|slot| *slot.lock() = None);
    }

    /// A session that is connected as far as is known.
    pub(crate) async fn session(&self, connector: &Connector) -> Result<Arc<Session>, Failure> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.sessions.len();
        let slot = &self.sessions[index];
        let known = slot.lock().clone();
        if let Some(session) = known.filter(|session| !session.client.is_closed()) {
            return Ok(session);
        }
        let client = connector.connect().await?;
        let statements = crate::reads::Statements::prepare(&client).await?;
        let held = client.prepare(crate::statements::HELD).await?;
        let session = Arc::new(Session { client, statements, held });
        *slot.lock() = Some(Arc::clone(&session));
        Ok(session)
    }
}
