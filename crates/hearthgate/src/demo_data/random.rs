//! Numbers that follow from a seed, the same on every machine and in every release.

/// SplitMix64: a counter, mixed. Good enough to look varied, and nothing here is secret.
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The numbers of one stream of a seed.
    pub(crate) fn of(seed: u64, stream: u64) -> Self {
        let mut random = Self { state: seed };
        let seed = random.next();
        Self { state: seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = (high - low + 1).unsigned_abs();
        let offset = self.next() % span;
        low + i64::try_from(offset).expect("an offset within a span of i64 fits")
    }

    /// True `percent` times of a hundred.
    pub(crate) fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of `choices`, which is not empty.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let last = i64::try_from(choices.len() - 1).expect("a list is shorter than that");
        let at = usize::try_from(self.between(0, last)).expect("a place is not negative");
        &choices[at]
    }

    /// A `urn:uuid:` with a UUID of version 4.
    pub(crate) fn urn(&mut self) -> String {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        let uuid = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        uuid.urn().to_string()
    }

    /// A word of two or three syllables with a capital: no list of names, nobody's name on
    /// purpose.
    pub(crate) fn word(&mut self) -> String {
        const OPENINGS: &[u8] = b"bdfgklmnprstvz";
        const VOWELS: &[u8] = b"aeiou";
        let mut word = String::new();
        for _ in 0..self.between(2, 3) {
            word.push(char::from(*self.pick(OPENINGS)));
            word.push(char::from(*self.pick(VOWELS)));
        }
        if self.chance(40) {
            word.push(char::from(*self.pick(b"lnrs")));
        }
        word[..1].to_ascii_uppercase() + &word[1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_seed_and_stream() {
        let drawn = |seed, stream| {
            let mut random = Random::of(seed, stream);
            (0..8).map(|_| random.between(0, 1 << 40)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1, 1), drawn(1, 1));
        assert_ne!(drawn(1, 1), drawn(1, 2));
        assert_ne!(drawn(1, 1), drawn(2, 1));
    }

    #[test]
    fn both_ends_of_a_range_are_drawn_and_nothing_else() {
        let mut random = Random::of(1, 1);
        let drawn: std::collections::BTreeSet<i64> =
            (0..200).map(|_| random.between(-2, 2)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
    }
}
