//! What one copy is drawn with: the same for the same seed and number.

use super::template::civil;

/// Days that a copy's dates may lie before those of its original.
const MOST_DAYS: u64 = 4 * 365;
/// Families that there are.
const FAMILIES: u64 = 4096;
/// Given names that there are.
const GIVEN: u64 = 1024;

const BEGINNINGS: [&str; 16] = [
    "Bra", "Cel", "Dor", "Eri", "Fal", "Gor", "Hal", "Ilo", "Jas", "Kor", "Lum", "Mer", "Nol",
    "Ost", "Per", "Tes",
];
const MIDDLES: [&str; 16] = [
    "an", "be", "ci", "do", "el", "fa", "gi", "ho", "in", "ka", "la", "mi", "no", "or", "pu", "ra",
];
const ENDS: [&str; 16] = [
    "ba", "den", "fin", "gar", "hel", "in", "ko", "len", "mar", "nes", "o", "run", "sen", "ta",
    "vel", "wick",
];

/// The chance of one copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    key: u64,
}

impl Draw {
    /// Of a copy by its number.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        Self { key: mixed(seed ^ mixed(number)) }
    }

    /// A number for a place in the original: any of 64 bits.
    pub(crate) fn number(self, place: u64) -> u64 {
        mixed(self.key ^ mixed(place))
    }

    /// Which of so many, the first ones far more often than the last: each twice as many share as
    /// much chance as those before them.
    pub(crate) fn skewed(self, place: u64, count: u64) -> u64 {
        let share = (self.number(place) >> 11) as f64 / (1_u64 << 53) as f64;
        ((count as f64 + 1.0).powf(share) as u64).saturating_sub(1).min(count.saturating_sub(1))
    }

    /// The copy's id for an original's.
    pub(crate) fn id(self, original: u128) -> String {
        let high = self.number((original >> 64) as u64 ^ original as u64);
        let low = self.number(high ^ original as u64);
        let high = high & !0xf000 | 0x4000;
        let low = low & !(0b11 << 62) | 0b10 << 62;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// A date so many days after 1970-01-01 in the original.
    pub(crate) fn date(self, days: i64) -> String {
        let shift = self.number(1) % MOST_DAYS + 1;
        let (year, month, day) = civil(days - shift.cast_signed());
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// The name of the copy's family for that of the original's.
    pub(crate) fn family(self, original: &str) -> String {
        name(self.skewed(hash(original), FAMILIES))
    }

    /// The copy's given name for one of the original's.
    pub(crate) fn given(self, original: &str) -> String {
        name(FAMILIES + self.skewed(!hash(original), GIVEN))
    }

    /// What identifies the copy where this identifies the original: digits are others.
    pub(crate) fn digits(self, original: &str) -> String {
        let seed = hash(original);
        let digit = |(place, it): (usize, char)| match it.is_ascii_digit() {
            true => char::from(b'0' + (self.number(seed ^ place as u64) % 10) as u8),
            false => it,
        };
        original.chars().enumerate().map(digit).collect()
    }
}

/// A name by its number, below 8192.
fn name(number: u64) -> String {
    // Neighbours begin differently, so that a name's rank says nothing of its letters.
    let number = number.wrapping_mul(2_654_435_761) % 8191;
    let of = |list: &[&'static str; 16], shift: u32| list[(number >> shift & 15) as usize];
    let end = if number >> 12 == 0 { "" } else { "ey" };
    format!("{}{}{}{end}", of(&BEGINNINGS, 0), of(&MIDDLES, 4), of(&ENDS, 8))
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
