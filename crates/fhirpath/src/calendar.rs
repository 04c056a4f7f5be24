//! Moving dates and times by quantities (N1 6.7), and the first and last moment that a coarse
//! one may mean (`lowBoundary`, `highBoundary`).

use crate::decimal::Decimal;
use crate::temporal::{Date, DateTime, Time, days_in_month};

/// The units of the calendar, coarsest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CalendarUnit {
    /// `year`
    Year,
    /// `month`
    Month,
    /// `week`
    Week,
    /// `day`
    Day,
    /// `hour`
    Hour,
    /// `minute`
    Minute,
    /// `second`
    Second,
    /// `millisecond`
    Millisecond,
}

impl CalendarUnit {
    /// By its keyword, in the singular or the plural.
    #[must_use]
    pub fn from_keyword(word: &str) -> Option<Self> {
        Some(match word.strip_suffix('s').unwrap_or(word) {
            "year" => Self::Year,
            "month" => Self::Month,
            "week" => Self::Week,
            "day" => Self::Day,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "second" => Self::Second,
            "millisecond" => Self::Millisecond,
            _ => return None,
        })
    }

    /// By the UCUM code of a unit of the same length. `a` and `mo` are means, which no date can
    /// be moved by.
    #[must_use]
    pub fn from_ucum(code: &str) -> Option<Self> {
        Some(match code {
            "wk" => Self::Week,
            "d" => Self::Day,
            "h" => Self::Hour,
            "min" => Self::Minute,
            "s" => Self::Second,
            "ms" => Self::Millisecond,
            _ => return None,
        })
    }

    /// The UCUM code of the same length, if the length is definite.
    #[must_use]
    pub fn ucum(self) -> Option<&'static str> {
        Some(match self {
            Self::Year | Self::Month => return None,
            Self::Week => "wk",
            Self::Day => "d",
            Self::Hour => "h",
            Self::Minute => "min",
            Self::Second => "s",
            Self::Millisecond => "ms",
        })
    }

    /// The keyword in the singular.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Millisecond => "millisecond",
        }
    }
}

/// Moves that cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Immovable {
    /// Outside the years 1 to 9999.
    OutOfRange,
    /// A time has no days.
    Unit,
}

const DAY: i64 = 86_400_000_000_000;

/// How many nanoseconds, or a whole number of months.
enum Amount {
    Months(i64),
    Nanoseconds(i128),
}

/// Cuts the fraction off where the calendar has no place for it: everywhere above seconds.
fn amount(value: Decimal, unit: CalendarUnit) -> Option<Amount> {
    let whole = i64::try_from(value.truncate()).ok()?;
    let times = |length: i64| Some(Amount::Nanoseconds(i128::from(whole) * i128::from(length)));
    match unit {
        CalendarUnit::Year => whole.checked_mul(12).map(Amount::Months),
        CalendarUnit::Month => Some(Amount::Months(whole)),
        CalendarUnit::Week => times(7 * DAY),
        CalendarUnit::Day => times(DAY),
        CalendarUnit::Hour => times(DAY / 24),
        CalendarUnit::Minute => times(DAY / 1_440),
        CalendarUnit::Second | CalendarUnit::Millisecond => {
            let places = if unit == CalendarUnit::Second { 9 } else { 6 };
            let exact = value.truncated_to(places).with_places(places)?;
            Some(Amount::Nanoseconds(exact.digits()))
        }
    }
}

impl Date {
    /// Moved by so much; a fraction of a unit is cut off.
    pub(crate) fn moved(self, value: Decimal, unit: CalendarUnit) -> Result<Self, Immovable> {
        self.to_date_time().moved(value, unit).map(|moved| moved.date)
    }

    fn moved_by_months(self, months: i64) -> Option<Self> {
        let index = i64::from(self.year) * 12 + i64::from(self.month.max(1)) - 1;
        let index = index.checked_add(months)?;
        let year = i32::try_from(index.div_euclid(12)).ok()?;
        let month = u8::try_from(index.rem_euclid(12) + 1).ok()?;
        Some(Self {
            year,
            month: if self.month == 0 { 0 } else { month },
            day: self.day.min(days_in_month(year, month)),
        })
    }

    fn moved_by_days(self, days: i64) -> Option<Self> {
        Some(match self.parts() {
            // N1: what is finer than the date is converted by 365 days a year, 30 a month.
            1 => self.moved_by_months((days / 365).checked_mul(12)?)?,
            2 => self.moved_by_months(days / 30)?,
            _ => Self::from_days(self.days().checked_add(days)?)?,
        })
    }
}

