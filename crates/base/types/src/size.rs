//! Byte counts as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const UNITS: [(&str, u32); 5] = [("", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40)];

/// A number of bytes. Written `512M`, `1.5G`, `64Ki`: powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a size; write a number with K, M, G or T, as in 512M")]
pub struct ByteSizeError {
    text: String,
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes below 2^53 bytes"
    )]
    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let error = || ByteSizeError { text: text.to_owned() };
        let trimmed = text.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = trimmed[digits.len()..].to_ascii_uppercase();
        let shift = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1;
        let number: f64 = digits.trim().parse().map_err(|_| error())?;
        let bytes = number * (1u64 << shift) as f64;
        if !(0.0..9e15).contains(&bytes) {
            return Err(error());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = UNITS.iter().rev().find(|(_, shift)| self.0 >= 1 << shift).unwrap_or(&UNITS[0]);
        let whole = self.0 >> shift;
        let tenths = ((self.0 & ((1 << shift) - 1)) * 10) >> shift;
        if tenths == 0 { write!(f, "{whole}{unit}") } else { write!(f, "{whole}.{tenths}{unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0", 0), ("512M", 512 << 20), ("1.5G", 3 << 29), ("64Ki", 64 << 10), ("10 kB", 10 << 10)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for bad in ["", "M", "-1", "1X", "one", "99999999T"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(3 << 29).to_string(), "1.5G");
        assert_eq!(ByteSize(900).to_string(), "900");
    }
}
