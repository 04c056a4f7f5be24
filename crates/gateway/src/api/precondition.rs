//! The state of what the API shows, by an entity tag (RFC 9110, section 8.8.3), and changes that are
//! made only where that state is still the one that somebody saw (`If-Match`, section 13.1.1).

use http::{HeaderMap, HeaderValue, StatusCode, header};
use registry::ChangeError;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::call::Call;
use super::form::Shape;
use super::problem::Problem;
use super::table::Operation;

/// Bytes of a tag, which is written in hexadecimal.
const LENGTH: usize = 16;
/// How often it is looked again because somebody changed something meanwhile.
const MOST_TRIES: usize = 100;

/// Something that is shown by itself.
#[derive(Debug)]
pub(crate) struct Resource {
    /// What it is called.
    pub(crate) word: &'static str,
    pub(crate) shape: &'static Shape,
    /// Shows the one that a path names.
    pub(crate) show: fn(&Call<'_>) -> Result<Value, Problem>,
}

/// What an `If-Match` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// `*`: that there is one.
    Any,
    /// One of these tags; weak ones, which never match, are left out.
    OneOf(Vec<String>),
}

/// A condition of a change.
#[derive(Debug)]
pub(crate) struct Condition {
    about: &'static Resource,
    tags: IfMatch,
}

/// The tag of what is shown: a digest of it.
pub(crate) fn tag(shown: &Value) -> String {
    let digest = digest(&SHA256, shown.to_string().as_bytes());
    let digits: String =
        digest.as_ref().iter().take(LENGTH).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// The `ETag` of an answer, where it shows what has one.
pub(crate) fn tag_of(operation: &Operation, shown: &Value) -> Option<HeaderValue> {
    if !operation.is_tagged() {
        return None;
    }
    HeaderValue::try_from(tag(shown)).ok()
}

/// The condition that a request for a change comes with.
pub(crate) fn read(
    operation: &Operation,
    headers: &HeaderMap,
) -> Result<Option<Condition>, Problem> {
    if !operation.changes() || !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let refused = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Some(about) = operation.guarded() else {
        return Err(refused("what this changes has no ETag; leave If-Match out"));
    };
    let values = headers.get_all(header::IF_MATCH).iter();
    let values: Result<Vec<_>, _> = values.map(HeaderValue::to_str).collect();
    let tags = values.ok().and_then(|values| if_match(&values.join(",")));
    let detail = "If-Match is no list of ETags; send one as it was answered, with its quotes, or *";
    match tags {
        Some(tags) => Ok(Some(Condition { about, tags })),
        None => Err(refused(detail)),
    }
}

/// Reads `*`, or tags with commas between them, of which there is one at least.
fn if_match(text: &str) -> Option<IfMatch> {
    let mut rest = text.trim_matches([' ', '\t']);
    if rest == "*" {
        return Some(IfMatch::Any);
    }
    let mut tags = Vec::new();
    let mut count = 0;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return (count > 0).then_some(IfMatch::OneOf(tags));
        }
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (inner, behind) = quoted.strip_prefix('"')?.split_once('"')?;
        if inner.contains(|one: char| one.is_ascii_control() || one == ' ') {
            return None;
        }
        let behind = behind.trim_start_matches([' ', '\t']);
        if !behind.is_empty() && !behind.starts_with(',') {
            return None;
        }
        if !is_weak {
            tags.push(format!("\"{inner}\""));
        }
        (count, rest) = (count + 1, behind);
    }
}

impl Condition {
    /// Does what `run` does, where the condition holds: no change of anybody else comes between
    /// its being looked at and the change.
    pub(crate) fn held(
        &self,
        call: &Call<'_>,
        run: fn(&Call<'_>) -> Result<Value, Problem>,
    ) -> Result<Value, Problem> {
        for _ in 0..MOST_TRIES {
            // Before it is looked at: what was changed after this is noticed.
            let sequence = call.api.registry.sequence();
            // What was changed meanwhile may be that the operator was revoked.
            call.api.still_stands(call.operator)?;
            self.check(&(self.about.show)(call)?)?;
            match run(&call.only_after(sequence)) {
                Err(problem) if problem.is_overtaken() => {}
                done => return done,
            }
        }
        Err(ChangeError::Contended.into())
    }

    fn check(&self, shown: &Value) -> Result<(), Problem> {
        match &self.tags {
            IfMatch::Any => Ok(()),
            IfMatch::OneOf(tags) if tags.contains(&tag(shown)) => Ok(()),
            IfMatch::OneOf(_) => {
                let detail = format!(
                    "the {} is in another state than the ETag in If-Match is of, and nothing was \
                     changed; look at it again, and ask with the ETag that it has now",
                    self.about.word
                );
                Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[&str]>) {
        let tags = |tags: &[&str]| IfMatch::OneOf(tags.iter().map(ToString::to_string).collect());
        assert_eq!(if_match(text), expected.map(tags), "{text}");
    }

    // GW-063
    #[test]
    fn an_if_match_is_a_star_or_a_list_of_tags_and_nothing_else() {
        assert_eq!(if_match("*"), Some(IfMatch::Any));
        assert_eq!(if_match(" *\t"), Some(IfMatch::Any));
        check("\"a\"", Some(&["\"a\""]));
        check("\"a\" , \"b,c\"", Some(&["\"a\"", "\"b,c\""]));
        check(",\"a\",,\"\",", Some(&["\"a\"", "\"\""]));
        // A weak one is read, and never matches.
        check("W/\"a\", \"b\"", Some(&["\"b\""]));
        check("W/\"a\"", Some(&[]));
        for wrong in [
            "",
            ",",
            "a",
            "\"a",
            "a\"",
            "\"a\"b",
            "\"a\" \"b\"",
            "\"a b\"",
            "w/\"a\"",
            "*, \"a\"",
            "\"a\", *",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn another_state_has_another_tag_and_the_same_has_the_same() {
        let tag_of = tag(&json!({"id": "lab", "name": "x"}));
        assert_eq!(tag_of.len(), 2 * LENGTH + 2);
        assert_eq!(tag_of, tag(&json!({"name": "x", "id": "lab"})));
        assert_ne!(tag_of, tag(&json!({"name": "y", "id": "lab"})));
    }
}
