//! A Bundle of the originals as pieces: what stays as it is, and what each copy has its own of.

use std::collections::HashMap;
use std::ops::Range;

use fhir_core::json::{Document, Kind, Value};

use super::draw::Draw;
use crate::bench::Failure;

/// A Bundle, taken apart.
pub(crate) struct Original {
    pub(crate) resources: Vec<Template>,
}

/// One of its resources.
pub(crate) struct Template {
    pub(crate) resource_type: Box<str>,
    pub(crate) id: u128,
    pieces: Vec<Piece>,
}

/// How resources refer to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By the URN that an entry has in its transaction.
    Entry,
    /// By type and id.
    Stored,
}

enum Piece {
    Text(Box<str>),
    Id(u128),
    /// A reference to what has this id, of this type.
    Reference(u128, Box<str>),
    /// Days since 1970-01-01.
    Date(i64),
    Family(Box<str>),
    Given(Box<str>),
    Digits(Box<str>),
    /// What is wrong with the patient; numbered within the Bundle.
    Concept(u64),
}

/// The conditions of all originals.
#[derive(Default)]
pub(crate) struct Concepts {
    counted: HashMap<Box<str>, u64>,
    /// As JSON, those first that are found most.
    ordered: Vec<Box<str>>,
}

impl Concepts {
    fn count(&mut self, json: &str) {
        *self.counted.entry(json.into()).or_default() += 1;
    }

    /// Puts them in order, once all are counted.
    pub(crate) fn order(&mut self) {
        let mut all: Vec<_> = std::mem::take(&mut self.counted).into_iter().collect();
        all.sort_by(|(one, many), (other, more)| (more, one).cmp(&(many, other)));
        self.ordered = all.into_iter().map(|(json, _)| json).collect();
    }
}

const URN: &str = "urn:uuid:";

impl Original {
    /// Takes a Bundle apart.
    pub(crate) fn read(text: &String, concepts: &mut Concepts) -> Result<Self, Failure> {
        let document = Document::parse(text.as_bytes())?;
        let entries = document.root().get("entry").ok_or("a Bundle without entries")?;
        let resources: Vec<Value<'_>> =
            entries.items().filter_map(|entry| entry.get("resource")).collect();
        let mut types = HashMap::new();
        for resource in &resources {
            let (id, of) = named(*resource)?;
            types.insert(id, of);
        }
        let mut number = 0;
        let template = |resource: &Value<'_>| {
            let (id, resource_type) = named(*resource)?;
            let mut holes = own(*resource, &resource_type, &mut number, concepts);
            let raw = resource.raw();
            holes.extend(found(raw, &types));
            holes.sort_by_key(|(place, _)| (place.start, std::cmp::Reverse(place.end)));
            Ok(Template { resource_type, id, pieces: pieces(raw, holes) })
        };
        let resources = resources.iter().map(template).collect::<Result<_, Failure>>()?;
        Ok(Self { resources })
    }
}

impl Template {
    /// Writes the copy of it.
    pub(crate) fn write(&self, draw: &Draw, concepts: &Concepts, form: Form, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Id(id) => out.push_str(&draw.id(*id)),
                Piece::Reference(id, of) => {
                    out.push_str(if form == Form::Entry { URN } else { of });
                    if form == Form::Stored {
                        out.push('/');
                    }
                    out.push_str(&draw.id(*id));
                }
                Piece::Date(days) => out.push_str(&draw.date(*days)),
                Piece::Family(name) => out.push_str(&draw.family(name)),
                Piece::Given(name) => out.push_str(&draw.given(name)),
                Piece::Digits(digits) => out.push_str(&draw.digits(digits)),
                Piece::Concept(number) => {
                    let which = draw.skewed(!*number, concepts.ordered.len() as u64);
                    out.push_str(&concepts.ordered[which as usize]);
                }
            }
        }
    }
}

type Hole = (Range<usize>, Piece);

fn named(resource: Value<'_>) -> Result<(u128, Box<str>), Failure> {
    let of = resource.get_str("resourceType").ok_or("a resource without a type")?;
    let id = resource.get_str("id").ok_or("a resource without an id")?;
    let id = uuid(id.as_bytes()).ok_or("an id that is no UUID")?;
    Ok((id, of.into()))
}

