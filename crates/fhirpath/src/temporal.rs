//! Dates, dateTimes and times with the precision that was written (N1 4.1.5 to 4.1.7, 6.2, 6.7):
//! reading, comparing, printing. Seconds and their fraction are one precision. Without an
//! offset nothing is assumed: what would need one has no answer.

use std::cmp::Ordering;
use std::fmt;

/// A day, a month or a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    pub(crate) year: i32,
    /// Nought when not given.
    pub(crate) month: u8,
    /// Nought when not given.
    pub(crate) day: u8,
}

/// A time of day to the hour, the minute or a fraction of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) nanoseconds: u32,
    /// How many digits the fraction of the second is written with.
    pub(crate) fraction_digits: u8,
    /// How many of hour, minute and second are given.
    pub(crate) parts: u8,
}

/// A date, perhaps with a time, perhaps with an offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    pub(crate) date: Date,
    pub(crate) time: Option<Time>,
    /// Minutes east of UTC.
    pub(crate) offset: Option<i16>,
}

/// Reads digits from the front of a text.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (head, rest) = self.rest.split_at_checked(digits)?;
        let mut number = 0;
        for byte in head {
            number = number * 10 + u32::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        self.rest = rest;
        Some(number)
    }

    fn two(&mut self, most: u32) -> Option<u8> {
        let number = self.number(2)?;
        (number <= most).then(|| u8::try_from(number).ok()).flatten()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let taken = self.rest.first() == Some(&byte);
        if taken {
            self.rest = &self.rest[1..];
        }
        taken
    }

    fn date(&mut self) -> Option<Date> {
        let year = i32::try_from(self.number(4)?).ok()?;
        let mut date = Date { year, month: 0, day: 0 };
        if year > 0 && self.takes(b'-') {
            date.month = self.two(12).filter(|month| *month > 0)?;
            if self.takes(b'-') {
                let most = days_in_month(year, date.month);
                date.day = self.two(u32::from(most)).filter(|day| *day > 0)?;
            }
        }
        (year > 0).then_some(date)
    }

    fn time(&mut self) -> Option<Time> {
        let mut time = Time::at_hour(self.two(23)?);
        if self.takes(b':') {
            time.minute = self.two(59)?;
            time.parts = 2;
            if self.takes(b':') {
                time.second = self.two(60)?;
                time.parts = 3;
                if self.takes(b'.') {
                    let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let kept = count.min(9);
                    let fraction = self.number(kept).filter(|_| count > 0)?;
                    self.rest = &self.rest[count - kept..];
                    time.fraction_digits = u8::try_from(kept).ok()?;
                    time.nanoseconds = fraction * 10_u32.pow(9 - u32::try_from(kept).ok()?);
                }
            }
        }
        Some(time)
    }

    /// An offset if one stands there; `None` when what stands there is none.
    fn offset(&mut self) -> Option<Option<i16>> {
        if self.takes(b'Z') {
            return Some(Some(0));
        }
        let sign = match self.rest.first() {
            None => return Some(None),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        self.rest = &self.rest[1..];
        let hours = i16::from(self.two(14)?);
        if !self.takes(b':') {
            return None;
        }
        let minutes = i16::from(self.two(59)?);
        Some(Some(sign * (hours * 60 + minutes)))
    }
}

impl Date {
    /// Reads `2015`, `2015-02` or `2015-02-04`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text.as_bytes() };
        reader.date().filter(|_| reader.rest.is_empty())
    }

    /// The same as a dateTime without a time.
    #[must_use]
    pub fn to_date_time(self) -> DateTime {
        DateTime { date: self, time: None, offset: None }
    }

    /// How many of year, month and day are given.
    #[must_use]
    pub fn parts(self) -> u8 {
        1 + u8::from(self.month > 0) + u8::from(self.day > 0)
    }
}

impl Time {
    pub(crate) fn at_hour(hour: u8) -> Self {
        Self { hour, minute: 0, second: 0, nanoseconds: 0, fraction_digits: 0, parts: 1 }
    }

