//! An issuer of tokens for tests: it signs, shows its keys, answers introspections, and can be
//! away.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::HandClock;

/// What its tokens are for.
pub(crate) const AUDIENCE: &str = "https://ehr.example.org/fhir";

/// A running issuer.
pub(crate) struct Issuer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    away: bool,
    keys: Vec<(String, Ed25519KeyPair)>,
    active: HashMap<String, Value>,
    asked: Vec<String>,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut tasks = JoinSet::new();
        let served = shared.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, address, &served).await;
            }
        });
        let issuer = Self { address, shared, _tasks: tasks };
        issuer.rotate("first");
        issuer
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Signs with another key from now on, and shows no other.
    pub(crate) fn rotate(&self, id: &str) {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        self.shared().keys = vec![(id.to_owned(), pair)];
    }

    /// Signs with another key from now on, and shows those of before too.
    pub(crate) fn adds(&self, id: &str) {
        let mut before = std::mem::take(&mut self.shared().keys);
        self.rotate(id);
        self.shared().keys.append(&mut before);
    }

    /// Whether it answers nobody.
    pub(crate) fn is_away(&self, away: bool) {
        self.shared().away = away;
    }

    /// What an introspection of a token says.
    pub(crate) fn says_of(&self, token: &str, says: Value) {
        self.shared().active.insert(token.to_owned(), says);
    }

    /// How often this path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.shared().asked.iter().filter(|asked| *asked == path).count()
    }

    /// Claims that are in order; those given are added or take their place.
    pub(crate) fn claims(&self, more: &Value) -> Value {
        let now = HandClock::START / 1_000_000;
        let mut claims = json!({
            "iss": self.url(), "aud": AUDIENCE, "exp": now + 3600, "iat": now, "azp": "app",
            "sub": "u-1", "jti": "t-1", "scope": "openid user/*.rs",
        });
        let more = more.as_object().expect("claims").clone();
        claims.as_object_mut().expect("claims").extend(more);
        claims
    }

    /// A token with these claims.
    pub(crate) fn token(&self, more: &Value) -> String {
        let shared = self.shared();
        let (id, pair) = &shared.keys[0];
        let header = json!({"alg": "EdDSA", "kid": id, "typ": "at+jwt"});
        let claims = self.claims(more);
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = pair.sign(signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("nobody panicked")
    }
}

async fn answer(mut stream: TcpStream, address: SocketAddr, shared: &Mutex<Shared>) {
    let mut read = Vec::new();
    let question = loop {
        let Ok(1..) = stream.read_buf(&mut read).await else { return };
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            break text;
        }
    };
    let document = {
        let mut shared = shared.lock().expect("nobody panicked");
        let path = question.split(' ').nth(1).unwrap_or_default().to_owned();
        shared.asked.push(path.clone());
        if shared.away {
            return;
        }
        match path.as_str() {
            "/.well-known/openid-configuration" => Some(json!({
                "issuer": format!("http://{address}"), "jwks_uri": format!("http://{address}/keys"),
            })),
            "/keys" => {
                let keys = shared.keys.iter().map(|(id, pair)| {
                    let x = b64(pair.public_key());
                    json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x, "use": "sig"})
                });
                Some(json!({"keys": keys.collect::<Vec<_>>()}))
            }
            // `gate` and `a secret`, form-encoded.
            "/introspect" if question.contains("Basic Z2F0ZTphK3NlY3JldA==") => {
                let token = question.split("token=").nth(1).and_then(|rest| rest.split('&').next());
                let known = shared.active.get(token.unwrap_or_default()).cloned();
                Some(known.unwrap_or(json!({"active": false})))
            }
            _ => None,
        }
    };
    let mut text = match &document {
        Some(_) => "HTTP/1.1 200 OK\r\n".to_owned(),
        None => "HTTP/1.1 404 Not Found\r\n".to_owned(),
    };
    let body = document.map(|document| document.to_string()).unwrap_or_default();
    write!(text, "Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .expect("a String takes every text");
    let _ = stream.write_all(text.as_bytes()).await;
}