/// What is another in each copy because of the element it is in.
fn own(resource: Value<'_>, of: &str, number: &mut u64, concepts: &mut Concepts) -> Vec<Hole> {
    let start = resource.offset();
    let mut holes = Vec::new();
    // Where there are no escapes the text stands there as it is, between quotes.
    let mut put = |value: Value<'_>, piece: fn(Box<str>) -> Piece| {
        let content = value.raw().trim_matches('"');
        if value.kind() == Kind::String
            && !content.contains('\\')
            && uuid(content.as_bytes()).is_none()
        {
            let begin = value.offset() - start + 1;
            holes.push((begin..begin + content.len(), piece(content.into())));
        }
    };
    let identifiers = resource.get("identifier").into_iter().flat_map(|it| it.each());
    identifiers.filter_map(|it| it.get("value")).for_each(|it| put(it, Piece::Digits));
    if of == "Patient" {
        let telecom = resource.get("telecom").into_iter().flat_map(|it| it.each());
        telecom.filter_map(|it| it.get("value")).for_each(|it| put(it, Piece::Digits));
        for name in resource.get("name").into_iter().flat_map(|it| it.each()) {
            name.get("family").into_iter().for_each(|it| put(it, Piece::Family));
            name.get("given")
                .into_iter()
                .flat_map(|it| it.each())
                .for_each(|it| put(it, Piece::Given));
        }
    }
    if of == "Condition"
        && let Some(code) = resource.get("code")
    {
        concepts.count(code.raw());
        *number += 1;
        let begin = code.offset() - start;
        holes.push((begin..begin + code.raw().len(), Piece::Concept(*number)));
    }
    holes
}

/// Ids, references and dates, wherever they stand.
fn found(text: &str, types: &HashMap<u128, Box<str>>) -> Vec<Hole> {
    let bytes = text.as_bytes();
    let (mut holes, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if let Some(id) = bytes.get(at..at + 36).and_then(uuid) {
            let hole = match (text[..at].ends_with(URN), types.get(&id)) {
                (true, Some(of)) => (at - URN.len()..at + 36, Piece::Reference(id, of.clone())),
                _ => (at..at + 36, Piece::Id(id)),
            };
            holes.push(hole);
            at += 36;
            continue;
        }
        if bytes[at] == b'"'
            && let Some(days) = bytes.get(at + 1..at + 11).and_then(days)
            && matches!(bytes.get(at + 11), Some(b'"' | b'T'))
        {
            holes.push((at + 1..at + 11, Piece::Date(days)));
            at += 11;
        }
        at += 1;
    }
    holes
}

fn pieces(text: &str, holes: Vec<Hole>) -> Vec<Piece> {
    let (mut pieces, mut end) = (Vec::new(), 0);
    for (place, piece) in holes {
        // What stands within another is part of it.
        if place.start < end {
            continue;
        }
        if place.start > end {
            pieces.push(Piece::Text(text[end..place.start].into()));
        }
        end = place.end;
        pieces.push(piece);
    }
    pieces.push(Piece::Text(text[end..].into()));
    pieces
}

fn uuid(text: &[u8]) -> Option<u128> {
    let is_dash = |at: &usize| matches!(at, 8 | 13 | 18 | 23);
    if text.len() != 36 || ![8, 13, 18, 23].iter().all(|at| text[*at] == b'-') {
        return None;
    }
    let digits = (0..36).filter(|at| !is_dash(at));
    digits
        .map(|at| char::from(text[at]).to_digit(16))
        .try_fold(0, |id: u128, digit| Some(id << 4 | u128::from(digit?)))
}

/// The days since 1970-01-01 of a date that is written in full.
fn days(text: &[u8]) -> Option<i64> {
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let number = |place: Range<usize>| -> Option<i64> {
        let digits = std::str::from_utf8(&text[place]).ok()?;
        digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Years that begin in March, since the day that is not always there then comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
            - 719_468,
    )
}

/// The year, month and day that is so many days after 1970-01-01.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::{civil, days, uuid};

    #[test]
    fn dates_are_the_same_there_and_back() {
        for (text, expected) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("1899-12-31", -25_568)]
        {
            assert_eq!(days(text.as_bytes()), Some(expected), "{text}");
        }
        for number in (-60_000..40_000).step_by(13) {
            let (year, month, day) = civil(number);
            let text = format!("{year:04}-{month:02}-{day:02}");
            assert_eq!(days(text.as_bytes()), Some(number), "{text}");
        }
        assert_eq!(days(b"12345-6789"), None);
    }

    #[test]
    fn only_whole_ids_are_ids() {
        assert_eq!(uuid(b"00000000-0000-0000-0000-0000000000ff"), Some(255));
        assert_eq!(uuid(b"00000000-0000-0000-0000-0000000000fg"), None);
        assert_eq!(uuid(b"00000000-0000-0000-0000-0000000000f"), None);
    }
}