impl DateTime {
    /// Moved by so much; a fraction of a unit above seconds is cut off.
    pub(crate) fn moved(self, value: Decimal, unit: CalendarUnit) -> Result<Self, Immovable> {
        let moved = amount(value, unit).and_then(|amount| self.moved_by(&amount));
        moved.filter(|it| (1..=9999).contains(&it.date.year)).ok_or(Immovable::OutOfRange)
    }

    fn moved_by(self, amount: &Amount) -> Option<Self> {
        match (amount, self.time) {
            // A year is moved by whole years.
            (Amount::Months(months), _) if self.date.month == 0 => {
                Some(Self { date: self.date.moved_by_months(months / 12 * 12)?, ..self })
            }
            (Amount::Months(months), _) => {
                Some(Self { date: self.date.moved_by_months(*months)?, ..self })
            }
            (Amount::Nanoseconds(nanoseconds), None) => {
                let days = i64::try_from(nanoseconds / i128::from(DAY)).ok()?;
                Some(Self { date: self.date.moved_by_days(days)?, ..self })
            }
            (Amount::Nanoseconds(nanoseconds), Some(time)) => {
                let (days, time) = time.moved_by(*nanoseconds)?;
                let date = self.date.moved_by_days(days)?;
                Some(Self { date, time: Some(time), ..self })
            }
        }
    }

    /// The first moment that this may mean, or the last, to so many digits (4 for the year, 17
    /// for milliseconds). `None` for a number of digits that no date has.
    pub(crate) fn boundary(self, edge: Edge, digits: u32) -> Option<Self> {
        let parts = match digits {
            4 => 1,
            6 => 2,
            8 => 3,
            10 => 4,
            12 => 5,
            14 | 17 => 6,
            _ => return None,
        };
        let mut date = self.date;
        if date.month == 0 {
            date.month = edge.choose(1, 12);
        }
        if date.day == 0 {
            date.day = edge.choose(1, days_in_month(date.year, date.month));
        }
        if parts <= 3 {
            if parts < 3 {
                date.day = 0;
            }
            if parts < 2 {
                date.month = 0;
            }
            return Some(date.to_date_time());
        }
        let whole_day = Time::at_hour(edge.choose(0, 23));
        let time = self.time.map_or(
            if edge == Edge::Low { whole_day } else { Time { minute: 59, parts: 2, ..whole_day } },
            // FHIR has no dateTime to the hour, so one is read as to the minute.
            |time| if time.parts == 1 { Time { parts: 2, ..time } } else { time },
        );
        let time = time.boundary(edge, parts - 3, if digits == 17 { 3 } else { 0 });
        let anywhere = edge.choose(14 * 60, -12 * 60);
        Some(Self { date, time: Some(time), offset: Some(self.offset.unwrap_or(anywhere)) })
    }
}

/// The beginning or the end of what a coarse date may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Low,
    High,
}

impl Edge {
    fn choose<T>(self, low: T, high: T) -> T {
        match self {
            Self::Low => low,
            Self::High => high,
        }
    }
}

impl Time {
    /// Moved around the clock.
    pub(crate) fn moved(self, value: Decimal, unit: CalendarUnit) -> Result<Self, Immovable> {
        if unit < CalendarUnit::Hour {
            return Err(Immovable::Unit);
        }
        match amount(value, unit) {
            Some(Amount::Nanoseconds(nanoseconds)) => {
                self.moved_by(nanoseconds).map(|(_, time)| time).ok_or(Immovable::OutOfRange)
            }
            _ => Err(Immovable::OutOfRange),
        }
    }

