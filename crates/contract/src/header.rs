//! The headers of the contract, and those that no client may send through.

/// The contract's version, a decimal number.
pub const CONTRACT: &str = "hearthgate-contract";
/// The [`ChannelSecret`](crate::ChannelSecret) of this link.
pub const CHANNEL: &str = "hearthgate-channel";
/// The [`Grant`](crate::Grant).
pub const GRANT: &str = "hearthgate-grant";
/// The gateway's feed of revocations by name, and the cursor as of which it knew the caller.
pub const FEED: &str = "hearthgate-feed";
/// On an answer: the [`Nonce`](crate::Nonce) of the request it belongs to.
pub const NONCE: &str = "hearthgate-nonce";
/// On an answer: its [`Cost`].
pub const COST: &str = "hearthgate-cost";
/// What every header of the contract begins with.
pub const PREFIX: &str = "hearthgate-";

/// How the names begin of the contract's headers, of those by which proxies say who the client
/// is, and of those by which some servers take a request for another than the one that was judged.
const STRIPPED: [&str; 13] = [
    "hearthgate",
    "forwarded",
    "x-forwarded",
    "x-original",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-http-method",
    "x-method-override",
    "x-rewrite-url",
];

/// Whether a header of this name is removed from a client's request. Letter case does not count,
/// and any mark counts as a hyphen: servers behind may read `X_Forwarded_For` as the real thing.
#[must_use]
pub fn must_be_stripped(name: &str) -> bool {
    let plain = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => byte.to_ascii_lowercase(),
        _ => b'-',
    };
    let begins = |start: &str| {
        let mut bytes = name.bytes().zip(start.bytes());
        name.len() >= start.len() && bytes.all(|(byte, expected)| plain(byte) == expected)
    };
    STRIPPED.iter().copied().any(begins)
}

/// Reads [`CONTRACT`]: the version, when it is one that this side speaks.
#[must_use]
pub fn spoken_version(header: &str) -> Option<u32> {
    number(header).filter(|&version| crate::speaks(version))
}

/// What answering cost, as [`COST`] says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Rows read.
    pub rows: u32,
    /// Microseconds spent.
    pub micros: u32,
}

impl Cost {
    /// The value of [`COST`]: rows and microseconds, `12 345`.
    #[must_use]
    pub fn to_header(self) -> String {
        format!("{} {}", self.rows, self.micros)
    }

    /// Reads [`COST`].
    #[must_use]
    pub fn from_header(header: &str) -> Option<Self> {
        let (rows, micros) = header.split_once(' ')?;
        let (rows, micros) = (number(rows)?, number(micros)?);
        Some(Self { rows, micros })
    }
}

/// A decimal number in its one form: no sign, no leading zero.
fn number(digits: &str) -> Option<u32> {
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
