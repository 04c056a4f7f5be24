//! Any bytes are a record or an error, and a format writes a record in one way alone.
//!
//! The first byte chooses whether the checksums in front are made right, so that the fields
//! behind them are reached.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use store::{T, record};

fuzz_target!(|data: &[u8]| {
    let Some((mode, record)) = data.split_first() else {
        return;
    };
    let mut bytes = record.to_vec();
    if mode & 1 == 1 && bytes.len() >= record::FRAME_HEADER {
        let length = (bytes.len() - record::FRAME_HEADER) as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let seed = crc32c::crc32c(&bytes[..4]);
        let checksum = crc32c::crc32c_append(seed, &bytes[record::FRAME_HEADER..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    }
    let bytes = Bytes::from(bytes);
    let checked = record::check(&bytes).is_ok();
    match record::decode(&bytes) {
        Ok(decoded) => {
            assert!(checked);
            let mut again = Vec::new();
            let hash = record::encode_in(
                decoded.format,
                &decoded.commit,
                &decoded.previous,
                &mut again,
                &mut Vec::new(),
            );
            assert_eq!(hash, Ok(decoded.hash));
            assert_eq!(again, bytes[..decoded.length]);
        }
        Err(error) => {
            assert!(!checked);
            assert!(error.offset <= bytes.len());
        }
    }
    let _ = record::decode_block(&bytes, "clinic", T::new(1)).is_ok();
});