    /// And how many days that goes beyond this one.
    fn moved_by(self, nanoseconds: i128) -> Option<(i64, Self)> {
        let unit = match self.parts {
            1 => DAY / 24,
            2 => DAY / 1_440,
            _ => 1,
        };
        let whole = nanoseconds / i128::from(unit) * i128::from(unit);
        let seconds = (i64::from(self.hour) * 60 + i64::from(self.minute)) * 60;
        let seconds = seconds + i64::from(self.second);
        let start = i128::from(seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        let end = start.checked_add(whole)?;
        let days = i64::try_from(end.div_euclid(i128::from(DAY))).ok()?;
        let of_day = i64::try_from(end.rem_euclid(i128::from(DAY))).ok()?;
        let part = |number: i64| u8::try_from(number).expect("is within a day");
        let nanoseconds = u32::try_from(of_day % 1_000_000_000).expect("is below a second");
        let digits = match nanoseconds {
            0 => 0,
            it if it % 1_000_000 == 0 => 3,
            it if it % 1_000 == 0 => 6,
            _ => 9,
        };
        let seconds = of_day / 1_000_000_000;
        let time = Self {
            hour: part(seconds / 3_600),
            minute: part(seconds / 60 % 60),
            second: part(seconds % 60),
            nanoseconds,
            fraction_digits: self.fraction_digits.max(digits),
            parts: self.parts,
        };
        Some((days, time))
    }

    /// The first moment that this may mean, or the last, to so many digits (2 for the hour, 9 for
    /// milliseconds).
    pub(crate) fn boundary_to(self, edge: Edge, digits: u32) -> Option<Self> {
        let parts = match digits {
            2 => 1,
            4 => 2,
            6 | 9 => 3,
            _ => return None,
        };
        Some(self.boundary(edge, parts, if digits == 9 { 3 } else { 0 }))
    }

    fn boundary(self, edge: Edge, parts: u8, fraction_digits: u8) -> Self {
        let mut time = self;
        if time.parts < 2 {
            time.minute = edge.choose(0, 59);
        }
        if time.parts < 3 {
            time.second = edge.choose(0, 59);
        }
        // Behind the digits that are given, down to the millisecond, everything may stand.
        let unit = 10_u32.pow(9 - u32::from(time.fraction_digits));
        time.nanoseconds += edge.choose(0, unit.saturating_sub(1_000_000));
        time.fraction_digits = fraction_digits;
        time.parts = parts;
        if parts < 3 {
            time.second = 0;
        }
        if parts < 2 {
            time.minute = 0;
        }
        if parts < 3 || fraction_digits == 0 {
            time.nanoseconds = 0;
        } else {
            time.nanoseconds = time.nanoseconds / 1_000_000 * 1_000_000;
        }
        time
    }
}

#[cfg(test)]
mod tests {
    use super::{CalendarUnit, Edge};
    use crate::decimal::Decimal;
    use crate::temporal::{DateTime, Time};

    fn moved(start: &str, value: &str, unit: &str) -> Option<String> {
        let unit = CalendarUnit::from_keyword(unit).unwrap();
        let start = DateTime::parse(start).unwrap();
        start.moved(Decimal::parse(value).unwrap(), unit).ok().map(|it| it.to_string())
    }

    #[test]
    fn months_end_where_they_end_and_fractions_are_cut_off() {
        let check = |start, value, unit, end: &str| {
            assert_eq!(moved(start, value, unit).as_deref(), Some(end), "{start} {value} {unit}");
        };
        check("2020-01-31", "1", "month", "2020-02-29");
        check("2020-02-29", "1", "year", "2021-02-28");
        check("1973-12-25", "7.7", "days", "1974-01-01");
        check("1974-01-01", "-7", "days", "1973-12-25");
        check("2014", "24", "months", "2016");
        check("2014", "23", "months", "2015");
        check("2014", "400", "days", "2015");
        check("2014-03", "31", "days", "2014-04");
        check("2014-03-01", "25", "hours", "2014-03-02");
        check("2014-03-01T23:59:59.500Z", "0.5", "seconds", "2014-03-02T00:00:00.000Z");
        check("2014-03-01T23:59:59+01:00", "10", "milliseconds", "2014-03-01T23:59:59.010+01:00");
        assert_eq!(moved("9999-12-31", "1", "day"), None);
        assert_eq!(moved("2014", "9223372036854775807", "years"), None);
    }

    #[test]
    fn a_time_goes_around_the_clock_and_has_no_days() {
        let time = Time::parse("23:30").unwrap();
        let hour = Decimal::from(1);
        assert_eq!(time.moved(hour, CalendarUnit::Hour).unwrap().to_string(), "00:30");
        assert!(time.moved(hour, CalendarUnit::Day).is_err());
    }

    #[test]
    fn boundaries_fill_up_what_is_missing() {
        let both = |text: &str, digits| {
            let start = DateTime::parse(text).unwrap();
            let end = |edge| start.boundary(edge, digits).map(|it| it.to_string());
            (end(Edge::Low).unwrap_or_default(), end(Edge::High).unwrap_or_default())
        };
        let check = |text, digits, low: &str, high: &str| {
            assert_eq!(both(text, digits), (low.to_owned(), high.to_owned()), "{text} {digits}");
        };
        check("2014", 6, "2014-01", "2014-12");
        check("2012-02", 8, "2012-02-01", "2012-02-29");
        check("2014-05-06", 12, "2014-05-06T00:00+14:00", "2014-05-06T23:59-12:00");
        check("2014-05-06T10:30Z", 17, "2014-05-06T10:30:00.000Z", "2014-05-06T10:30:59.999Z");
        check("2014-05-06T10:30:01.5Z", 17, "2014-05-06T10:30:01.500Z", "2014-05-06T10:30:01.599Z");
        check("2014", 5, "", "");
    }
}
