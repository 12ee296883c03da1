//! Records of the RPC: maps with the names of Go's fields as keys. Written in today's `MessagePack`, in which text and bytes
//! differ; the gossip has the old one. Both are read.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use muster_gossip::wire::msgpack::{self, DecodeError, Reader};
use muster_types::Redacted;

/// Names, expressions, messages of errors, lines of a log.
pub const TEXT_MAX: usize = 1024 * 1024;
/// Payloads; Serf's own ceiling for those of events is 9 KiB.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Members, keys, tags: elements of one list or map.
pub const LIST_MAX: usize = 256 * 1024;
/// Keys of one record; Serf's have 8 at most.
pub const KEYS_MAX: usize = 64;

/// A value that stands in a record.
pub trait Field: Default {
    fn write(&self, out: &mut Vec<u8>);
    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// A struct of the RPC.
pub trait Record: Default {
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Declares structs and how they stand in the stream. A key that is not known is passed over; one that is missing leaves
/// the field at nothing, as in Go.
macro_rules! records {
    ($($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $key:literal => $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $($(#[$about])* pub $field: $type,)* }

        impl $crate::rpc::record::Record for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                muster_gossip::wire::msgpack::write_map(out, [$($key),*].len());
                $(
                    $crate::rpc::record::write_text(out, $key);
                    $crate::rpc::record::Field::write(&self.$field, out);
                )*
            }

            fn decode(
                reader: &mut muster_gossip::wire::msgpack::Reader<'_>,
            ) -> Result<Self, muster_gossip::wire::msgpack::DecodeError> {
                let mut read = Self::default();
                for _ in 0..reader.map(stringify!($name), $crate::rpc::record::KEYS_MAX)? {
                    match reader.raw("a key", $crate::rpc::record::TEXT_MAX)? {
                        $(key if key == $key.as_bytes() => {
                            read.$field = $crate::rpc::record::Field::read($key, reader)?;
                        })*
                        _ => reader.skip()?,
                    }
                }
                Ok(read)
            }
        }

        impl $crate::rpc::record::Field for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $crate::rpc::record::Record::encode(self, out);
            }

            fn read(
                _name: &'static str,
                reader: &mut muster_gossip::wire::msgpack::Reader<'_>,
            ) -> Result<Self, muster_gossip::wire::msgpack::DecodeError> {
                $crate::rpc::record::Record::decode(reader)
            }
        }
    )*};
}
pub(crate) use records;

pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, text.len(), Some((0xa0, 32)), 0xd9);
    out.extend_from_slice(text.as_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, bytes.len(), None, 0xc4);
    out.extend_from_slice(bytes);
}

/// A length in the tag itself, in one byte after `one`, in two after the tag that follows it, or in four after the next.
fn write_head(out: &mut Vec<u8>, len: usize, fixed: Option<(u8, usize)>, one: u8) {
    let bytes = (len as u64).to_be_bytes();
    assert!(bytes[..4] == [0; 4], "a value of {len} bytes was to be encoded");
    if let Some((tag, _)) = fixed.filter(|(_, bound)| len < *bound) {
        out.push(tag | bytes[7]);
    } else if bytes[4..7] == [0; 3] {
        out.extend([one, bytes[7]]);
    } else if bytes[4..6] == [0; 2] {
        out.push(one + 1);
        out.extend_from_slice(&bytes[6..]);
    } else {
        out.push(one + 2);
        out.extend_from_slice(&bytes[4..]);
    }
}

/// Go's text need not be UTF-8; what is not becomes the replacement character.
fn read_text(name: &'static str, reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    reader.raw(name, TEXT_MAX).map(|raw| String::from_utf8_lossy(raw).into_owned())
}

macro_rules! integers {
    ($($type:ty => $write:ident as $wide:ty),*) => {$(
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                msgpack::$write(out, <$wide>::from(*self));
            }

            fn read(_name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let number = reader.integer()?;
                number.try_into().map_err(|_| DecodeError::Range(number))
            }
        }
    )*};
}

integers!(u8 => write_unsigned as u64, u16 => write_unsigned as u64, u64 => write_unsigned as u64,
          i32 => write_signed as i64, i64 => write_signed as i64);

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        msgpack::write_boolean(out, *self);
    }

    fn read(_name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.boolean()
    }
}

impl Field for f64 {
    fn write(&self, out: &mut Vec<u8>) {
        msgpack::write_float(out, *self);
    }

    fn read(_name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.float()
    }
}

impl Field for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(out, self);
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_text(name, reader)
    }
}

/// A key, which no `Debug` shows.
impl Field for Option<Redacted<String>> {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(out, self.as_ref().map_or("", |secret| secret.expose()));
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let text = read_text(name, reader)?;
        Ok((!text.is_empty()).then(|| Redacted::new(text)))
    }
}

/// Empty bytes are nil, as an empty slice of Go's is.
impl Field for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        if self.is_empty() { msgpack::write_nil(out) } else { write_bytes(out, self) }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.raw(name, BYTES_MAX).map(Self::copy_from_slice)
    }
}

/// As four bytes or sixteen; one of the fourth version may come in either.
impl Field for Option<IpAddr> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(IpAddr::V4(address)) => write_bytes(out, &address.octets()),
            Some(IpAddr::V6(address)) => write_bytes(out, &address.octets()),
            None => msgpack::write_nil(out),
        }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let raw = reader.raw(name, 16)?;
        if let Ok(octets) = <[u8; 4]>::try_from(raw) {
            return Ok(Some(Ipv4Addr::from(octets).into()));
        }
        match <[u8; 16]>::try_from(raw) {
            Ok(octets) => Ok(Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())),
            Err(_) if raw.is_empty() => Ok(None),
            Err(_) => Err(DecodeError::Type { expected: "an address of 4 or 16 bytes", found: 0 }),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        msgpack::write_array(out, self.len());
        for element in self {
            element.write(out);
        }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.array(name, LIST_MAX)?;
        (0..len).map(|_| T::read(name, reader)).collect()
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn write(&self, out: &mut Vec<u8>) {
        msgpack::write_map(out, self.len());
        for (key, value) in self {
            write_text(out, key);
            value.write(out);
        }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.map(name, LIST_MAX)?;
        (0..len).map(|_| Ok((read_text(name, reader)?, T::read(name, reader)?))).collect()
    }
}

/// A map that may be absent, which is nil.
impl<T: Field> Field for Option<BTreeMap<String, T>> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(map) => map.write(out),
            None => msgpack::write_nil(out),
        }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.nil()? { Ok(None) } else { Field::read(name, reader).map(Some) }
    }
}
