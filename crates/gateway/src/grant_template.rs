//! A caller's grant with holes: encoded once, filled in for each request.
//!
//! Of a grant's text only four members change from request to request: until when, for what, over
//! which bytes, and the nonce. Serializing the rules again for each of them would cost more than
//! all the rest of a request's way through the gateway. The holes are found by where random
//! values of their form ended up, so nothing here knows the names or the order of the members,
//! and a template that does not say exactly what [`Grant::encode`] says is never used.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Digest, Grant, GrantError, GrantFields, Ids, Instant, Lane, Nonce, digest};
use http::HeaderValue;

/// What one request puts into the holes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'request> {
    pub(crate) not_after: Instant,
    /// The caller's own, but where its plan or what it asks for says otherwise.
    pub(crate) lane: Lane,
    pub(crate) interaction: &'request str,
    pub(crate) digest: Digest,
    pub(crate) nonce: Nonce,
}

/// The kinds of hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    NotAfter,
    Interaction,
    Digest,
    Nonce,
}

/// A grant that only lacks its request.
#[derive(Debug)]
pub(crate) struct GrantTemplate {
    grant: Grant,
    /// The text around the holes, when it could be cut.
    cut: Option<Cut>,
}

/// JSON in pieces: a text, then a hole; four times, then the rest.
#[derive(Debug)]
struct Cut {
    before: [(String, Hole); 4],
    rest: String,
}

impl GrantTemplate {
    /// The template of these members; those that a request gives count for nothing.
    pub(crate) fn new(fields: GrantFields, ids: &dyn Ids) -> Result<Self, GrantError> {
        let grant = Grant::new(fields)?;
        // Too long for any request: known now, not at the first one.
        grant.encode()?;
        let mut template = Self { grant, cut: None };
        template.cut = template.try_cut(ids);
        Ok(template)
    }

    /// The grant, for decisions, which do not look at the request's members.
    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The header's value for one request.
    pub(crate) fn fill(&self, filling: &Filling<'_>) -> Result<HeaderValue, GrantError> {
        // Another lane is no hole, and is encoded with all the rest.
        let Some(cut) = self.cut.as_ref().filter(|_| filling.lane == self.grant.lane) else {
            return self.encode(filling);
        };
        let text = URL_SAFE_NO_PAD.encode(cut.fill(filling));
        if text.len() > Grant::MAX_LENGTH {
            return Err(GrantError::TooLong(text.len()));
        }
        Ok(header_value(text))
    }

    fn fields(&self, filling: &Filling<'_>) -> GrantFields {
        GrantFields {
            not_after: filling.not_after,
            lane: filling.lane,
            interaction: filling.interaction.to_owned(),
            digest: filling.digest,
            nonce: filling.nonce,
            ..(*self.grant).clone()
        }
    }

    fn encode(&self, filling: &Filling<'_>) -> Result<HeaderValue, GrantError> {
        let text = Grant::new(self.fields(filling))?.encode()?;
        Ok(header_value(text))
    }

    fn try_cut(&self, ids: &dyn Ids) -> Option<Cut> {
        // Values that occur nowhere else but by a chance of 2^-60 or less.
        let marks = Marks::draw(ids);
        let json = serde_json::to_string(&self.fields(&marks.filling(self.grant.lane))).ok()?;
        let cut = marks.cut(&json)?;
        // And should that chance come true: what is filled in must be what is encoded.
        let other = Marks::draw(ids);
        let filling = other.filling(self.grant.lane);
        let expected = serde_json::to_string(&self.fields(&filling)).ok()?;
        (cut.fill(&filling) == expected).then_some(cut)
    }
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("base64url is visible ASCII")
}

/// Random values for the holes.
struct Marks {
    not_after: Instant,
    interaction: String,
    digest: Digest,
    nonce: Nonce,
}

impl Marks {
    fn draw(ids: &dyn Ids) -> Self {
        let [word, micros] = [Nonce::generate(ids), Nonce::generate(ids)];
        let number = ids.next();
        let interaction = format!("{word}-{number:x}");
        // Some microsecond of the years 1970 to 2100.
        let micros = micros
            .to_header()
            .bytes()
            .fold(number, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let micros = i64::try_from(micros % 4_000_000_000_000_000).unwrap_or(0);
        Self {
            not_after: Instant::from_micros(micros),
            digest: digest("", &interaction, None),
            nonce: Nonce::generate(ids),
            interaction,
        }
    }

    fn filling(&self, lane: Lane) -> Filling<'_> {
        Filling {
            not_after: self.not_after,
            lane,
            interaction: &self.interaction,
            digest: self.digest,
            nonce: self.nonce,
        }
    }