    /// Reads `14`, `14:34`, `14:34:28` or `14:34:28.123`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text.as_bytes() };
        reader.time().filter(|_| reader.rest.is_empty())
    }

    /// How many of hour, minute and second are given.
    #[must_use]
    pub fn parts(self) -> u8 {
        self.parts
    }

    fn components(self) -> [i64; 3] {
        let second = i64::from(self.second) * 1_000_000_000 + i64::from(self.nanoseconds);
        [i64::from(self.hour), i64::from(self.minute), second]
    }

    /// The parts that are given: an order for sorting, in which the coarser comes first.
    pub(crate) fn sort_key(self) -> Vec<i64> {
        self.components()[..self.parts.into()].to_vec()
    }

    /// Which comes first; `None` when the coarser of the two does not tell.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        let (left, right) = (self.components(), other.components());
        compare(&left[..self.parts.into()], &right[..other.parts.into()])
    }
}

impl DateTime {
    /// Reads a date, with or without a `T` after it, or a date with a time, with or without an
    /// offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text.as_bytes() };
        let date = reader.date()?;
        let mut result = date.to_date_time();
        if reader.takes(b'T') && !reader.rest.is_empty() {
            if date.day == 0 {
                return None;
            }
            result.time = Some(reader.time()?);
            result.offset = reader.offset()?;
        }
        reader.rest.is_empty().then_some(result)
    }

    /// How many of year, month, day, hour, minute and second are given.
    #[must_use]
    pub fn parts(self) -> u8 {
        self.date.parts() + self.time.map_or(0, Time::parts)
    }

    /// At the offset nought, if there is an offset.
    fn in_utc(self) -> Self {
        match (self.time, self.offset) {
            (Some(time), Some(offset)) if offset != 0 => {
                let minutes = i64::from(time.hour) * 60 + i64::from(time.minute);
                let shifted = minutes - i64::from(offset);
                let days = self.date.days() + shifted.div_euclid(24 * 60);
                let of_day = shifted.rem_euclid(24 * 60);
                let part = |number: i64| u8::try_from(number).expect("is within a day");
                let time = Time { hour: part(of_day / 60), minute: part(of_day % 60), ..time };
                let date =
                    Date::from_days(days).expect("the day before or after one that was read");
                Self { date, time: Some(time), offset: Some(0) }
            }
            _ => self,
        }
    }

    fn components(self) -> [i64; 6] {
        let [hour, minute, second] = self.time.map_or([0; 3], Time::components);
        let date = self.date;
        [date.year.into(), date.month.into(), date.day.into(), hour, minute, second]
    }

    /// The parts that are given, in UTC where there is an offset: an order for sorting, in which
    /// the coarser comes first.
    pub(crate) fn sort_key(self) -> Vec<i64> {
        self.in_utc().components()[..self.parts().into()].to_vec()
    }

    /// Which comes first; `None` when the coarser of the two does not tell, or when one has an
    /// offset and the other has a time without one.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        let both_have_times = self.time.is_some() && other.time.is_some();
        let (left, right) = match (self.offset, other.offset) {
            (Some(_), Some(_)) => (self.in_utc(), other.in_utc()),
            (None, None) => (self, other),
            _ if both_have_times => return None,
            _ => (self, other),
        };
        let (left_components, right_components) = (left.components(), right.components());
        compare(&left_components[..left.parts().into()], &right_components[..right.parts().into()])
    }
}

/// From the coarsest part to the finest that both have.
fn compare(left: &[i64], right: &[i64]) -> Option<Ordering> {
    let different = left.iter().zip(right).map(|(left, right)| left.cmp(right));
    match different.into_iter().find(|order| order.is_ne()) {
        Some(order) => Some(order),
        None => (left.len() == right.len()).then_some(Ordering::Equal),
    }
}

