//! `[gateway.upstreams.NAME]` and `[[gateway.routes]]`: what the operator names, so that it stands
//! in no table of keys.

use std::collections::BTreeMap;
use std::ops::Range;

use gateway::{Routing, WrittenRoute, WrittenUpstream};
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::file::{line_of, refused};

/// The section that both stand in.
const SECTION: &str = "gateway";
/// The sections by their names in the file.
pub(super) const SECTIONS: [&str; 2] = ["gateway.routes", "gateway.upstreams"];

/// Routes and upstreams as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The routes, in the file's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<WrittenRoute>,
    /// The upstreams by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    upstreams: BTreeMap<String, WrittenUpstream>,
}

/// The file as far as it defines routes and upstreams.
#[derive(Deserialize)]
struct OfRouting {
    gateway: Written,
}

/// What is wrong, and where in the file.
pub(super) struct Wrong {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) problem: String,
}

impl Written {
    /// Reads both out of a whole file.
    pub(super) fn read(text: &str, file: &DeTable<'_>) -> Result<(Self, Routing), Wrong> {
        let OfRouting { gateway: written } = toml::from_str(text).map_err(|error| {
            let (line, problem) = refused(text, &error);
            Wrong { line, problem }
        })?;
        let routing = Routing::check(&written.routes, &written.upstreams).map_err(|error| {
            let span = span_of(file, &error.place).unwrap_or(0..0);
            Wrong { line: line_of(text, &span), problem: error.to_string() }
        })?;
        Ok((written, routing))
    }

    /// Both as a part of a file.
    pub(super) fn to_toml(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        let text = toml::to_string(&BTreeMap::from([(SECTION, self)]));
        let text = text.expect("what was TOML is TOML");
        // The section has begun already.
        text.strip_prefix("[gateway]\n").unwrap_or(&text).to_owned()
    }
}

/// Where `gateway.routes[2]` or `gateway.upstreams.lab` begins.
fn span_of(file: &DeTable<'_>, place: &str) -> Option<Range<usize>> {
    let (name, at) = place.strip_prefix("gateway.")?.split_once(['.', '['])?;
    let DeValue::Table(gateway) = file.get(SECTION)?.get_ref() else { return None };
    match gateway.get(name)?.get_ref() {
        DeValue::Array(routes) => {
            Some(routes.get(at.strip_suffix(']')?.parse::<usize>().ok()?)?.span())
        }
        DeValue::Table(upstreams) => {
            Some(upstreams.keys().find(|name| *name.get_ref() == at)?.span())
        }
        _ => None,
    }
}

/// What the configuration's page says of them.
pub(super) const REFERENCE: &str = "\n\
## Routes and upstreams\n\n\
`[[gateway.routes]]` and `[gateway.upstreams.NAME]` stand in the file as often as they are needed ([gateway.md](gateway.md#routes-and-upstreams) says what they mean).\n\n\
| `[[gateway.routes]]` | default | decides |\n|---|---|---|\n\
| `name` | | What it is called in the log, in metrics and in errors: small letters, digits, hyphens. Required. |\n\
| `path` | | The path that it serves, with all below it. Required. |\n\
| `host` | every host | `example.org`, or `*.example.org` for all below it. |\n\
| `methods` | every method | The methods that it takes. |\n\
| `header` | none | `{ name = \"x-version\", value = \"2\" }`: a header that a request must have; any value where none is named. |\n\
| `content` | `fhir` | What is spoken there: `fhir`, or `other`. |\n\
| `upstream` | | The upstream that it leads to; `server` is the server of ours. |\n\
| `split` | | `[{ upstream = \"a\", weight = 95 }, …]` instead: several that share its requests. |\n\
| `sticky_header` | none | The header whose value keeps a caller with one of these. |\n\
| `mirror` | none | `{ upstream = \"c\", percent = 10 }`: copies of so many requests in a hundred go there, and the answers nowhere. |\n\
| `upstream_path` | `path` | What stands in the place of `path` on the way to the upstream. |\n\
| `callers` | `client` | Who may use it: `client`, whoever shows a key, or `public`, everybody. |\n\
| `clients` | every client | The clients that may. |\n\
| `promises` | none | The limits within which callers see data, as their users were promised: `patient` or `user`. Refused where the upstream enforces none. |\n\
| `authorizer` | none | Who is asked whether a request may pass: `upstream`, `path`, `timeout_ms` (1000), `keep_seconds` (0) for which an answer holds. |\n\
| `body_bytes` | `gateway.body_bytes` | The longest body of a request. |\n\
| `whole_ms` | that of the upstream | For a request and its answer in all. |\n\
| `cors_origins` | `gateway.cors_origins` | Origins of web pages that may ask. |\n\
| `cors_credentials`, `cors_exposed` | those of the gateway | Whether these pages may have the browser send cookies, and headers of answers that they may read besides. |\n\
| `request_headers`, `response_headers` | none | `{ remove = [\"a\"], rename = { b = \"c\" }, set = { d = \"1\" } }`, in this order. |\n\n\
| `[gateway.upstreams.NAME]` | default | decides |\n|---|---|---|\n\
| `endpoints` | | `[{ address = \"HOST:PORT\", weight = 1 }, …]`. Names are resolved again every 15 s. Required. |\n\
| `enforces` | | What it enforces itself: `smart-token`, the caller's own token, which is passed on, or `none`. Required. |\n\
| `scheme` | `http` | `http` or `https`. |\n\
| `balancing` | `round-robin` | How an endpoint is chosen: `round-robin`, `least-requests`, or `hash` of `hash_header`. |\n\
| `host` | the client's | The Host that it is asked by. |\n\
| `health` | none | Checks: `path`, `status` (200), `interval_ms` (5000), `timeout_ms` (2000), `up` (1) good ones in a row bring an endpoint back, `down` (2) bad ones take it out; `base_pointer` and `base`: where in the answer it says its own base, as a JSON Pointer, and what that must begin with. |\n\
| `failures` | 5 | Failed requests in a row that take an endpoint out, but never the last one. |\n\
| `ejection_ms`, `longest_ejection_ms` | 1000, 60000 | For how long, the first time and at most; it doubles until a request succeeds. |\n\
| `in_flight`, `pending` | 1024, 256 | Requests under way, and that wait to be; more get 503 at once. |\n\
| `connect_ms`, `first_byte_ms`, `between_bytes_ms` | 2000, 60000, 30000 | How long it may take to accept, to begin an answer, and to go on with it. |\n\
| `whole_ms` | none | For a request and its answer in all. |\n\
| `retry` | true | Whether GET, HEAD and OPTIONS are sent once more, to another endpoint, when nothing of an answer came. |\n\
| `sockets`, `socket_idle_ms` | 1024, 300000 | WebSockets open at a time, and how long one may be silent. |\n\
| `credentials` | none | What the gateway shows it: `file` or `environment` names where a token is, or with `user` a password, or with `token` the key (PKCS #8, PEM) that asks for an access token: `token = { upstream, path, audience, client, key_id, scope }`. |\n\
| `tls` | the system's authorities | With `https`: `name` that the certificate is for, `authority_file`, and `certificate_file` with `key_file` to show one. |\n";
