//! The gateway's own answers: every reason to refuse, with its status, headers and words.
//!
//! This file alone turns a reason into an answer. Texts are safe for any client: none names what
//! exists behind the gateway. An answer of the server is never changed here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use contract::{Interaction, NotFhir, Reason};
use http::{HeaderValue, header};
use pingora::http::ResponseHeader;
use pingora::{ErrorSource, ErrorType};
use smart::Level;

use crate::guard::Lockout;
use crate::plans::{Kind, Limit};
use crate::routes::Content;
use crate::scope;
use crate::tls::TlsError;
use crate::tokens::NotBelieved;

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Another process has the address.
    #[error(
        "the address {address} for {purpose} is in use; stop what listens there, or choose another"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: choose an address of this machine")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        purpose: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another gateway answers renewals on the socket.
    #[error("the renewal socket {0} is in use; stop the other gateway, or choose another path")]
    RenewalSocketInUse(PathBuf),
    /// The renewal socket cannot be made.
    #[error("cannot make the renewal socket {path}: see that its directory exists and is ours")]
    RenewalSocket {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The base path is not a plain absolute path.
    #[error("the base path {0:?} must begin with a slash, not end with one, and be plain ASCII")]
    BasePath(String),
    /// A socket's path is too long or not text.
    #[error("the path {0} cannot be a socket's; use a shorter one, in UTF-8")]
    SocketPath(PathBuf),
    /// The routes cannot all be.
    #[error("the routes are not sound")]
    Routes(#[source] crate::routes::RouteProblem),
    /// A route takes the server of ours from its base.
    #[error(
        "the route `{route}` leads to the server of ours, which answers below {base_path} alone; \
         give it that path"
    )]
    ServerElsewhere {
        /// The route.
        route: String,
        /// The server's base.
        base_path: String,
    },
    /// A route leads to the server of ours, which is not there.
    #[error("a route leads to `server`, and gateway.server says that there is none")]
    NoServer,
    /// There is nothing to serve.
    #[error("there is no route and no server of ours; add [[gateway.routes]]")]
    NoRoutes,
    /// A route leads to an upstream that cannot be begun.
    #[error("an upstream cannot be begun")]
    Upstream(#[source] crate::upstreams::UpstreamError),
    /// The access log's thread cannot start.
    #[error("cannot start the access log")]
    AccessLog(#[source] std::io::Error),
    /// Requests without a caller cannot be given a grant.
    #[error("cannot make the grant of requests without a caller")]
    PublicGrant(#[source] contract::GrantError),
    /// The authorities of an issuer cannot be read.
    #[error(transparent)]
    Authority(#[from] crate::fetch::AuthorityUnreadable),
    /// What was to be done before the configuration is put into force was not.
    #[error("the configuration was not put into force")]
    NotDoneFirst(#[source] crate::reload::NotDone),
    /// TLS was to begin or to end while the gateway runs.
    #[error("gateway.tls.certificates cannot come or go by a reload; restart for that")]
    TlsNeedsRestart,
    /// The certificates of the link to the server cannot be used.
    #[error(transparent)]
    Link(Box<link::FilesError>),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What ACME keeps cannot be kept.
    #[error(transparent)]
    Acme(#[from] crate::acme::AcmeError),
    /// The metrics cannot be registered.
    #[error("cannot register the metrics")]
    Metrics(#[source] prometheus::Error),
}

/// Why a request got an answer of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    MalformedHead,
    AmbiguousFraming,
    AmbiguousHost,
    UnsupportedTarget,
    UriTooLong,
    HeadTooLarge,
    BodyTooLarge,
    AddressDenied,
    NoRoute,
    NoSuchUrl,
    MethodNotAllowed {
        allow: String,
    },
    InvalidUrl,
    CredentialsMissing,
    CredentialsInvalid,
    CredentialsAmbiguous,
    TokenInvalid(NotBelieved),
    IssuerUnreachable,
    TooManyFailedAuthentications(Lockout),
    RateLimited {
        retry_after: u32,
    },
    /// A limit of the caller's plan says no.
    Exceeded(Exceeded),
    /// As many requests of the lane are worked on as may be, and have been for a while.
    LaneFull,
    Denied {
        reason: &'static str,
    },
    /// A token that would be permitted this with one of these scopes.
    InsufficientScope {
        reason: &'static str,
        scope: String,
    },
    BreakGlassMalformed,
    TooManyBreakGlasses,
    BreakGlassNotRecorded,
    GrantImpossible,
    ServerUnreachable,
    ChannelUnknown,
    ServerTooSlow,
    /// The host of the server, or the network to it, went away in the midst.
    LinkLost,
    ServerBroken,
    AnswerDiscarded,
    UpstreamFull,
    NoToken,
    AuthorizerSilent,
    ClientTooSlow,
    /// An answer was not taken.
    AnswerLeft,
    /// Nobody is left to read the answer.
    ClientGone,
    Internal,
}

/// The limit that says no, and after how many seconds it may say yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) limit: Arc<Limit>,
    pub(crate) retry_after: u32,
}

/// Whether the kernel gave a connection up because nothing came through any more.
fn is_lost(error: &pingora::Error) -> bool {
    use std::io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    // pingora's errors name no source, but what began it all.
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error.root_cause());
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            let lost = [TimedOut, HostUnreachable, NetworkUnreachable, NetworkDown];
            return lost.contains(&error.kind());
        }
        next = error.source();
    }
    false
}

/// What a refusal says on the wire.
struct Words {
    status: u16,
    /// The OperationOutcome's issue code.
    issue: &'static str,
    /// The stable code in logs and metrics.
    reason: &'static str,
    text: &'static str,
}

const fn words(
    status: u16,
    issue: &'static str,
    reason: &'static str,
    text: &'static str,
) -> Words {
    Words { status, issue, reason, text }
}

impl Refusal {
    fn words(&self) -> Words {
        match self {
            Self::MalformedHead => {
                words(400, "structure", "malformed-head", "The request's head is not HTTP.")
            }
            Self::AmbiguousFraming => words(
                400,
                "structure",
                "ambiguous-framing",
                "The request's length or lines can be read in two ways.",
            ),
            Self::AmbiguousHost => {
                words(400, "structure", "ambiguous-host", "A request has exactly one Host header.")
            }
            Self::UnsupportedTarget => {
                words(400, "structure", "unsupported-target", "The request's target is not a path.")
            }
            Self::UriTooLong => words(
                414,
                "too-long",
                "uri-too-long",
                "The URL is too long; a search can be sent as POST.",
            ),
            Self::HeadTooLarge => words(
                431,
                "too-long",
                "head-too-large",
                "The request's headers are too many or too long.",
            ),
            Self::BodyTooLarge => words(
                413,
                "too-long",
                "body-too-large",
                "The request's body is larger than this server accepts.",
            ),
            Self::AddressDenied => {
                words(403, "forbidden", "address-denied", "Nothing is served to this address.")
            }
            Self::NoRoute => words(404, "not-found", "no-route", "Nothing is served here."),
            Self::NoSuchUrl => words(
                404,
                "not-found",
                "no-such-url",
                "The URL is none of those that FHIR defines.",
            ),
            Self::MethodNotAllowed { .. } => words(
                405,
                "not-supported",
                "method-not-allowed",
                "The URL does not take this method.",
            ),
            Self::InvalidUrl => {
                words(400, "invalid", "invalid-url", "The URL has a part that is not well formed.")
            }
            Self::CredentialsMissing => words(
                401,
                "login",
                "credentials-missing",
                "Credentials are needed: Authorization: Bearer KEY.",
            ),
            Self::CredentialsInvalid => {
                words(401, "login", "credentials-invalid", "The credentials are not valid.")
            }
            Self::CredentialsAmbiguous => words(
                401,
                "login",
                "credentials-ambiguous",
                "A request has at most one Authorization header, of the form Bearer KEY.",
            ),
            Self::TokenInvalid(why) => {
                words(401, "login", why.code(), "The credentials are not valid.")
            }
            Self::IssuerUnreachable => words(
                503,
                "transient",
                "issuer-unreachable",
                "The issuer of the token cannot be asked about it; try again soon.",
            ),
            Self::TooManyFailedAuthentications(_) => words(
                429,
                "throttled",
                "too-many-failed-authentications",
                "Too many invalid credentials came from this address.",
            ),
            Self::RateLimited { .. } => {
                words(429, "throttled", "rate-limited", "Too many requests; see Retry-After.")
            }
            Self::InsufficientScope { reason, .. } => words(
                403,
                "forbidden",
                reason,
                "The token's scopes and its client's role do not permit this together; whoever runs the server sees why by the request's id.",
            ),
            Self::Exceeded(exceeded) => match exceeded.limit.kind {
                Kind::Rate { .. } => {
                    words(429, "throttled", "rate-limited", "Too many requests; see Retry-After.")
                }
                Kind::AtOnce { .. } => words(
                    429,
                    "throttled",
                    "too-many-at-once",
                    "Too many requests at once; wait until one of them has ended.",
                ),
                Kind::Quota { .. } => words(
                    429,
                    "throttled",
                    "quota-exceeded",
                    "The quota is used up; see Retry-After.",
                ),
            },
            Self::LaneFull => words(
                503,
                "throttled",
                "lane-full",
                "The server is busy with requests of this kind; see Retry-After.",
            ),
            Self::Denied { reason } => words(
                403,
                "forbidden",
                reason,
                "The credentials do not permit this; whoever runs the server sees why by the request's id.",
            ),
            Self::BreakGlassMalformed => words(
                400,
                "invalid",
                "break-glass-malformed",
                "Send {\"patient\": ID, \"reason\": WHY}: the id alone, as 123 of Patient/123, and the reason in 20 to 1000 characters.",
            ),
            Self::TooManyBreakGlasses => words(
                429,
                "throttled",
                "too-many-break-glasses",
                "As many are in force as may be at a time.",
            ),
            Self::BreakGlassNotRecorded => words(
                503,
                "transient",
                "break-glass-not-recorded",
                "It cannot be recorded now, and is not given; try again soon.",
            ),
            Self::GrantImpossible => words(
                500,
                "exception",
                "grant-impossible",
                "The client's rules cannot be expressed; the operator has to shorten them.",
            ),
            Self::ServerUnreachable => words(
                503,
                "transient",
                "server-unreachable",
                "The server cannot be reached; try again soon.",
            ),
            Self::ChannelUnknown => words(
                503,
                "transient",
                "channel-unknown",
                "The server is starting; try again soon.",
            ),
            Self::ServerTooSlow => {
                words(504, "timeout", "server-too-slow", "The server did not answer in time.")
            }
            Self::LinkLost => words(
                504,
                "timeout",
                "link-lost",
                "The connection to the server was lost; what was asked for may have been done.",
            ),
            Self::ServerBroken => words(
                502,
                "exception",
                "server-broken",
                "The server's answer broke off or was not HTTP.",
            ),
            Self::AnswerDiscarded => words(
                502,
                "exception",
                "answer-discarded",
                "The server's answer was not one to this request.",
            ),
            Self::UpstreamFull => words(
                503,
                "throttled",
                "upstream-full",
                "As many requests are under way as may be; try again soon.",
            ),
            Self::NoToken => words(
                503,
                "transient",
                "no-token",
                "The gateway is not let in where this is answered; try again soon.",
            ),
            Self::AuthorizerSilent => words(
                503,
                "transient",
                "authorizer-silent",
                "Whether this is permitted cannot be found out now; try again soon.",
            ),
            Self::ClientTooSlow => {
                words(408, "timeout", "client-too-slow", "The request did not arrive in time.")
            }
            Self::AnswerLeft => {
                words(408, "timeout", "answer-left", "The answer was not taken in time.")
            }
            Self::ClientGone => words(400, "incomplete", "client-gone", "The request broke off."),
            Self::Internal => words(500, "exception", "internal", "The gateway failed."),
        }
    }

    /// The answer's status.
    pub(crate) fn status(&self) -> u16 {
        self.words().status
    }

    /// The stable code in logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        self.words().reason
    }

    /// Whether the bytes that follow on the connection cannot be trusted to be a request.
    pub(crate) fn ends_the_connection(&self) -> bool {
        matches!(
            self,
            Self::AmbiguousFraming
                | Self::AmbiguousHost
                | Self::UnsupportedTarget
                | Self::UriTooLong
                | Self::HeadTooLarge
                | Self::BodyTooLarge
                | Self::ClientTooSlow
        )
    }

    /// The answer's body: an OperationOutcome where FHIR is spoken, elsewhere problem details
    /// (RFC 9457).
    pub(crate) fn body(&self, request_id: &str, content: Content) -> Bytes {
        let words = self.words();
        match content {
            Content::Fhir => {
                contract::refusal(words.status, words.issue, words.text, request_id).into()
            }
            Content::Other => serde_json::json!({
                "type": "about:blank",
                "title": words.reason,
                "status": words.status,
                "detail": words.text,
                "requestId": request_id,
            })
            .to_string()
            .into(),
        }
    }

    /// What the contract says about a URL or method that is not FHIR's.
    pub(crate) fn of_url(not_fhir: &NotFhir) -> Self {
        match not_fhir {
            NotFhir::BadEncoding | NotFhir::InvalidId => Self::InvalidUrl,
            NotFhir::NoSuchUrl => Self::NoSuchUrl,
            NotFhir::MethodNotAllowed { allowed } => {
                Self::MethodNotAllowed { allow: allowed.join(", ") }
            }
        }
    }

    /// What the contract's decision says about a caller.
    pub(crate) fn of_denial(reason: Reason) -> Self {
        match reason {
            Reason::NoCaller => Self::CredentialsMissing,
            Reason::NoRuleForType | Reason::NoRuleForAction | Reason::PowerMissing(_) => {
                Self::Denied { reason: reason.code() }
            }
        }
    }

    /// The same of a caller by token: with the scope that would permit it, by the URL alone.
    pub(crate) fn of_token_denial(reason: Reason, level: Level, interaction: &Interaction) -> Self {
        match (Self::of_denial(reason), scope::needed(level, interaction)) {
            (Self::Denied { reason }, Some(scope)) => Self::InsufficientScope { reason, scope },
            (refusal, _) => refusal,
        }
    }

    /// What a failure on the way to or from the server means. pingora's list of error types is
    /// open, so the rest is told apart by the side it happened on.
    pub(crate) fn of_failure(error: &pingora::Error) -> Self {
        match (error.esource(), error.etype()) {
            (
                ErrorSource::Upstream,
                ErrorType::ConnectTimedout
                | ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::ConnectProxyFailure
                | ErrorType::SocketError
                | ErrorType::BindError,
            ) => Self::ServerUnreachable,
            (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
                Self::ServerTooSlow
            }
            (ErrorSource::Upstream, _) if is_lost(error) => Self::LinkLost,
            (ErrorSource::Upstream, _) => Self::ServerBroken,
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => Self::ClientTooSlow,
            (ErrorSource::Downstream, ErrorType::WriteTimedout) => Self::AnswerLeft,
            (ErrorSource::Downstream, ErrorType::WriteError) if is_lost(error) => Self::AnswerLeft,
            (
                ErrorSource::Downstream,
                ErrorType::ReadError
                | ErrorType::WriteError
                | ErrorType::ConnectionClosed
                | ErrorType::H2Error,
            ) => Self::ClientGone,
            (ErrorSource::Downstream, _) => Self::AmbiguousFraming,
            (ErrorSource::Internal | ErrorSource::Unset, _) => Self::Internal,
        }
    }

    /// The seconds after which it is worth to ask again.
    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::TooManyFailedAuthentications(Lockout { retry_after, .. })
            | Self::RateLimited { retry_after } => Some(*retry_after),
            Self::Exceeded(exceeded) => Some(exceeded.retry_after),
            Self::ServerUnreachable
            | Self::ChannelUnknown
            | Self::LinkLost
            | Self::LaneFull
            | Self::UpstreamFull
            | Self::NoToken
            | Self::BreakGlassNotRecorded
            | Self::AuthorizerSilent => Some(1),
            Self::IssuerUnreachable => Some(5),
            _ => None,
        }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Self::CredentialsMissing => Some(HeaderValue::from_static("Bearer")),
            Self::CredentialsInvalid => {
                Some(HeaderValue::from_static("Bearer error=\"invalid_token\""))
            }
            Self::CredentialsAmbiguous => {
                Some(HeaderValue::from_static("Bearer error=\"invalid_request\""))
            }
            Self::TokenInvalid(why) => {
                let text =
                    format!("Bearer error=\"invalid_token\", error_description=\"{}\"", why.says());
                HeaderValue::try_from(text).ok()
            }
            Self::InsufficientScope { scope, .. } => {
                let text = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
                HeaderValue::try_from(text).ok()
            }
            Self::Denied { .. } => {
                Some(HeaderValue::from_static("Bearer error=\"insufficient_scope\""))
            }
            _ => None,
        }
    }

    /// The answer's head, for a body of this length.
    pub(crate) fn head(
        &self,
        body_length: usize,
        content: Content,
    ) -> pingora::Result<Box<ResponseHeader>> {
        let mut head = ResponseHeader::build_no_case(self.status(), Some(12))?;
        let media_type = match content {
            Content::Fhir => "application/fhir+json",
            Content::Other => "application/problem+json",
        };
        head.insert_header(header::CONTENT_TYPE, media_type)?;
        head.insert_header(header::CONTENT_LENGTH, body_length)?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        if let Some(seconds) = self.retry_after() {
            head.insert_header(header::RETRY_AFTER, seconds)?;
        }
        if let Some(challenge) = self.challenge() {
            head.insert_header(header::WWW_AUTHENTICATE, challenge)?;
        }
        if let Self::MethodNotAllowed { allow } = self {
            head.insert_header(header::ALLOW, allow.as_str())?;
        }
        Ok(Box::new(head))
    }

    /// The whole answer to a head that never became a request.
    pub(crate) fn malformed_head_answer() -> Bytes {
        let body = Self::MalformedHead.body("-", Content::Fhir);
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/fhir+json\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat().into()
    }
}