pub(crate) fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Date {
    /// Days since 1970-01-01, missing parts being the first.
    pub(crate) fn days(self) -> i64 {
        let month = i64::from(self.month.max(1));
        let day = i64::from(self.day.max(1));
        // Years begin in March, so that the leap day is the last of its year.
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// `None` for days that are too many to count.
    pub(crate) fn from_days(days: i64) -> Option<Self> {
        let shifted = days.checked_add(719_468)?;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        Some(Self {
            year: i32::try_from(year).ok()?,
            month: u8::try_from(month).expect("is a month"),
            day: u8::try_from(day).expect("is a day"),
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}", self.year)?;
        if self.month > 0 {
            write!(formatter, "-{:02}", self.month)?;
        }
        if self.day > 0 {
            write!(formatter, "-{:02}", self.day)?;
        }
        Ok(())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02}", self.hour)?;
        if self.parts > 1 {
            write!(formatter, ":{:02}", self.minute)?;
        }
        if self.parts > 2 {
            write!(formatter, ":{:02}", self.second)?;
            if self.fraction_digits > 0 {
                let digits = usize::from(self.fraction_digits);
                let fraction = self.nanoseconds / 10_u32.pow(9 - u32::from(self.fraction_digits));
                write!(formatter, ".{fraction:0digits$}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date.fmt(formatter)?;
        if let Some(time) = self.time {
            write!(formatter, "T{time}")?;
        }
        match self.offset {
            None => Ok(()),
            Some(0) => formatter.write_str("Z"),
            Some(offset) => {
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.unsigned_abs();
                write!(formatter, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Date, DateTime, Time};
    use std::cmp::Ordering::{Equal, Less};

    #[test]
    fn what_is_read_is_printed_the_same() {
        for text in ["2015", "2015-02", "2015-02-04"] {
            assert_eq!(Date::parse(text).unwrap().to_string(), text);
        }
        for text in ["14", "14:34", "14:34:28", "14:34:28.120"] {
            assert_eq!(Time::parse(text).unwrap().to_string(), text);
        }
        for text in ["2015-02-04T14:34:28.123+10:00", "2015-02-04T14:34Z", "2015-02-04T14-04:30"] {
            assert_eq!(DateTime::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn days_and_times_that_do_not_exist_are_refused() {
        for text in ["2015-13", "2015-02-29", "2015-00", "15", "2015-2", "0000", "2015-02-04 "] {
            assert!(Date::parse(text).is_none(), "{text}");
        }
        for text in ["24", "14:60", "14:34:61", "14:34:28.", "14:34:28Z", "1"] {
            assert!(Time::parse(text).is_none(), "{text}");
        }
        for text in ["2015-02T14", "2015-02-04T14:34+1000", "2015-02-04T14:34+15:00"] {
            assert!(DateTime::parse(text).is_none(), "{text}");
        }
        assert!(Date::parse("2016-02-29").is_some());
    }

    #[test]
    fn the_coarser_of_two_decides_or_says_nothing() {
        let compare =
            |left, right| DateTime::parse(left).unwrap().compare(DateTime::parse(right).unwrap());
        assert_eq!(compare("2018-03", "2018-03-01"), None);
        assert_eq!(compare("2018-02", "2018-03-01"), Some(Less));
        assert_eq!(compare("2018-03-01T10:30:00", "2018-03-01T10:30:00.0"), Some(Equal));
        assert_eq!(compare("2018-03-01T10:30:00Z", "2018-03-01T10:30:00"), None);
        assert_eq!(compare("2018-03-01T01:30:00+02:00", "2018-02-28T23:30:00Z"), Some(Equal));
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (date, days) in [("1970-01-01", 0), ("2000-03-01", 11_017), ("1969-12-31", -1)] {
            assert_eq!(Date::parse(date).unwrap().days(), days);
            assert_eq!(Date::from_days(days).unwrap().to_string(), date);
        }
        for days in -719_000..200_000 {
            assert_eq!(Date::from_days(days).unwrap().days(), days);
        }
        for days in [i64::MAX, i64::MAX - 719_468, i64::MIN] {
            assert_eq!(Date::from_days(days), None);
        }
    }
}
