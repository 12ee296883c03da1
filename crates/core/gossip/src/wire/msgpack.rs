//! `MessagePack` as Go's memberlist writes it: the old dialect, in which text and bytes are both "raw". Both dialects are read.

/// How deep unknown values may be nested before they are refused.
const DEPTH_MAX: u8 = 16;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes could make it whole; on a packet it is an error, on a stream a reason to wait.
    #[error("the message ends too early")]
    Incomplete,
    #[error("expected {expected}, found the byte 0x{found:02x}")]
    Type { expected: &'static str, found: u8 },
    #[error("{field} has {len} elements or bytes, more than {max}")]
    TooLong { field: &'static str, len: usize, max: usize },
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    #[error("the number {0} does not fit where it stands")]
    Range(i128),
    #[error("values are nested deeper than 16 levels")]
    TooDeep,
    #[error("the message type {0} is not known")]
    UnknownType(u8),
    #[error("{0} bytes follow after the end of the message")]
    Trailing(usize),
}

/// Reads values from bytes; a failed read leaves the position undefined.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Incomplete)?;
        self.at += 1;
        Ok(byte)
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let taken = self.rest().get(..len).ok_or(DecodeError::Incomplete)?;
        self.at += len;
        Ok(taken)
    }

    fn big_endian(&mut self, len: usize) -> Result<u64, DecodeError> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub fn integer(&mut self) -> Result<i128, DecodeError> {
        let tag = self.byte()?;
        Ok(match tag {
            0x00..=0x7f => i128::from(tag),
            0xe0..=0xff => i128::from(tag.cast_signed()),
            0xcc => i128::from(self.big_endian(1)?),
            0xcd => i128::from(self.big_endian(2)?),
            0xce => i128::from(self.big_endian(4)?),
            0xcf => i128::from(self.big_endian(8)?),
            0xd0..=0xd3 => {
                let width = 1 << (tag - 0xd0);
                let shift = 64 - 8 * width;
                i128::from((self.big_endian(width)? << shift).cast_signed() >> shift)
            }
            0xc0 => 0,
            found => return Err(DecodeError::Type { expected: "an integer", found }),
        })
    }

    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0xc2 | 0xc0 => Ok(false),
            0xc3 => Ok(true),
            found => Err(DecodeError::Type { expected: "true or false", found }),
        }
    }

    pub fn float(&mut self) -> Result<f64, DecodeError> {
        match self.byte()? {
            0xcb => Ok(f64::from_bits(self.big_endian(8)?)),
            0xca => Ok(f64::from(f32::from_bits(u32::try_from(self.big_endian(4)?).unwrap_or_default()))),
            0xc0 => Ok(0.0),
            found => Err(DecodeError::Type { expected: "a floating-point number", found }),
        }
    }

    /// Text or bytes, in either dialect; nil is empty.
    pub fn raw(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let tag = self.byte()?;
        let len = match tag {
            0xa0..=0xbf => u64::from(tag & 0x1f),
            0xd9 | 0xc4 => self.big_endian(1)?,
            0xda | 0xc5 => self.big_endian(2)?,
            0xdb | 0xc6 => self.big_endian(4)?,
            0xc0 => 0,
            found => return Err(DecodeError::Type { expected: "text or bytes", found }),
        };
        self.take(limited(field, len, max)?)
    }

    pub fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.raw(field, max)?).map_err(|_| DecodeError::NotText(field))
    }

    /// The number of elements of an array; nil is empty.
    pub fn array(&mut self, field: &'static str, max: usize) -> Result<usize, DecodeError> {
        let tag = self.byte()?;
        let len = match tag {
            0x90..=0x9f => u64::from(tag & 0x0f),
            0xdc => self.big_endian(2)?,
            0xdd => self.big_endian(4)?,
            0xc0 => 0,
            found => return Err(DecodeError::Type { expected: "an array", found }),
        };
        limited(field, len, max)
    }

    /// The number of entries of a map; nil is empty.
    pub fn map(&mut self, field: &'static str, max: usize) -> Result<usize, DecodeError> {
        let tag = self.byte()?;
        let len = match tag {
            0x80..=0x8f => u64::from(tag & 0x0f),
            0xde => self.big_endian(2)?,
            0xdf => self.big_endian(4)?,
            0xc0 => 0,
            found => return Err(DecodeError::Type { expected: "a map", found }),
        };
        limited(field, len, max)
    }

    /// Takes a nil away, if one stands here.
    pub fn nil(&mut self) -> Result<bool, DecodeError> {
        let is_nil = *self.rest().first().ok_or(DecodeError::Incomplete)? == 0xc0;
        self.at += usize::from(is_nil);
        Ok(is_nil)
    }

    /// Passes over one value of any type: peers of later versions may send keys that are not known here.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        self.skip_nested(0)
    }

    fn skip_nested(&mut self, depth: u8) -> Result<(), DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let tag = self.byte()?;
        let (fixed, values) = match tag {
            0x00..=0x7f | 0xe0..=0xff | 0xc0..=0xc3 => (0, 0),
            0x80..=0x8f => (0, 2 * u64::from(tag & 0x0f)),
            0x90..=0x9f => (0, u64::from(tag & 0x0f)),
            0xa0..=0xbf => (u64::from(tag & 0x1f), 0),
            0xc4 | 0xd9 => (self.big_endian(1)?, 0),
            0xc5 | 0xda => (self.big_endian(2)?, 0),
            0xc6 | 0xdb => (self.big_endian(4)?, 0),
            0xc7 => (self.big_endian(1)? + 1, 0),
            0xc8 => (self.big_endian(2)? + 1, 0),
            0xc9 => (self.big_endian(4)? + 1, 0),
            0xca => (4, 0),
            0xcb => (8, 0),
            0xcc..=0xcf => (1 << (tag - 0xcc), 0),
            0xd0..=0xd3 => (1 << (tag - 0xd0), 0),
            0xd4..=0xd8 => ((1 << (tag - 0xd4)) + 1, 0),
            0xdc => (0, self.big_endian(2)?),
            0xdd => (0, self.big_endian(4)?),
            0xde => (0, 2 * self.big_endian(2)?),
            0xdf => (0, 2 * self.big_endian(4)?),
        };
        self.take(usize::try_from(fixed).map_err(|_| DecodeError::Incomplete)?)?;
        // Each value takes a byte at least, so this ends with the input.
        for _ in 0..values {
            self.skip_nested(depth + 1)?;
        }
        Ok(())
    }
}

