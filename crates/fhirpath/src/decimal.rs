//! Decimals as FHIRPath needs them (N1 4.1.4): exact, with the number of decimal places that was
//! written, up to 38 digits. What does not fit is `None`, which FHIRPath reads as empty.

use std::cmp::Ordering;
use std::fmt;

/// A whole number and how many of its digits stand behind the point.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: i128,
    places: u32,
}

/// So many places may stand behind the point; the powers of ten up to here fit.
const MOST_PLACES: u32 = 38;

/// Places that a division is carried to when it does not end before.
const QUOTIENT_PLACES: u32 = 16;

fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

impl Decimal {
    /// The digits as a whole number, and how many of them stand behind the point. `None` for more
    /// places than 38, and for the least of all integers, which has no positive counterpart.
    #[must_use]
    pub fn from_parts(digits: i128, places: u32) -> Option<Self> {
        (places <= MOST_PLACES && digits != i128::MIN).then_some(Self { digits, places })
    }

    /// Reads a number as JSON and FHIRPath write it: `-1.50`, `1e3`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (body, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, body) = match body.as_bytes().first()? {
            b'-' => (true, &body[1..]),
            b'+' => (false, &body[1..]),
            _ => (false, body),
        };
        let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
        if whole.is_empty() || body.ends_with('.') {
            return None;
        }
        let mut digits: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            digits = digits.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        if negative {
            digits = -digits;
        }
        let places = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        match u32::try_from(places) {
            Ok(places) => Self::from_parts(digits, places),
            Err(_) if digits == 0 => Some(Self { digits, places: 0 }),
            Err(_) => {
                let digits = digits.checked_mul(power_of_ten(places.unsigned_abs())?)?;
                Some(Self { digits, places: 0 })
            }
        }
    }

    /// The nearest decimal to a floating point number, for functions that are not exact.
    #[must_use]
    pub fn from_f64(number: f64) -> Option<Self> {
        number.is_finite().then(|| Self::parse(&format!("{number}"))).flatten()
    }

    /// The nearest floating point number.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // Both are exact as floating point numbers, and so their quotient is the nearest one.
        const EXACT: u128 = 1 << 53;
        const TENS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
            1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
        ];
        let ten = TENS.get(self.places as usize);
        if let Some(ten) = ten.filter(|_| self.digits.unsigned_abs() <= EXACT) {
            return self.digits as f64 / ten;
        }
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// How many digits stand behind the point.
    #[must_use]
    pub fn places(self) -> u32 {
        self.places
    }

    /// All digits as a whole number.
    #[must_use]
    pub fn digits(self) -> i128 {
        self.digits
    }

    /// Whether it is below nought.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.digits < 0
    }

    /// Whether it is nought.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// The same number with more places behind the point.
    #[must_use]
    pub fn with_places(self, places: u32) -> Option<Self> {
        let more = places.checked_sub(self.places)?;
        Self::from_parts(self.digits.checked_mul(power_of_ten(more)?)?, places)
    }

    /// Cut off after so many places, towards nought.
    #[must_use]
    pub fn truncated_to(self, places: u32) -> Self {
        match self.places.checked_sub(places).and_then(power_of_ten) {
            Some(divisor) if places < self.places => Self { digits: self.digits / divisor, places },
            _ => self,
        }
    }

    /// Rounded to so many places, halves away from nought.
    #[must_use]
    pub fn rounded_to(self, places: u32) -> Self {
        let Some(divisor) = self.places.checked_sub(places).and_then(power_of_ten) else {
            return self;
        };
        let (quotient, rest) = (self.digits / divisor, self.digits % divisor);
        let up = divisor > 1 && rest.unsigned_abs() >= divisor.unsigned_abs() / 2;
        let step = if up { self.digits.signum() } else { 0 };
        Self { digits: quotient + step, places }
    }

    /// Without noughts at the end of the places.
    #[must_use]
    pub fn normalized(self) -> Self {
        let mut it = self;
        while it.places > 0 && it.digits % 10 == 0 {
            it.digits /= 10;
            it.places -= 1;
        }
        it
    }

    /// The whole part, towards nought.
    #[must_use]
    pub fn truncate(self) -> i128 {
        self.truncated_to(0).digits
    }

    /// The greatest whole number that is not above.
    #[must_use]
    pub fn floor(self) -> i128 {
        let whole = self.truncate();
        if self.is_negative() && !self.is_whole() { whole - 1 } else { whole }
    }

    /// The least whole number that is not below.
    #[must_use]
    pub fn ceiling(self) -> i128 {
        let whole = self.truncate();
        if !self.is_negative() && !self.is_whole() { whole + 1 } else { whole }
    }

    /// Whether nothing but noughts stands behind the point.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.normalized().places == 0
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { digits: -self.digits, ..self }
    }

    /// The number without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        Self { digits: self.digits.abs(), ..self }
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let places = self.places.max(other.places);
        Some((self.with_places(places)?.digits, other.with_places(places)?.digits, places))
    }

    /// `self + other`.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "a sum can overflow, which the trait cannot say"
    )]
    pub fn add(self, other: Self) -> Option<Self> {
        let (left, right, places) = self.aligned(other)?;
        Self::from_parts(left.checked_add(right)?, places)
    }

    /// `self - other`.
    #[must_use]
    pub fn subtract(self, other: Self) -> Option<Self> {
        self.add(other.negated())
    }

    /// `self * other`.
    #[must_use]
    pub fn multiply(self, other: Self) -> Option<Self> {
        if let Some(digits) = self.digits.checked_mul(other.digits) {
            return Self::from_parts(digits, self.places + other.places);
        }
        let (left, right) = (self.normalized(), other.normalized());
        Self::from_parts(left.digits.checked_mul(right.digits)?, left.places + right.places)
    }

    /// `self / other`, to at least sixteen places; `None` for a division by nought.
    #[must_use]
    pub fn divide(self, other: Self) -> Option<Self> {
        let (left, right) = (self.normalized(), other.normalized());
        if right.is_zero() {
            return None;
        }
        // Left has to have so many more places than right as the quotient is to have.
        let mut places = QUOTIENT_PLACES;
        loop {
            let scaled = (right.places + places)
                .checked_sub(left.places)
                .and_then(power_of_ten)
                .and_then(|factor| left.digits.checked_mul(factor));
            if let Some(scaled) = scaled {
                let (quotient, rest) = (scaled / right.digits, scaled % right.digits);
                let up = rest.unsigned_abs() >= right.digits.unsigned_abs().div_ceil(2);
                let sign = left.digits.signum() * right.digits.signum();
                let digits = if up { quotient + sign } else { quotient };
                return Some(Self { digits, places }.normalized());
            }
            if left.places > right.places + places {
                // More places than are asked for: cut some.
                return left.truncated_to(right.places + places).divide(right);
            }
            places = places.checked_sub(1)?;
        }
    }

    /// The whole number of times that `other` goes into `self`, towards nought.
    #[must_use]
    pub fn divide_whole(self, other: Self) -> Option<i128> {
        let (left, right, _) = self.aligned(other)?;
        left.checked_div(right)
    }

    /// What [`Decimal::divide_whole`] leaves.
    #[must_use]
    pub fn remainder(self, other: Self) -> Option<Self> {
        let (left, right, places) = self.aligned(other)?;
        Self::from_parts(left.checked_rem(right)?, places)
    }

    /// `self` multiplied with itself so many times.
    #[must_use]
    pub fn power(self, exponent: u32) -> Option<Self> {
        let mut result = Self::from(1);
        let (mut square, mut rest) = (self.normalized(), exponent);
        while rest > 0 {
            if rest & 1 == 1 {
                result = result.multiply(square)?;
            }
            rest >>= 1;
            if rest > 0 {
                square = square.multiply(square)?;
            }
        }
        Some(result)
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self { digits: i128::from(number), places: 0 }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if let Some((left, right, _)) = self.aligned(*other) {
            return left.cmp(&right);
        }
        // One does not fit with the places of the other. Their whole parts do, and so do their
        // fractions, which are below one.
        let parts = |it: &Self| {
            let unit = power_of_ten(it.places).unwrap_or(i128::MAX);
            let scale = power_of_ten(MOST_PLACES - it.places).unwrap_or(1);
            (it.digits.div_euclid(unit), it.digits.rem_euclid(unit).saturating_mul(scale))
        };
        parts(self).cmp(&parts(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = self.digits.unsigned_abs();
        if self.places == 0 {
            return write!(formatter, "{sign}{digits}");
        }
        let text = format!("{digits:0>width$}", width = self.places as usize + 1);
        let (whole, fraction) = text.split_at(text.len() - self.places as usize);
        write!(formatter, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn digits_are_kept_as_they_were_written() {
        for text in ["0", "1.0", "-0.010", "123456789012345678901234567890.12", "1.50"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        assert_eq!(decimal("1e3").to_string(), "1000");
        assert_eq!(decimal("1.25e1").to_string(), "12.5");
        assert_eq!(decimal("12E-3").to_string(), "0.012");
    }

    #[test]
    fn a_floating_point_number_is_the_nearest_one() {
        for text in [
            "0",
            "0.0",
            "-0.1",
            "0.3",
            "185.42",
            "9007199254740992",
            "9007199254740993",
            "1e-22",
            "1e-23",
            "-0.0000000000000000000009",
            "123456789012345678901234567890.12",
            "37.05",
        ] {
            assert_eq!(decimal(text).to_f64(), text.parse::<f64>().unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_does_not_fit_is_none() {
        for text in ["", "-", "1.", ".5", "1.a", "1e", "1e99", "--1", "1 "] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
        assert!(Decimal::parse(&"9".repeat(40)).is_none());
        assert!(Decimal::parse("1e-2147483648").is_none());
    }

    #[test]
    fn arithmetic_is_exact() {
        assert_eq!(decimal("0.1").add(decimal("0.2")), Some(decimal("0.3")));
        assert_eq!(decimal("1.8").subtract(decimal("1.2")), Some(decimal("0.6")));
        assert_eq!(decimal("1.2").multiply(decimal("1.8")), Some(decimal("2.16")));
        assert_eq!(decimal("2.2").remainder(decimal("1.8")), Some(decimal("0.4")));
        assert_eq!(decimal("2").power(10), Some(decimal("1024")));
        assert_eq!(decimal("1").divide(decimal("8")), Some(decimal("0.125")));
        assert_eq!(decimal("2").divide(decimal("3")).unwrap().to_string(), "0.6666666666666667");
        assert_eq!(decimal("-2").divide(decimal("3")).unwrap().to_string(), "-0.6666666666666667");
        assert_eq!(decimal("1").divide(decimal("0.000")), None);
        assert_eq!(decimal("1").remainder(decimal("0")), None);
    }

    #[test]
    fn what_has_no_counterpart_with_the_other_sign_is_none() {
        let least = Decimal::parse(&format!("-{}", i128::MAX)).unwrap();
        assert_eq!(least.subtract(1.into()), None);
        assert_eq!(least.add((-1).into()), None);
        assert_eq!(least.negated().negated().abs().divide((-1).into()), Some(least));
        assert_eq!(Decimal::from_parts(i128::MIN, 0), None);
    }

    #[test]
    fn rounding_goes_away_from_nought_at_the_half() {
        let rounded = |text: &str, places| decimal(text).rounded_to(places).to_string();
        assert_eq!(rounded("3.14159", 3), "3.142");
        assert_eq!(rounded("2.5", 0), "3");
        assert_eq!(rounded("-2.5", 0), "-3");
        assert_eq!(rounded("2.4", 0), "2");
        assert_eq!((decimal("-2.1").floor(), decimal("-2.1").ceiling()), (-3, -2));
        assert_eq!((decimal("2.1").floor(), decimal("2.1").ceiling()), (2, 3));
    }

    #[test]
    fn numbers_of_very_different_size_are_still_compared() {
        assert!(decimal("99999999999999999999999999999999999999") > decimal("0.00000000001"));
        assert!(decimal("-99999999999999999999999999999999999999") < decimal("0.00000000001"));
        assert_eq!(decimal("1.10"), decimal("1.1"));
    }
}
