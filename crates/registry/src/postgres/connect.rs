//! Sessions with the registry's PostgreSQL, and the threads on which they are driven.
//!
//! The registry is asked from any thread and any executor, so its connections live on a runtime of
//! their own, and whoever asks waits for the answer (`Database::ask`).

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Failure, PostgresError};
use super::options::{PostgresOptions, Transport};
use super::schema::CHANNEL;
use super::wake::Wake;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// After how long a network that drops everything is noticed.
const SILENCE: Duration = Duration::from_secs(5);

/// The database, as one process reaches it.
pub(crate) struct Database {
    runtime: Option<Runtime>,
    pub(crate) sessions: Arc<Sessions>,
}

/// Two sessions: what is asked often does not wait behind a change.
pub(crate) struct Sessions {
    connector: Connector,
    asking: Mutex<Option<Arc<Client>>>,
    changing: Mutex<Option<Arc<Client>>>,
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Asking for changes, and being told of them.
    Asking,
    /// Adding one.
    Changing,
}

struct Connector {
    config: Config,
    transport: Transport,
    runtime: Handle,
    wake: Arc<Wake>,
}

impl Database {
    /// Nothing is connected yet. `wake` is rung when PostgreSQL says that there is something new,
    /// and when a connection is lost.
    pub(crate) fn new(options: &PostgresOptions, wake: Arc<Wake>) -> Result<Self, PostgresError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("registry-postgres")
            .enable_all()
            .build()
            .map_err(PostgresError::Threads)?;
        let mut config = options.config.clone();
        config.connect_timeout(CONNECT);
        config.keepalives_idle(SILENCE);
        config.tcp_user_timeout(SILENCE);
        let (transport, handle) = (options.transport.clone(), runtime.handle().clone());
        let connector = Connector { config, transport, runtime: handle, wake };
        let sessions = Sessions { connector, asking: Mutex::default(), changing: Mutex::default() };
        Ok(Self { runtime: Some(runtime), sessions: Arc::new(sessions) })
    }

    /// What comes of `question`, waited for on whatever thread this is.
    pub(crate) fn ask<T, E, F>(&self, question: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Failure> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else { return Err(Failure::Ended.into()) };
        let (sender, answer) = sync_channel(1);
        runtime.spawn(async move {
            // Nobody waits any more where this fails.
            let _ = sender.send(question.await);
        });
        answer.recv().unwrap_or_else(|_| Err(Failure::Ended.into()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped on a thread of another runtime, which may not wait for this one.
            runtime.shutdown_background();
        }
    }
}

impl Sessions {
    /// A session that is connected as far as is known.
    pub(crate) async fn session(&self, purpose: Purpose) -> Result<Arc<Client>, Failure> {
        let known = self.slot(purpose).lock().clone();
        if let Some(session) = known.filter(|session| !session.is_closed()) {
            return Ok(session);
        }
        let session = Arc::new(self.connector.connect(purpose).await?);
        *self.slot(purpose).lock() = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Asks nothing more on the session there is.
    pub(crate) fn forget(&self, purpose: Purpose) {
        *self.slot(purpose).lock() = None;
    }

    fn slot(&self, purpose: Purpose) -> &Mutex<Option<Arc<Client>>> {
        match purpose {
            Purpose::Asking => &self.asking,
            Purpose::Changing => &self.changing,
        }
    }
}

impl Connector {
    /// A new session, in which a change is durable when it is answered.
    async fn connect(&self, purpose: Purpose) -> Result<Client, Failure> {
        let connecting = async {
            match &self.transport {
                Transport::Verified(config) => {
                    let tls = MakeRustlsConnect::new(config.as_ref().clone());
                    self.connect_by(tls, purpose).await
                }
                Transport::Local | Transport::InsecurePlain => {
                    self.connect_by(NoTls, purpose).await
                }
            }
        };
        let limit = 2 * CONNECT;
        timeout(limit, connecting).await.map_err(|_| Failure::Silent(limit))?
    }

    async fn connect_by<M>(&self, tls: M, purpose: Purpose) -> Result<Client, Failure>
    where
        M: MakeTlsConnect<Socket>,
        M::Stream: Send + 'static,
        M::TlsConnect: Send,
        <M::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let (client, mut connection) = self.config.connect(tls).await?;
        let wake = Arc::clone(&self.wake);
        self.runtime.spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => wake.ring(),
                    Some(Ok(_)) => {}
                    // Whoever asks next is told.
                    Some(Err(_)) | None => break,
                }
            }
            wake.ring();
        });
        let durable = "SELECT current_setting('synchronous_commit')";
        let durable: String = client.query_one(durable, &[]).await?.try_get(0)?;
        if durable == "off" {
            client.batch_execute("SET synchronous_commit = on").await?;
        }
        client.batch_execute("SET lock_timeout = '5s'").await?;
        if purpose == Purpose::Asking {
            // A hint: what is new is asked for each second all the same.
            match client.batch_execute(&format!("LISTEN {CHANNEL}")).await.map_err(Failure::from) {
                Err(error) if error.is_disconnected() => return Err(error),
                Err(error) => tracing::debug!(%error, "PostgreSQL does not tell of new changes"),
                Ok(()) => {}
            }
        }
        Ok(client)
    }
}