fn limited(field: &'static str, len: u64, max: usize) -> Result<usize, DecodeError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > max { Err(DecodeError::TooLong { field, len, max }) } else { Ok(len) }
}

pub fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => out.push(low(number)),
        0x80..=0xff => out.extend([0xcc, low(number)]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&number.to_be_bytes()[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&number.to_be_bytes()[4..]);
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

pub fn write_signed(out: &mut Vec<u8>, number: i64) {
    if let Ok(unsigned) = u64::try_from(number) {
        return write_unsigned(out, unsigned);
    }
    let bytes = number.to_be_bytes();
    if number >= -32 {
        out.push(bytes[7]);
    } else if i8::try_from(number).is_ok() {
        out.extend([0xd0, bytes[7]]);
    } else if i16::try_from(number).is_ok() {
        out.push(0xd1);
        out.extend_from_slice(&bytes[6..]);
    } else if i32::try_from(number).is_ok() {
        out.push(0xd2);
        out.extend_from_slice(&bytes[4..]);
    } else {
        out.push(0xd3);
        out.extend_from_slice(&bytes);
    }
}

pub fn write_boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

pub fn write_float(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

pub fn write_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Text, and bytes, as the old dialect has them.
pub fn write_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, bytes.len(), (0xa0, 32), 0xda);
    out.extend_from_slice(bytes);
}

pub fn write_array(out: &mut Vec<u8>, len: usize) {
    write_head(out, len, (0x90, 16), 0xdc);
}

pub fn write_map(out: &mut Vec<u8>, len: usize) {
    write_head(out, len, (0x80, 16), 0xde);
}

/// A length: in the tag itself below the bound, in two bytes after `wide`, or in four after the tag that follows it.
fn write_head(out: &mut Vec<u8>, len: usize, (fixed, bound): (u8, usize), wide: u8) {
    let bytes = (len as u64).to_be_bytes();
    assert!(bytes[..4] == [0; 4], "a value of {len} bytes or elements was to be encoded");
    if len < bound {
        out.push(fixed | bytes[7]);
    } else if bytes[4..6] == [0; 2] {
        out.push(wide);
        out.extend_from_slice(&bytes[6..]);
    } else {
        out.push(wide + 1);
        out.extend_from_slice(&bytes[4..]);
    }
}

fn low(number: u64) -> u8 {
    number.to_be_bytes()[7]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_as_short_as_go_writes_them() {
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0xcc, 0x80]),
            (256, &[0xcd, 1, 0]),
            (65_536, &[0xce, 0, 1, 0, 0]),
            (1 << 32, &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
            (-1, &[0xff]),
            (-33, &[0xd0, 0xdf]),
            (-129, &[0xd1, 0xff, 0x7f]),
            (-32_769, &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
            (i64::MIN, &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_signed(&mut out, number);
            assert_eq!(out, bytes, "{number}");
            assert_eq!(Reader::new(&out).integer(), Ok(i128::from(number)));
        }
    }

    #[test]
    fn both_dialects_are_read() {
        for bytes in
            [&[0xa2, b'h', b'i'][..], &[0xd9, 2, b'h', b'i'], &[0xc4, 2, b'h', b'i'], &[0xda, 0, 2, b'h', b'i']]
        {
            assert_eq!(Reader::new(bytes).text("a name", 8), Ok("hi"), "{bytes:x?}");
        }
        assert_eq!(Reader::new(&[0xc0]).raw("a name", 8), Ok(&[][..]));
    }

    #[test]
    fn what_is_longer_than_allowed_is_refused_before_it_is_there() {
        let long = Reader::new(&[0xdb, 0xff, 0xff, 0xff, 0xff]).raw("a name", 8);
        assert!(matches!(long, Err(DecodeError::TooLong { max: 8, .. })), "{long:?}");
        let many = Reader::new(&[0xdd, 0xff, 0xff, 0xff, 0xff]).array("a list", 8);
        assert!(matches!(many, Err(DecodeError::TooLong { max: 8, .. })), "{many:?}");
    }

    #[test]
    fn skipping_ends_with_the_input_and_at_a_depth() {
        assert_eq!(Reader::new(&[0xdf, 0xff, 0xff, 0xff, 0xff]).skip(), Err(DecodeError::Incomplete));
        assert_eq!(Reader::new(&[0x91; 100]).skip(), Err(DecodeError::TooDeep));
        let mut reader =
            Reader::new(&[0x82, 0xa1, b'k', 0x93, 1, 2, 3, 0xc7, 2, 0, 1, 2, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(reader.skip(), Ok(()));
        assert_eq!(reader.rest(), [7]);
    }
}
