//! What stands for the server: it speaks the channel, checks each request as a server must, keeps
//! what it saw, and answers as told.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use contract::{ChannelDocument, ChannelSecret, Grant, Interaction, Versions, header};
use contract::{Revocation, RevocationFeed};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::harness::{CountedIds, socket, within};

/// A request as the stub saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) grant: Grant,
    pub(crate) body: Vec<u8>,
}

/// How the stub answers.
#[derive(Clone)]
pub(crate) enum Script {
    /// 200 with what it saw, and every header a server sends.
    Echo,
    /// 200 with these values of the nonce's header.
    Nonces(Vec<String>),
    /// 421, whatever the secret.
    Misdirected,
    /// Like `Echo`, without a look at the body.
    AtOnce,
    /// No answer: the connection closes.
    Hangup,
    /// A head that promises more than comes.
    BreakOff,
    /// Like `Echo`, once told to go on.
    AfterGo,
    /// This status with this body.
    Status(u16, &'static str),
    /// A body of which each piece is sent when it is given.
    Pieces,
}

struct State {
    /// Of the stub's own: secrets to change to.
    ids: CountedIds,
    secret: Mutex<ChannelSecret>,
    versions: Versions,
    scripts: Mutex<VecDeque<Script>>,
    seen: Mutex<Vec<Seen>>,
    /// Bytes of request bodies as they come, for tests of streaming.
    arrived: mpsc::UnboundedSender<usize>,
    pieces: Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>,
    go: Notify,
    begun: Notify,
    connections: Mutex<usize>,
    fetches: Mutex<usize>,
    /// Why it says that it is not ready.
    unready: Mutex<Option<String>>,
    /// What it says that the time is.
    time: Mutex<Option<contract::Instant>>,
    /// The lists of denials that it was told, and how it answers the next ones.
    denials: Mutex<Vec<serde_json::Value>>,
    denials_answered: Mutex<VecDeque<Denials>>,
    /// What it was told is revoked, and with which cursor it asks next.
    revoked: Mutex<(Vec<Revocation>, u64)>,
    /// So many times more it hears no word of what is revoked.
    deaf: Mutex<usize>,
    /// What is revoked it does not take, and how often it was brought.
    takes_no_feed: Mutex<(Option<StatusCode>, usize)>,
}

/// How the stub answers a list of denials.
#[derive(Clone, Copy)]
pub(crate) enum Denials {
    /// It takes all.
    Taken,
    /// No answer: the connection closes.
    Hangup,
    /// With this text.
    Says(&'static str),
}

/// The stub and its tasks. Dropped, it is gone as if killed.
pub(crate) struct Stub {
    state: Arc<State>,
    pub(crate) arrivals: mpsc::UnboundedReceiver<usize>,
    pub(crate) pieces: mpsc::UnboundedSender<Bytes>,
    tasks: JoinSet<()>,
    paths: [PathBuf; 2],
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.tasks.abort_all();
        for path in &self.paths {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Stub {
    /// Listens on both sockets with a new secret.
    pub(crate) fn start(dir: &TempDir) -> Self {
        Self::start_with_secret(dir, ChannelSecret::generate(&CountedIds::default()))
    }

    /// The same, speaking other versions of the contract.
    pub(crate) fn start_speaking(dir: &TempDir, versions: Versions) -> Self {
        Self::start_as(dir, ChannelSecret::generate(&CountedIds::default()), versions)
    }

    /// The same with a given secret.
    pub(crate) fn start_with_secret(dir: &TempDir, secret: ChannelSecret) -> Self {
        Self::start_as(dir, secret, Versions::HERE)
    }

    fn start_as(dir: &TempDir, secret: ChannelSecret, versions: Versions) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let (give, pieces) = mpsc::unbounded_channel();
        let ids = CountedIds::default();
        let _first: ChannelSecret = ChannelSecret::generate(&ids);
        let state = Arc::new(State {
            ids,
            secret: Mutex::new(secret),
            versions,
            scripts: Mutex::default(),
            seen: Mutex::default(),
            arrived,
            pieces: Mutex::new(Some(pieces)),
            go: Notify::new(),
            begun: Notify::new(),
            connections: Mutex::default(),
            fetches: Mutex::default(),
            unready: Mutex::default(),
            time: Mutex::default(),
            denials: Mutex::default(),
            denials_answered: Mutex::default(),
            revoked: Mutex::default(),
            deaf: Mutex::default(),
            takes_no_feed: Mutex::default(),
        });
        let paths = [socket(dir, "server.sock"), socket(dir, "channel.sock")];
        let mut tasks = JoinSet::new();
        for (path, serves) in paths.iter().zip([Serves::Requests, Serves::Channel]) {
            let listener = UnixListener::bind(path).expect("a socket");
            tasks.spawn(serve(listener, state.clone(), serves));
        }
        Self { state, arrivals, pieces: give, tasks, paths }
    }

    /// The next requests are answered like this, one each; after them by echo.
    pub(crate) fn script(&self, scripts: impl IntoIterator<Item = Script>) {
        self.state.scripts.lock().expect("no panic").extend(scripts);
    }

    /// Takes a new secret, as a restart does.
    pub(crate) fn change_secret(&self) {
        let secret = ChannelSecret::generate(&self.state.ids);
        *self.state.secret.lock().expect("no panic") = secret;
        *self.state.revoked.lock().expect("no panic") = (Vec::new(), 0);
    }

    /// The next so many times it gives no answer to what is revoked.
    pub(crate) fn is_deaf(&self, times: usize) {
        *self.state.deaf.lock().expect("no panic") = times;
    }

    /// What is revoked is answered with this status from now on, if any; how often it was brought so
    /// far.
    pub(crate) fn takes_no_feed(&self, status: Option<StatusCode>) -> usize {
        let mut takes_no_feed = self.state.takes_no_feed.lock().expect("no panic");
        takes_no_feed.0 = status;
        takes_no_feed.1
    }

    /// Waits until it was told of so many revocations; all of them.
    pub(crate) async fn revoked(&self, count: usize) -> Vec<Revocation> {
        within("what is revoked", async {
            loop {
                let (revoked, _) = self.state.revoked.lock().expect("no panic").clone();
                if revoked.len() >= count {
                    return revoked;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Forgets what was seen, and how to answer.
    pub(crate) fn forget(&self) {
        self.state.scripts.lock().expect("no panic").clear();
        self.state.seen.lock().expect("no panic").clear();
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// The one request that was seen.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// How many connections were accepted for requests.
    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().expect("no panic")
    }

    /// The next lists of denials are answered like this, one each; after them all are taken.
    pub(crate) fn answers_denials(&self, answers: impl IntoIterator<Item = Denials>) {
        self.state.denials_answered.lock().expect("no panic").extend(answers);
    }

    /// The first so many lists of denials that it was told; waits for them.
    pub(crate) async fn denials(&self, lists: usize) -> Vec<serde_json::Value> {
        within("lists of denials", async {
            loop {
                let denials = self.state.denials.lock().expect("no panic").clone();
                if denials.len() >= lists {
                    return denials;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// From now on it says that it is not ready, and why.
    pub(crate) fn is_unready(&self, reason: &str) {
        *self.state.unready.lock().expect("no panic") = Some(reason.to_owned());
    }

    /// From now on it says that it is this time.
    pub(crate) fn says_time(&self, time: contract::Instant) {
        *self.state.time.lock().expect("no panic") = Some(time);
    }

    /// How often the channel's document was read.
    pub(crate) fn fetches(&self) -> usize {
        *self.state.fetches.lock().expect("no panic")
    }

    /// Waits until the channel's document was read.
    pub(crate) async fn until_fetched(&self) {
        within("a reading of the channel", async {
            while self.fetches() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Lets one `AfterGo` go on.
    pub(crate) fn go(&self) {
        self.state.go.notify_one();
    }

    /// Waits until a request's head is here.
    pub(crate) async fn until_begun(&self) {
        within("a request at the server", self.state.begun.notified()).await;
    }
}

#[derive(Clone, Copy)]
enum Serves {
    Requests,
    Channel,
}

async fn serve(listener: UnixListener, state: Arc<State>, serves: Serves) {
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        if matches!(serves, Serves::Requests) {
            *state.connections.lock().expect("no panic") += 1;
        }
        let state = state.clone();
        open.spawn(async move {
            let service = service_fn(move |request| {
                let state = state.clone();
                async move {
                    match serves {
                        Serves::Channel => state.answer_channel(request).await,
                        Serves::Requests => state.answer(request).await,
                    }
                }
            });
            // Scripts end connections by error.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Why a connection closes without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the script says to hang up")]
struct HungUp;

impl State {
    async fn answer_channel(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Answering>, HungUp> {
        if request.uri().path() == "/denials" {
            let body = request.into_body().collect().await.map_err(|_| HungUp)?.to_bytes();
            let list = serde_json::from_slice(&body).expect("a list");
            self.denials.lock().expect("no panic").push(list);
            let answer = self.denials_answered.lock().expect("no panic").pop_front();
            return match answer.unwrap_or(Denials::Taken) {
                Denials::Hangup => Err(HungUp),
                Denials::Taken => {
                    Ok(Response::new(Answering::whole(r#"{"refused":[],"later":[]}"#)))
                }
                Denials::Says(text) => Ok(Response::new(Answering::whole(text))),
            };
        }
        if request.uri().path() == "/revocations" {
            let body = request.into_body().collect().await.map_err(|_| HungUp)?.to_bytes();
            let told: serde_json::Value = serde_json::from_slice(&body).expect("it tells");
            return self.hear(told);
        }
        if request.uri().path() == "/ready" {
            let reason = self.unready.lock().expect("no panic").clone();
            let time = self.time.lock().expect("no panic").map(|time| time.to_string());
            let said = serde_json::json!({ "reason": reason, "time": time }).to_string();
            let mut answer = Response::new(Answering::whole(said));
            if reason.is_some() {
                *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            return Ok(answer);
        }
        assert_eq!(request.uri().path(), "/channel");
        *self.fetches.lock().expect("no panic") += 1;
        let document = ChannelDocument {
            secret: self.secret.lock().expect("no panic").clone(),
            versions: self.versions,
        };
        let json = serde_json::to_vec(&document).expect("a document");
        Ok(Response::new(Answering::whole(json)))
    }

    /// Follows the feed as a server does.
    fn hear(&self, told: serde_json::Value) -> Result<Response<Answering>, HungUp> {
        let mut deaf = self.deaf.lock().expect("no panic");
        if *deaf > 0 {
            *deaf -= 1;
            return Err(HungUp);
        }
        let mut takes_no_feed = self.takes_no_feed.lock().expect("no panic");
        takes_no_feed.1 += 1;
        if let Some(status) = takes_no_feed.0 {
            let mut answer = Response::new(Answering::whole(""));
            *answer.status_mut() = status;
            return Ok(answer);
        }
        let mut heard = self.revoked.lock().expect("no panic");
        let (revoked, cursor) = &mut *heard;
        if let Some(page) = told.get("page") {
            let page: RevocationFeed = serde_json::from_value(page.clone()).expect("a page");
            revoked.extend_from_slice(page.since(*cursor).expect("it follows"));
            *cursor = page.cursor;
        }
        let answer = serde_json::json!({ "after": *cursor }).to_string();
        Ok(Response::new(Answering::whole(answer)))
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Answering>, HungUp> {
        let script = self.scripts.lock().expect("no panic").pop_front().unwrap_or(Script::Echo);
        let (head, mut body) = request.into_parts();
        let channel = one(&head.headers, header::CHANNEL);
        let known = self.secret.lock().expect("no panic").matches(&channel);
        if !known || matches!(script, Script::Misdirected) {
            let mut answer = Response::new(Answering::whole("unknown channel"));
            *answer.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            return Ok(answer);
        }
        let grant = check(&head);
        let nonce = grant.nonce.to_header();
        self.begun.notify_one();
        let mut collected = Vec::new();
        if !matches!(script, Script::Pieces | Script::AtOnce) {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Err(HungUp) };
                if let Some(piece) = frame.data_ref() {
                    collected.extend_from_slice(piece);
                    let _ = self.arrived.send(piece.len());
                }
            }
        }
        let seen = Seen {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            headers: head.headers,
            grant,
            body: collected,
        };
        let echo = format!("{} {} {}", seen.method, seen.target, seen.body.len());
        self.seen.lock().expect("no panic").push(seen);

        let mut answer = Response::builder()
            .header(header::COST, contract::Cost { rows: 3, micros: 40 }.to_header())
            .header("hearthgate-later", "unknown")
            .header("etag", "W/\"1\"")
            .header("x-request-id", "the server's own");
        let mut nonces = vec![nonce];
        let body = match script {
            Script::Echo | Script::AtOnce => Answering::whole(echo),
            Script::AfterGo => {
                self.go.notified().await;
                Answering::whole(echo)
            }
            Script::Nonces(others) => {
                nonces = others;
                Answering::whole("not for you")
            }
            Script::Status(status, text) => {
                answer = answer.status(status);
                Answering::whole(text)
            }
            Script::BreakOff => {
                answer = answer.header("content-length", "100");
                Answering::broken("only this")
            }
            Script::Pieces => {
                let pieces = self.pieces.lock().expect("no panic").take();
                Answering::Pieces(pieces.expect("one answer in pieces a stub"))
            }
            Script::Hangup => return Err(HungUp),
            Script::Misdirected => unreachable!("answered above"),
        };
        for nonce in nonces {
            answer = answer.header(header::NONCE, nonce);
        }
        Ok(answer.body(body).expect("an answer"))
    }
}

/// Checks a request as a server must; what is wrong fails the test.
fn check(head: &http::request::Parts) -> Grant {
    assert_eq!(one(&head.headers, header::CONTRACT), "1");
    let grant = Grant::decode(&one(&head.headers, header::GRANT)).expect("a grant");
    let (path, query) = (head.uri.path(), head.uri.query());
    let below = path.strip_prefix("/fhir").expect("the base path");
    let interaction =
        Interaction::classify(head.method.as_str(), below, query).expect("a FHIR request");
    grant
        .agrees(head.method.as_str(), path, query, &interaction)
        .expect("a grant for this very request");
    grant
}

/// The value of a header that stands once.
pub(crate) fn one(headers: &HeaderMap, name: &str) -> String {
    let mut values = headers.get_all(name).iter();
    let value = values.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(values.next().is_none(), "{name} stands twice");
    value.to_str().expect("text").to_owned()
}

/// An answer's body.
enum Answering {
    Whole(Option<Bytes>),
    /// What comes yet: a piece, time for it to leave, the end.
    Broken(VecDeque<Option<Bytes>>),
    Pieces(mpsc::UnboundedReceiver<Bytes>),
}

impl Answering {
    fn whole(text: impl Into<Bytes>) -> Self {
        Self::Whole(Some(text.into()))
    }

    fn broken(text: impl Into<Bytes>) -> Self {
        Self::Broken([Some(text.into()), None].into())
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = HungUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HungUp>>> {
        match &mut *self {
            Self::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Broken(coming) => match coming.pop_front() {
                Some(Some(text)) => Poll::Ready(Some(Ok(Frame::data(text)))),
                Some(None) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(Some(Err(HungUp))),
            },
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(Some(text)) => hyper::body::SizeHint::with_exact(text.len() as u64),
            _ => hyper::body::SizeHint::default(),
        }
    }
}
