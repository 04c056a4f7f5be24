//! What the query of a history asks for (FHIR R4, 3.1.0.9: `_count`, `_since`, `_at`).

use fhir_core::Instant;

use crate::error::ServerError;
use crate::negotiation::parameters;
use crate::page_link;

/// The query of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Query {
    /// The first page.
    First(First),
    /// The page that a link leads to.
    Page(String),
}

/// What the first page is asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First {
    pub(super) count: usize,
    pub(super) since: Option<Instant>,
    pub(super) at: Option<Period>,
}

/// A time as precise as it was written: from its first microsecond to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

/// The parameters that a history knows.
pub(crate) const PARAMETERS: [&str; 4] = ["_count", "_since", "_at", page_link::PARAMETER];

impl Query {
    /// Reads a query; a page has `most` entries at most.
    pub(super) fn read(query: &str, most: usize) -> Result<Self, ServerError> {
        let mut first = First { count: most, since: None, at: None };
        let mut page = None;
        let mut seen = Vec::new();
        for (name, value) in parameters(query) {
            if matches!(name.as_str(), "_list" | "_sort") {
                return Err(ServerError::UnsupportedParameter(name));
            }
            let Some(name) = PARAMETERS.into_iter().find(|known| *known == name) else {
                continue;
            };
            if seen.contains(&name) {
                return Err(ServerError::InvalidParameter { name, mend: "give it once" });
            }
            seen.push(name);
            // A plus sign of an offset arrives as a space.
            let time = value.replace(' ', "+");
            let mend = match name {
                "_count" => match value.parse::<usize>() {
                    Ok(count) => {
                        first.count = count.min(most);
                        continue;
                    }
                    Err(_) => "write a whole number",
                },
                "_since" => match time.parse() {
                    Ok(since) => {
                        first.since = Some(since);
                        continue;
                    }
                    Err(_) => "write an instant like 2026-01-02T03:04:05Z",
                },
                "_at" => match Period::read(&time) {
                    Some(period) => {
                        first.at = Some(period);
                        continue;
                    }
                    None => "write a date like 2026-01-02 or a time like 2026-01-02T03:04:05Z",
                },
                _ => {
                    page = Some(value);
                    continue;
                }
            };
            return Err(ServerError::InvalidParameter { name, mend });
        }
        match page {
            None => Ok(Self::First(first)),
            // The link says all of it.
            Some(_) if seen.len() > 1 => Err(ServerError::InvalidParameter {
                name: page_link::PARAMETER,
                mend: "follow the link as it was given",
            }),
            Some(page) => Ok(Self::Page(page)),
        }
    }
}

impl Period {
    /// Reads a date or dateTime (FHIR R4, 2.24.0.1). A date without a time zone is one in UTC.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let of = |first: &str, next: &str| {
            let first: Instant = first.parse().ok()?;
            // After the year 9999 there is none.
            let next = next.parse().map_or(i64::MAX, Instant::as_micros);
            Some(Self { first, last: Instant::from_micros(next.min(LATEST + 1) - 1) })
        };
        let digits = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?
        };
        match text.len() {
            4 => {
                let next = digits(text)? + 1;
                of(&format!("{text}-01-01T00:00:00Z"), &format!("{next:04}-01-01T00:00:00Z"))
            }
            7 => {
                let (year, month) = (digits(text.get(..4)?)?, digits(text.get(5..)?)?);
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                let next = format!("{:04}-{:02}-01T00:00:00Z", next.0, next.1);
                of(&format!("{text}-01T00:00:00Z"), &next)
            }
            10 => {
                let first: Instant = format!("{text}T00:00:00Z").parse().ok()?;
                Some(Self::lasting(first, 24 * 3600 * SECOND))
            }
            _ => {
                let first = text.parse().ok()?;
                let (_, fraction) = text.split_once('.').unwrap_or_default();
                let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
                let digits = u32::try_from(digits.min(6)).unwrap_or(6);
                Some(Self::lasting(first, SECOND / 10_i64.pow(digits)))
            }
        }
    }

    fn lasting(first: Instant, micros: i64) -> Self {
        let last = (first.as_micros() + micros - 1).min(LATEST);
        Self { first, last: Instant::from_micros(last) }
    }
}

/// Microseconds.
const SECOND: i64 = 1_000_000;
/// The last microsecond of the year 9999.
const LATEST: i64 = 253_402_300_799_999_999;

#[cfg(test)]
mod tests {
    use super::{Period, Query};

    #[test]
    fn what_cannot_be_read_or_stands_twice_is_refused() {
        // HTTP-155, HTTP-237
        let count = |query| match Query::read(query, 100) {
            Ok(Query::First(first)) => Some(first.count),
            _ => None,
        };
        assert_eq!(count("_count=7&_since=2026-01-02T03:04:05%2B01:00"), Some(7));
        assert_eq!(count("_since=2026-01-02T03:04:05+01:00&_at=2026"), Some(100));
        assert_eq!(count("_count=1000000"), Some(100));
        assert_eq!(Query::read("_page=x&_format=json", 9).ok(), Some(Query::Page("x".into())));
        for query in [
            "_since=yesterday",
            "_since=2026",
            "_count=-1",
            "_count=many",
            "_at=soon",
            "_at=",
            "_sort=_lastUpdated",
            "_page=x&_count=2",
            "_page=x&_page=x",
            "_since=2026-01-02T03:04:05Z&_since=2026-01-02T03:04:05Z",
        ] {
            assert!(Query::read(query, 100).is_err(), "{query}");
        }
    }

    #[test]
    fn a_time_lasts_as_long_as_it_is_precise() {
        // HTTP-150
        let check = |text: &str, first: &str, last: &str| {
            let period = Period::read(text).unwrap();
            let text = format!("{}/{}", period.first, period.last);
            assert_eq!(text, format!("{first}/{last}"));
        };
        check("2026", "2026-01-01T00:00:00.000000Z", "2026-12-31T23:59:59.999999Z");
        check("9999", "9999-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z");
        check("2024-02", "2024-02-01T00:00:00.000000Z", "2024-02-29T23:59:59.999999Z");
        check("2025-12", "2025-12-01T00:00:00.000000Z", "2025-12-31T23:59:59.999999Z");
        check("9999-12-31", "9999-12-31T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z");
        let (first, last) = ("2026-01-02T02:04:05.000000Z", "2026-01-02T02:04:05.999999Z");
        check("2026-01-02T03:04:05+01:00", first, last);
        let (first, last) = ("2026-01-02T03:04:05.120000Z", "2026-01-02T03:04:05.129999Z");
        check("2026-01-02T03:04:05.12Z", first, last);
        let exact = "2026-01-02T03:04:05.123456Z";
        check(exact, exact, exact);
        for bad in
            ["", "26", "2026-13", "2026-00", "2026-1", "2026-02-30", "2026-01-02T03", "+026", "20é"]
        {
            assert!(Period::read(bad).is_none(), "{bad}");
        }
    }
}
