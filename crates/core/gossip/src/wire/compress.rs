//! LZW as Go's `compress/lzw` has it (the one of GIF: lowest bits first, 8 bits), with a limit on what comes out.

use weezl::{BitOrder, LzwStatus, decode, encode};

const LITERAL_BITS: u8 = 8;
pub const ALGORITHM_LZW: u8 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    #[error("the compression {0} is not known; only LZW, 0, is")]
    Algorithm(u8),
    #[error("the message inflates to more than {max} bytes")]
    TooLong { max: usize },
    #[error("the compressed bytes are damaged")]
    Damaged,
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    // Writing to memory cannot fail, and LZW takes any bytes of 8 bits.
    encode::Encoder::new(BitOrder::Lsb, LITERAL_BITS).encode(bytes).unwrap_or_default()
}

pub fn inflate(algorithm: u8, mut bytes: &[u8], max: usize) -> Result<Vec<u8>, CompressError> {
    if algorithm != ALGORITHM_LZW {
        return Err(CompressError::Algorithm(algorithm));
    }
    let mut decoder = decode::Decoder::new(BitOrder::Lsb, LITERAL_BITS);
    let mut inflated = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let step = decoder.decode_bytes(bytes, &mut chunk);
        bytes = bytes.get(step.consumed_in..).unwrap_or_default();
        if inflated.len() + step.consumed_out > max {
            return Err(CompressError::TooLong { max });
        }
        inflated.extend_from_slice(&chunk[..step.consumed_out]);
        match step.status {
            Ok(LzwStatus::Done) => return Ok(inflated),
            Ok(LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Ok(LzwStatus::Ok | LzwStatus::NoProgress) | Err(_) => return Err(CompressError::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deflated_inflates_to_the_same() {
        for len in [0_usize, 1, 300, 5000, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|at| (at * at % 251).to_le_bytes()[0]).collect();
            assert_eq!(inflate(ALGORITHM_LZW, &deflate(&bytes), len), Ok(bytes), "{len}");
        }
    }

    #[test]
    fn a_bomb_is_refused_when_it_grows_too_large() {
        let bomb = deflate(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000, "{} bytes", bomb.len());
        assert_eq!(inflate(ALGORITHM_LZW, &bomb, 65_536), Err(CompressError::TooLong { max: 65_536 }));
    }

    #[test]
    fn damage_is_noticed() {
        let mut deflated = deflate(b"hello hello hello hello");
        deflated.pop();
        deflated.pop();
        assert_eq!(inflate(ALGORITHM_LZW, &deflated, 100), Err(CompressError::Damaged));
        assert_eq!(inflate(1, &deflated, 100), Err(CompressError::Algorithm(1)));
    }
}
