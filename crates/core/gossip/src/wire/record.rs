//! Records: maps with the names of Go's struct fields as keys, in the order in which Go writes them.

use std::collections::BTreeMap;

use super::limits;
use super::msgpack::{self, DecodeError, Reader};

/// A value that stands in a record.
pub trait Field: Default {
    fn write(&self, out: &mut Vec<u8>);
    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Whether a field that may be left out is.
    fn is_zero(&self) -> bool {
        false
    }
}

/// A struct on the wire.
pub trait Record: Default {
    const KEYS: &'static [&'static str];
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Declares a struct and how it stands on the wire. Keys must be in alphabetical order, which is Go's.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $key:literal $($omit:ident)? => $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name { $($(#[$about])* pub $field: $type,)* }

        impl $crate::wire::record::Record for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn encode(&self, out: &mut Vec<u8>) {
                use $crate::wire::record::Field as _;
                let left_out = 0 $(+ usize::from(record!(@omitted self.$field $($omit)?)))*;
                $crate::wire::msgpack::write_map(out, Self::KEYS.len() - left_out);
                $(if !record!(@omitted self.$field $($omit)?) {
                    $crate::wire::msgpack::write_raw(out, $key.as_bytes());
                    self.$field.write(out);
                })*
            }

            fn decode(
                reader: &mut $crate::wire::msgpack::Reader<'_>,
            ) -> Result<Self, $crate::wire::msgpack::DecodeError> {
                let mut read = Self::default();
                for _ in 0..reader.map(stringify!($name), $crate::wire::limits::KEYS_MAX)? {
                    match reader.raw("a key", $crate::wire::limits::TEXT_MAX)? {
                        $(key if key == $key.as_bytes() => {
                            read.$field = $crate::wire::record::Field::read($key, reader)?;
                        })*
                        _ => reader.skip()?,
                    }
                }
                Ok(read)
            }
        }
    };
    (@omitted $self:ident.$field:ident omitempty) => { $self.$field.is_zero() };
    (@omitted $self:ident.$field:ident) => { false };
}
pub(crate) use record;

/// Keys of the cluster, raw or in base64: `Debug` does not show them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub fn new(secret: T) -> Self {
        Self(secret)
    }

    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl<T: Field> Field for Secret<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::read(name, reader).map(Self)
    }
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

            fn is_zero(&self) -> bool {
                *self == 0
            }
        }
    )*};
}

integers!(u8 => write_unsigned as u64, u16 => write_unsigned as u64, u32 => write_unsigned as u64,
          u64 => write_unsigned as u64, i64 => write_signed as i64);

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
        msgpack::write_raw(out, self.as_bytes());
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.text(name, limits::TEXT_MAX).map(str::to_owned)
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

/// Bytes; none are written as Go writes a slice that was never made, as nil.
impl Field for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        if self.is_empty() { msgpack::write_nil(out) } else { msgpack::write_raw(out, self) }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.raw(name, limits::BYTES_MAX).map(<[u8]>::to_vec)
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

/// Lists; an empty one is nil, as a slice in Go that nothing was appended to.
macro_rules! lists {
    ($($element:ty, $max:expr);*) => {$(
        impl Field for Vec<$element> {
            fn write(&self, out: &mut Vec<u8>) {
                if self.is_empty() {
                    return msgpack::write_nil(out);
                }
                msgpack::write_array(out, self.len());
                for element in self {
                    element.write(out);
                }
            }

            fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                (0..reader.array(name, $max)?).map(|_| Field::read(name, reader)).collect()
            }
        }
    )*};
}

lists!(String, limits::NAMES_MAX; Secret<String>, limits::NAMES_MAX; Vec<u8>, limits::FILTERS_MAX; f64, limits::DIMENSIONS_MAX);

/// Maps; Go writes their keys in no order, we in that of the alphabet.
macro_rules! maps {
    ($($value:ty, $max:expr);*) => {$(
        impl Field for BTreeMap<String, $value> {
            fn write(&self, out: &mut Vec<u8>) {
                msgpack::write_map(out, self.len());
                for (key, value) in self {
                    key.write(out);
                    value.write(out);
                }
            }

            fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                (0..reader.map(name, $max)?).map(|_| Ok((Field::read(name, reader)?, Field::read(name, reader)?))).collect()
            }
        }
    )*};
}

maps!(String, limits::TAGS_MAX; u64, limits::NAMES_MAX);
