//! Which keys a run certainly has not, without reading it: a Bloom filter of what its keys are
//! sought by, whose bits for one thing all lie in one line of a processor's cache. Of what the
//! run has not, it says so for about 98 in 100.

/// Bits for each entry.
const BITS: u64 = 10;
/// Bits that each thing looked for has, each by nine bits of its hash.
const PROBES: u32 = 6;

type Line = [u64; 8];

/// A filter of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    lines: Box<[Line]>,
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
        let lines = entries.saturating_mul(BITS) / 512 + 1;
        let lines = usize::try_from(lines).expect("a run has far fewer entries");
        Self { lines: vec![[0; 8]; lines].into_boxed_slice() }
    }

    pub(crate) fn add(&mut self, sought: Sought) {
        let line = self.line(sought);
        for (word, bit) in bits(sought) {
            self.lines[line][word] |= bit;
        }
    }

    /// Whether it may have been added; `false` is certain.
    pub(crate) fn may_hold(&self, sought: Sought) -> bool {
        let line = &self.lines[self.line(sought)];
        bits(sought).all(|(word, bit)| line[word] & bit != 0)
    }

    /// Which line has the bits: the hash as a fraction of all there are.
    fn line(&self, Sought(hash): Sought) -> usize {
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }

    /// Its bytes: eight to a word.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.lines.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The filter of these bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lines, rest) = bytes.as_chunks::<64>();
        let word = |line: &[u8; 64], at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&line[at * 8..at * 8 + 8]);
            u64::from_le_bytes(word)
        };
        let line = |line: &[u8; 64]| std::array::from_fn(|at| word(line, at));
        let lines = lines.iter().map(line).collect::<Box<[Line]>>();
        (rest.is_empty() && !lines.is_empty()).then_some(Self { lines })
    }
}

/// The words and bits of what is sought, within its line.
fn bits(Sought(hash): Sought) -> impl Iterator<Item = (usize, u64)> {
    // Other bits than those that chose the line.
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |probe| {
        let bit = (mixed >> (9 * probe)) & 511;
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_may_be_there_and_of_the_rest_two_in_a_hundred() {
        let sought = |number: u32| Sought::of(format!("vPatient\0{number}").as_bytes());
        let mut filter = Filter::new(10_000);
        for number in 0..10_000 {
            filter.add(sought(number));
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..10_000).all(|number| filter.may_hold(sought(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_hold(sought(*number))).count();
        assert!((300..2_500).contains(&wrong), "{wrong} of 100,000");
    }

    /// Stored filters would deny what they have, had this changed.
    #[test]
    fn what_is_sought_is_hashed_as_ever() {
        assert_eq!(Sought::of(b"vPatient\0abc\0").0, 0x79fe_fbaa_fcf2_e7e4);
        assert_eq!(Sought::of(b"").0, 0x9ca0_66f1_a4ab_2eea);
    }
}
