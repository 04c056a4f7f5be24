//! What a route changes of headers on their way: taken out, renamed, set, in this order.
//!
//! What the gateway itself says or relies on no rule touches: the contract's headers, who is
//! asking, where a body ends, what a connection is.

use std::collections::BTreeMap;

use contract::header::must_be_stripped;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::{Deserialize, Serialize};

/// The text of a route's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenHeaderRules {
    /// Headers that are taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Headers that get another name: `old = "new"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// Headers with the one value that they have then: `name = "value"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

/// A route's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeaderRules {
    remove: Vec<HeaderName>,
    rename: Vec<(HeaderName, HeaderName)>,
    set: Vec<(HeaderName, HeaderValue)>,
}

/// Headers, beside those that carry identity, that are the gateway's or the protocol's own.
const KEPT: [&str; 14] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "ratelimit",
    "ratelimit-policy",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    "www-authenticate",
];

impl WrittenHeaderRules {
    /// # Errors
    /// What is wrong, and what is right.
    pub(crate) fn check(&self) -> Result<HeaderRules, String> {
        let remove = self.remove.iter().map(|name| read_name(name));
        let rename = self.rename.iter().map(|(old, new)| Ok((read_name(old)?, read_name(new)?)));
        let set = self.set.iter().map(|(name, value)| {
            let value = HeaderValue::try_from(value.as_str());
            Ok((read_name(name)?, value.map_err(|_| format!("the value of {name} is none"))?))
        });
        Ok(HeaderRules {
            remove: remove.collect::<Result<_, String>>()?,
            rename: rename.collect::<Result<_, String>>()?,
            set: set.collect::<Result<_, String>>()?,
        })
    }
}

fn read_name(text: &str) -> Result<HeaderName, String> {
    let name =
        HeaderName::try_from(text).map_err(|_| format!("{text:?} is no name of a header"))?;
    if must_be_stripped(name.as_str()) || KEPT.contains(&name.as_str()) {
        return Err(format!("{name} is the gateway's own or the protocol's; no rule changes it"));
    }
    Ok(name)
}

/// A head whose headers can be changed.
pub(crate) trait Head {
    /// Its headers.
    fn headers(&self) -> &HeaderMap;
    /// Takes every value of a header out.
    fn remove(&mut self, name: &HeaderName);
    /// Adds a value.
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> pingora::Result<()>;
}

impl Head for RequestHeader {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> pingora::Result<()> {
        self.append_header(name, value).map(drop)
    }
}

impl Head for ResponseHeader {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> pingora::Result<()> {
        self.append_header(name, value).map(drop)
    }
}

impl HeaderRules {
    /// Whether a header of this name is taken out, or has another value then.
    pub(crate) fn replaces(&self, name: &HeaderName) -> bool {
        self.remove.contains(name) || self.set.iter().any(|(set, _)| set == name)
    }

    /// Changes a head.
    pub(crate) fn apply(&self, head: &mut impl Head) -> pingora::Result<()> {
        for name in &self.remove {
            head.remove(name);
        }
        for (old, new) in &self.rename {
            let values: Vec<HeaderValue> = head.headers().get_all(old).iter().cloned().collect();
            if values.is_empty() {
                continue;
            }
            head.remove(old);
            head.remove(new);
            for value in values {
                head.append(new.clone(), value)?;
            }
        }
        for (name, value) in &self.set {
            head.remove(name);
            head.append(name.clone(), value.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(
        remove: &[&str],
        rename: &[(&str, &str)],
        set: &[(&str, &str)],
    ) -> Result<HeaderRules, String> {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(one, two)| ((*one).to_owned(), (*two).to_owned())).collect()
        };
        let remove = remove.iter().map(ToString::to_string).collect();
        WrittenHeaderRules { remove, rename: pairs(rename), set: pairs(set) }.check()
    }

    #[test]
    fn headers_are_taken_out_renamed_and_set_in_this_order() {
        let rules = rules(&["x-out"], &[("x-old", "x-new")], &[("x-set", "1")]).expect("rules");
        let mut head = RequestHeader::build("GET", b"/", None).expect("a head");
        for (name, value) in
            [("x-out", "a"), ("x-old", "b"), ("x-old", "c"), ("x-new", "d"), ("x-set", "e")]
        {
            head.append_header(name, value).expect("a header");
        }
        rules.apply(&mut head).expect("they apply");
        let left: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(left, [("x-new", &b"b"[..]), ("x-new", b"c"), ("x-set", b"1")]);
    }

    #[test]
    fn no_rule_touches_what_is_the_gateways_own() {
        for name in [
            "Hearthgate-Grant",
            "hearthgate_grant",
            "Forwarded",
            "X-Forwarded-For",
            "Authorization",
            "Host",
            "Content-Length",
            "X-Request-Id",
            "no name",
        ] {
            assert!(rules(&[name], &[], &[]).is_err(), "{name}");
            assert!(rules(&[], &[("x-a", name)], &[]).is_err(), "{name}");
            assert!(rules(&[], &[(name, "x-a")], &[]).is_err(), "{name}");
            assert!(rules(&[], &[], &[(name, "1")]).is_err(), "{name}");
        }
    }
}
