//! The id of a requirement, `HTTP-034` or `SMART-S6`, and those that stand in a text.

use std::fmt;

/// An id: capital letters, a hyphen, at most one capital letter, digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(String);

impl Id {
    /// The id that a text begins with, and how long it is.
    fn leading(text: &str) -> Option<(Self, usize)> {
        let count = |from: usize, is_of_it: fn(&u8) -> bool| {
            text.as_bytes()[from..].iter().take_while(|byte| is_of_it(byte)).count()
        };
        let prefix = count(0, u8::is_ascii_uppercase);
        if prefix < 2 || !text[prefix..].starts_with('-') {
            return None;
        }
        let section = count(prefix + 1, u8::is_ascii_uppercase);
        let digits = count(prefix + 1 + section, u8::is_ascii_digit);
        let end = prefix + 1 + section + digits;
        (section <= 1 && digits > 0).then(|| (Self(text[..end].to_owned()), end))
    }

    /// Reads a text that is an id and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::leading(text).filter(|(_, end)| *end == text.len()).map(|(id, _)| id)
    }

    /// Whose checklist it is of: what stands before the hyphen.
    pub(super) fn prefix(&self) -> &str {
        self.0.split('-').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a text names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The ids, in order.
    pub(super) ids: Vec<Id>,
    /// First ids of ranges, which name nothing: whoever adds an id between would not know.
    pub(super) ranges: Vec<Id>,
}

/// The ids in a comment.
pub(super) fn in_comment(text: &str) -> Named {
    let mut named = Named::default();
    let mut at = 0;
    let mut before = ' ';
    while let Some(next) = text[at..].chars().next() {
        let found = Id::leading(&text[at..]).filter(|_| !before.is_ascii_alphanumeric());
        let Some((id, length)) = found else {
            before = next;
            at += next.len_utf8();
            continue;
        };
        before = '0';
        at += length;
        match end_of_range(&text[at..]) {
            Some(end) => {
                named.ranges.push(id);
                at += end;
            }
            None => named.ids.push(id),
        }
    }
    named
}

/// Where what makes the id before it a range ends: a sign for "to", then an id or a number.
fn end_of_range(rest: &str) -> Option<usize> {
    let signs = [" to ", " - ", "-", "–", " – ", "..=", "..", "…"];
    let sign = signs.iter().filter(|it| rest.starts_with(**it)).map(|it| it.len()).max()?;
    let last = &rest[sign..];
    let digits = last.bytes().take_while(u8::is_ascii_digit).count();
    let length = Id::leading(last).map_or(digits, |(_, length)| length);
    (length > 0).then_some(sign + length)
}

/// The ids in the name of a function, where `http_034` stands for `HTTP-034`.
pub(super) fn in_name(name: &str) -> Vec<Id> {
    let words: Vec<&str> = name.split('_').collect();
    let ids = words.windows(2).filter(|pair| pair[1].len() >= 2);
    ids.filter_map(|pair| Id::parse(&format!("{}-{}", pair[0], pair[1]).to_uppercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::{in_comment, in_name};

    fn check(text: &str, ids: &[&str], ranges: &[&str]) {
        let shown = |ids: Vec<super::Id>| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let named = in_comment(text);
        assert_eq!(
            (shown(named.ids), shown(named.ranges)),
            (strings(ids), strings(ranges)),
            "{text}"
        );
    }

    fn strings(of: &[&str]) -> Vec<String> {
        of.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn ids_are_found_wherever_they_stand_in_a_comment() {
        check("VAL-012, VAL-013", &["VAL-012", "VAL-013"], &[]);
        check("G3, HTTP-086. LEAK-07 SMART-S6", &["HTTP-086", "LEAK-07", "SMART-S6"], &[]);
        check("XVAL-01 is one, xVAL-02 and UTF-8X none but in form", &["XVAL-01", "UTF-8"], &[]);
        check("a-1, A-1, VAL-, VAL-SS1", &[], &[]);
    }

    #[test]
    fn a_range_names_none_of_its_ids() {
        check("HTTP-038 to HTTP-040, HTTP-050", &["HTTP-050"], &["HTTP-038"]);
        check("VAL-1–VAL-3 VAL-4..6 VAL-7-9", &[], &["VAL-1", "VAL-4", "VAL-7"]);
        check("VAL-1 to be sure", &["VAL-1"], &[]);
    }

    #[test]
    fn a_name_may_hold_an_id_in_small_letters() {
        let shown: Vec<_> =
            in_name("http_034_is_kept_in_2_parts").iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["HTTP-034"]);
    }
}
