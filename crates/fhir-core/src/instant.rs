//! `instant`: a point in time, to the microsecond, always in UTC (FHIR R4, 2.24.0.1).

use std::fmt;
use std::str::FromStr;

/// Microseconds since 1970-01-01T00:00:00Z.
///
/// Written as `2026-01-02T03:04:05.678901Z`: always [`Instant::TEXT_LENGTH`] characters, so that
/// stored JSON can keep a hole of fixed width for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instant(i64);

/// The text is no instant, or one outside the years 0001 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an instant is written like 2026-01-02T03:04:05.678Z or with an offset like +01:00")]
pub struct InvalidInstant;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const MIN_MICROS: i64 = -62_135_596_800 * MICROS_PER_SECOND;
const MAX_MICROS: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

impl Instant {
    /// The length of an instant's text, in characters.
    pub const TEXT_LENGTH: usize = 27;

    /// The earliest instant that has a text: the start of the year 1.
    pub const MIN: Self = Self(MIN_MICROS);

    /// The instant this many microseconds after 1970, brought into the years 0001 to 9999.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < MIN_MICROS {
            Self(MIN_MICROS)
        } else if micros > MAX_MICROS {
            Self(MAX_MICROS)
        } else {
            Self(micros)
        }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down: what an HTTP date can say.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The text, without an allocation.
    #[must_use]
    pub fn text(self) -> [u8; Self::TEXT_LENGTH] {
        let seconds = self.as_seconds();
        let micros = self.0.rem_euclid(MICROS_PER_SECOND);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], of_day / 3600);
        put(&mut text[14..16], of_day / 60 % 60);
        put(&mut text[17..19], of_day % 60);
        put(&mut text[20..26], micros);
        text
    }
}

/// Writes `number` right-aligned into `digits`.
fn put(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // from 0000-03-01, so that leap days end a year
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The day counted from 1970-01-01 of a proleptic Gregorian date, whose month is 1 to 12.
#[must_use]
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// How many days a month of 1 to 12 has.
#[must_use]
pub fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0_i64, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
    })
}

fn parse(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let (date_time, rest) = bytes.split_at_checked(19)?;
    let shape = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if shape.iter().any(|&(at, mark)| date_time[at] != mark) {
        return None;
    }
    let part = |from: usize, to: usize| digits(&date_time[from..to]);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    // A leap second (60) is read as the second before it: FHIR allows it in text only.
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) || year < 1 {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix(b".") {
        None => (0, rest),
        Some(rest) => {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if length == 0 {
                return None;
            }
            let mut micros = digits(&rest[..length.min(6)])?;
            for _ in length..6 {
                micros *= 10;
            }
            (micros, &rest[length..])
        }
    };
    let offset_minutes = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 14 || minutes > 59 {
                return None;
            }
            let total = hours * 60 + minutes;
            if *sign == b'-' { -total } else { total }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY
        + hour * 3600
        + minute * 60
        + second.min(59)
        - offset_minutes * 60;
    let micros = seconds * MICROS_PER_SECOND + fraction;
    (MIN_MICROS..=MAX_MICROS).contains(&micros).then_some(Instant(micros))
}

impl FromStr for Instant {
    type Err = InvalidInstant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or(InvalidInstant)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.text() {
            fmt::Write::write_char(formatter, char::from(byte))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Instant;
    use proptest::prelude::*;

    #[test]
    fn known_instants_read_and_write() {
        for (text, micros) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2000-02-29T12:30:45.123456Z", 951_827_445_123_456),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
            ("0001-01-01T00:00:00.000000Z", -62_135_596_800_000_000),
        ] {
            assert_eq!(text.parse::<Instant>().unwrap().as_micros(), micros);
            assert_eq!(Instant::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn offsets_and_short_fractions_are_read() {
        let expected: Instant = "2026-01-02T03:04:05.600000Z".parse().unwrap();
        for text in ["2026-01-02T04:04:05.6+01:00", "2026-01-01T22:34:05.60-04:30"] {
            assert_eq!(text.parse::<Instant>().unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for bad in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05Zz",
            "0000-01-01T00:00:00Z",
            "2026-01-02t03:04:05Z",
            "２026-01-02T03:04:05Z",
        ] {
            assert!(bad.parse::<Instant>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_survives_its_text(micros in super::MIN_MICROS..=super::MAX_MICROS) {
            let instant = Instant::from_micros(micros);
            prop_assert_eq!(instant.to_string().parse::<Instant>().unwrap(), instant);
            prop_assert_eq!(instant.to_string().len(), Instant::TEXT_LENGTH);
        }

        #[test]
        fn text_order_is_time_order(a in super::MIN_MICROS..=super::MAX_MICROS, b in super::MIN_MICROS..=super::MAX_MICROS) {
            let (first, second) = (Instant::from_micros(a), Instant::from_micros(b));
            prop_assert_eq!(first.cmp(&second), first.to_string().cmp(&second.to_string()));
        }
    }
}