    /// Cuts `json` at each of the marks, which all occur once.
    fn cut(&self, json: &str) -> Option<Cut> {
        let not_after = self.not_after.text();
        let marks = [
            (Hole::NotAfter, std::str::from_utf8(&not_after).ok()?.to_owned()),
            (Hole::Interaction, self.interaction.clone()),
            (Hole::Digest, self.digest.to_string()),
            (Hole::Nonce, self.nonce.to_string()),
        ];
        let mut found = Vec::with_capacity(marks.len());
        for (hole, mark) in marks {
            let mut places = json.match_indices(&mark);
            let (at, _) = places.next()?;
            if places.next().is_some() {
                return None;
            }
            found.push((at, at + mark.len(), hole));
        }
        found.sort_by_key(|(start, _, _)| *start);
        let mut from = 0;
        let mut before = Vec::with_capacity(found.len());
        for (start, end, hole) in found {
            before.push((json.get(from..start)?.to_owned(), hole));
            from = end;
        }
        Some(Cut { before: before.try_into().ok()?, rest: json[from..].to_owned() })
    }
}

impl Cut {
    fn fill(&self, filling: &Filling<'_>) -> String {
        use std::fmt::Write as _;

        let mut json = String::with_capacity(1024);
        for (text, hole) in &self.before {
            json.push_str(text);
            match hole {
                Hole::NotAfter => {
                    let instant = filling.not_after.text();
                    json.push_str(std::str::from_utf8(&instant).unwrap_or_default());
                }
                Hole::Interaction => json.push_str(filling.interaction),
                Hole::Digest => {
                    write!(json, "{}", filling.digest).expect("a String takes every text");
                }
                Hole::Nonce => {
                    write!(json, "{}", filling.nonce).expect("a String takes every text");
                }
            }
        }
        json.push_str(&self.rest);
        json
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use contract::{Actions, Interaction, Rule, Types};

    use super::*;

    /// Numbers that are never the same twice.
    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Ids for Counting {
        fn next(&self) -> u128 {
            u128::from(self.0.fetch_add(1, Ordering::Relaxed)) << 64
        }
        fn fill(&self, bytes: &mut [u8]) {
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = number.to_be_bytes()[at % 8].wrapping_add(u8::try_from(at).unwrap_or(0));
            }
        }
    }

    fn fields(filter: Option<&str>) -> GrantFields {
        let interaction = Interaction::Capabilities;
        let ids = Counting::default();
        let request = GrantFields::of_request(
            "default".parse().expect("a tenant's name"),
            &interaction,
            digest("GET", "/", None),
            Nonce::generate(&ids),
            Instant::from_micros(0),
        );
        let rule = Rule {
            filter: filter.map(str::to_owned),
            ..Rule::within_all(Types::All, Actions::all())
        };
        GrantFields {
            client: Some("owner".to_owned()),
            authorization: Some("key:0123456789abcdef".to_owned()),
            rules: vec![rule],
            budget: 7,
            ..request
        }
    }

    #[test]
    fn a_filled_template_says_exactly_what_the_grant_says() {
        let ids = Counting::default();
        let template = GrantTemplate::new(fields(None), &ids).expect("a grant");
        assert!(template.cut.is_some());
        for (micros, lane, interaction, path) in [
            (1, Lane::Interactive, "read", "/fhir/Patient/1"),
            (
                1_790_000_000_000_000,
                Lane::Interactive,
                "history-instance",
                "/fhir/Patient/1/_history",
            ),
            (2, Lane::Bulk, "search-type", "/fhir/Patient"),
        ] {
            let filling = Filling {
                not_after: Instant::from_micros(micros),
                lane,
                interaction,
                digest: digest("GET", path, None),
                nonce: Nonce::generate(&ids),
            };
            let filled = template.fill(&filling).expect("it fits");
            assert_eq!(filled, template.encode(&filling).expect("it fits"));
            let read = Grant::decode(filled.to_str().expect("text")).expect("a grant");
            assert_eq!(*read, template.fields(&filling));
        }
    }

    #[test]
    fn a_grant_that_is_too_long_is_known_when_its_template_is_made() {
        let mut long = fields(Some(&"x".repeat(1000)));
        long.rules = vec![long.rules[0].clone(); 6];
        let made = GrantTemplate::new(long, &Counting::default());
        assert!(matches!(made, Err(GrantError::TooLong(_))), "{made:?}");
    }

    #[test]
    fn without_a_cut_the_grant_is_encoded_as_ever() {
        /// Chance that always falls the same way: the marks are found, but prove nothing.
        struct Same;
        impl Ids for Same {
            fn next(&self) -> u128 {
                0
            }
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0);
            }
        }
        // The mark's text stands in the rules as well, so that it cannot be told apart.
        let word = Nonce::generate(&Same).to_string();
        let template = GrantTemplate::new(fields(Some(&word)), &Same).expect("a grant");
        assert!(template.cut.is_none());
        let filling = Filling {
            not_after: Instant::from_micros(5),
            lane: Lane::Interactive,
            interaction: "read",
            digest: digest("GET", "/", None),
            nonce: Nonce::generate(&Counting::default()),
        };
        let filled = template.fill(&filling).expect("it fits");
        let read = Grant::decode(filled.to_str().expect("text")).expect("a grant");
        assert_eq!(*read, template.fields(&filling));
    }
}
