//! The headers of the contract, and those that no client may send through.

use std::fmt;
use std::str::FromStr;

use crate::names::InvalidName;

/// The contract's version, a decimal number.
pub const CONTRACT: &str = "hearthgate-contract";
/// The [`ChannelSecret`](crate::ChannelSecret) of this link.
pub const CHANNEL: &str = "hearthgate-channel";
/// The [`Grant`](crate::Grant).
pub const GRANT: &str = "hearthgate-grant";
/// On an answer: the [`Nonce`](crate::Nonce) of the request it belongs to.
pub const NONCE: &str = "hearthgate-nonce";
/// On an answer: its [`Cost`].
pub const COST: &str = "hearthgate-cost";
/// What every header of the contract begins with.
pub const PREFIX: &str = "hearthgate-";

/// Beyond the contract's own and `Forwarded`: headers by which proxies say who the client is, and
/// those by which some servers let a request be another than the one that was judged.
const STRIPPED: [&str; 14] = [
    "hearthgate",
    "forwarded",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Whether a header of this name is removed from a client's request. Letter case does not count,
/// and any mark counts as a hyphen: servers behind may read `X_Forwarded_For` as the real thing.
#[must_use]
pub fn must_be_stripped(name: &str) -> bool {
    let same = |name: &str, expected: &str| {
        name.len() == expected.len()
            && name.bytes().zip(expected.bytes()).all(|(byte, expected)| {
                let mark = !byte.is_ascii_alphanumeric();
                (if mark {
                    b'-'
                } else {
                    byte.to_ascii_lowercase()
                }) == expected
            })
    };
    let begins = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| same(start, prefix))
    };
    begins(PREFIX)
        || begins("x-forwarded-")
        || begins("x-original-forwarded-")
        || STRIPPED.iter().any(|stripped| same(name, stripped))
}

/// Reads [`CONTRACT`]: the version, when it is one that this side speaks.
#[must_use]
pub fn spoken_version(header: &str) -> Option<u32> {
    let version = header
        .parse()
        .ok()
        .filter(|&version| crate::speaks(version))?;
    (version.to_string() == header).then_some(version)
}

/// What answering cost, as [`COST`] says it: `rows=12;us=345`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Rows read.
    pub rows: u64,
    /// Microseconds spent.
    pub micros: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rows={};us={}", self.rows, self.micros)
    }
}

impl FromStr for Cost {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text
            .strip_prefix("rows=")
            .and_then(|rest| rest.split_once(";us="));
        let (rows, micros) = numbers.ok_or(InvalidName("cost"))?;
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .parse()
                .ok()
                .filter(|_| plain)
                .ok_or(InvalidName("cost"))
        };
        Ok(Self {
            rows: number(rows)?,
            micros: number(micros)?,
        })
    }
}
