//! Which keys a run certainly has not, without reading it: a Bloom filter of what its keys are
//! sought by. Of what it has not, it says so for about 99 in 100.

/// Bits for each entry.
const BITS: u64 = 10;
/// Bits that each thing looked for has.
const PROBES: u64 = 6;

/// A filter of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    words: Box<[u64]>,
}

/// What a filter is asked for: 64 well mixed bits of what is sought. Stored filters depend on it:
/// it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sought(u64);

impl Sought {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hash = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            hash = mix(hash ^ u64::from_le_bytes(chunk.try_into().expect("chunks of eight")));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        Self(mix(hash ^ u64::from_le_bytes(last)))
    }
}

/// Mixes the bits of a number (the finalizer of MurmurHash3).
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

impl Filter {
    /// A filter for up to `entries`, of which it has none.
    pub(crate) fn new(entries: u64) -> Self {
        let words = (entries.saturating_mul(BITS) / 64 + 1).min(u64::from(u32::MAX) / 64);
        Self { words: vec![0; words as usize].into_boxed_slice() }
    }

    pub(crate) fn add(&mut self, sought: Sought) {
        for bit in self.bits(sought) {
            self.words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    /// Whether it may have been added; `false` is certain.
    pub(crate) fn may_hold(&self, sought: Sought) -> bool {
        self.bits(sought).all(|bit| self.words[(bit / 64) as usize] & (1 << (bit % 64)) != 0)
    }

    fn bits(&self, Sought(hash): Sought) -> impl Iterator<Item = u64> + use<> {
        let bits = self.words.len() as u64 * 64;
        let (first, step) = (hash & 0xffff_ffff, hash >> 32 | 1);
        (0..PROBES).map(move |probe| {
            let place = (first + probe * step) & 0xffff_ffff;
            (place * bits) >> 32
        })
    }

    /// Its bytes: eight to a word.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The filter of these bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word)).collect::<Box<[u64]>>();
        (rest.is_empty() && !words.is_empty()).then_some(Self { words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_may_be_there_and_of_the_rest_one_in_a_hundred() {
        let sought = |number: u32| Sought::of(format!("vPatient\0{number}").as_bytes());
        let mut filter = Filter::new(10_000);
        for number in 0..10_000 {
            filter.add(sought(number));
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..10_000).all(|number| filter.may_hold(sought(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_hold(sought(*number))).count();
        assert!((300..2_000).contains(&wrong), "{wrong} of 100,000");
    }

    /// Stored filters would deny what they have, had this changed.
    #[test]
    fn what_is_sought_is_hashed_as_ever() {
        assert_eq!(Sought::of(b"vPatient\0abc\0").0, 0x79fe_fbaa_fcf2_e7e4);
        assert_eq!(Sought::of(b"").0, 0x9ca0_66f1_a4ab_2eea);
    }
}
