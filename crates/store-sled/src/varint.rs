//! Numbers in as few bytes as they need: seven bits a byte, the least significant first, the
//! highest bit of a byte set when another follows (LEB128).

/// Appends `number`: 1 to 10 bytes.
pub(crate) fn put(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push((number as u8) | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Takes a number from the front of `bytes`; `None` when none stands there.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A signed number as one that is small when it is near zero.
pub(crate) fn unsigned(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// The signed number that [`unsigned`] made this of.
pub(crate) fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive_their_bytes(number in any::<u64>(), bits in 0..64_u32, of in any::<i64>()) {
            let number = number >> bits;
            let mut bytes = Vec::new();
            put(number, &mut bytes);
            prop_assert!(bytes.len() <= 10);
            bytes.push(7);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert_eq!(rest, [7]);
            prop_assert_eq!(signed(unsigned(of)), of);
        }

        #[test]
        fn any_bytes_are_a_number_or_none(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = bytes.as_slice();
            if let Some(number) = take(&mut rest) {
                let mut again = Vec::new();
                put(number, &mut again);
                prop_assert!(again.len() <= bytes.len() - rest.len());
            }
        }
    }
}
