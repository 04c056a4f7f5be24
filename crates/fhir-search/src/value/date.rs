//! When something is: intervals of microseconds, from FHIR's dates, dateTimes and instants
//! (FHIR R4 3.1.1.5.2 and 2.24.0.1).

use fhir_core::{days_from_civil, days_in_month};

/// What a time without an offset is read in: so many minutes east of UTC, fixed.
///
/// Days, months and years are those of this zone, in resources as in queries, so that a date
/// compares with a date as the calendar does, whatever the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zone {
    minutes_east: i16,
}

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self { minutes_east: 0 };

    /// So many minutes east of UTC; `None` beyond the 14 hours that FHIR can write.
    #[must_use]
    pub fn east(minutes: i16) -> Option<Self> {
        (minutes.unsigned_abs() <= 14 * 60).then_some(Self { minutes_east: minutes })
    }
}

/// From one moment up to another, which is not part of it: microseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateRange {
    low: i64,
    high: i64,
}

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

impl DateRange {
    /// Before all time: a Period without a start.
    pub const BEGINNING: i64 = i64::MIN;
    /// After all time: a Period without an end.
    pub const END: i64 = i64::MAX;

    /// From `low` up to `high`; `None` when nothing is between them.
    #[must_use]
    pub fn between(low: i64, high: i64) -> Option<Self> {
        (low < high).then_some(Self { low, high })
    }

    /// One microsecond.
    #[must_use]
    pub fn at(micros: i64) -> Self {
        let low = micros.min(i64::MAX - 1);
        Self { low, high: low + 1 }
    }

    /// Its first microsecond, or [`DateRange::BEGINNING`].
    #[must_use]
    pub fn low(&self) -> i64 {
        self.low
    }

    /// The first microsecond after it, or [`DateRange::END`].
    #[must_use]
    pub fn high(&self) -> i64 {
        self.high
    }

    /// What a date or dateTime may be: `2013` the whole year, `2013-01` the month, then the day,
    /// the minute (which queries alone may stop at), the second; with a fraction of a second one
    /// microsecond. A leap second is the second before it. `None` for what is none of these.
    #[must_use]
    pub fn parse(text: &str, zone: Zone) -> Option<Self> {
        parse(text.as_bytes(), zone)
    }

    /// What an instant is: a moment, however it is written.
    #[must_use]
    pub fn parse_instant(text: &str, zone: Zone) -> Option<Self> {
        Self::parse(text, zone).map(|range| Self::at(range.low))
    }

    /// The shortest that holds both.
    #[must_use]
    pub fn around(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
    })
}

fn parse(text: &[u8], zone: Zone) -> Option<DateRange> {
    let local =
        |day: i64| (day * SECONDS_PER_DAY - i64::from(zone.minutes_east) * 60) * MICROS_PER_SECOND;
    let (year, rest) = text.split_at_checked(4)?;
    let year = number(year).filter(|year| *year > 0)?;
    let first = |year, month| local(days_from_civil(year, month, 1));
    let Some(rest) = rest.strip_prefix(b"-") else {
        return rest
            .is_empty()
            .then(|| DateRange { low: first(year, 1), high: first(year + 1, 1) });
    };
    let (month, rest) = rest.split_at_checked(2)?;
    let month = number(month).filter(|month| (1..=12).contains(month))?;
    let Some(rest) = rest.strip_prefix(b"-") else {
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let whole = || DateRange { low: first(year, month), high: first(next_year, next) };
        return rest.is_empty().then(whole);
    };
    let (day, rest) = rest.split_at_checked(2)?;
    let day = number(day).filter(|day| (1..=days_in_month(year, month)).contains(day))?;
    let days = days_from_civil(year, month, day);
    if rest.is_empty() {
        return Some(DateRange { low: local(days), high: local(days + 1) });
    }
    time(rest.strip_prefix(b"T")?, days, zone)
}

/// `hh:mm`, perhaps with seconds, a fraction of them, and an offset.
fn time(text: &[u8], days: i64, zone: Zone) -> Option<DateRange> {
    let [h1, h2, b':', m1, m2, rest @ ..] = text else { return None };
    let hour = number(&[*h1, *h2]).filter(|hour| *hour < 24)?;
    let minute = number(&[*m1, *m2]).filter(|minute| *minute < 60)?;
    let (mut second, mut fraction, mut width) = (0, 0, 60 * MICROS_PER_SECOND);
    let mut rest = rest;
    if let [b':', s1, s2, after @ ..] = rest {
        second = number(&[*s1, *s2]).filter(|second| *second <= 60)?.min(59);
        (rest, width) = (after, MICROS_PER_SECOND);
        if let Some(after) = rest.strip_prefix(b".") {
            let count = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let kept = count.min(6);
            fraction = number(&after[..kept]).filter(|_| count > 0)?;
            fraction *= 10_i64.pow(6 - u32::try_from(kept).ok()?);
            (rest, width) = (&after[count..], 1);
        }
    }
    let minutes_east = match rest {
        [] => i64::from(zone.minutes_east),
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = number(&[*h1, *h2]).filter(|hours| *hours <= 14)?;
            let minutes = number(&[*m1, *m2]).filter(|minutes| *minutes < 60)?;
            let east = hours * 60 + minutes;
            if *sign == b'-' { -east } else { east }
        }
        _ => return None,
    };
    let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - minutes_east * 60;
    let low = seconds * MICROS_PER_SECOND + fraction;
    Some(DateRange { low, high: low + width })
}
