//! Messages that begin with a number.

use bincode::de::Decoder;
use bincode::error::DecodeError;

/// Numbers of messages below this one are known, in one direction or the other.
pub(super) const TAGS: u32 = 49;

/// What is wrong with other numbers.
pub(super) const UNKNOWN: &str = "no message has this number";

/// A part of the messages of a direction: told apart by the number with which they begin.
pub trait Tagged: Sized {
    /// Whether one of these has this number.
    fn owns(tag: u32) -> bool;

    /// Reads the rest of the message of this number, and makes of it what `wrap` says: in place, since
    /// to move a message costs as much as to read it.
    ///
    /// # Errors
    /// If the rest is not as it should be, or the number is of another.
    fn decode_rest<D: Decoder<Context = ()>, R>(
        tag: u32,
        decoder: &mut D,
        wrap: impl FnOnce(Self) -> R,
    ) -> Result<R, DecodeError>;
}

/// Defines an enum whose variants begin with a number on the wire: `number => Variant`, with fields by
/// name or one value `(name: type)`.
macro_rules! tagged {
    ($(#[$meta:meta])* pub enum $enum:ident {$(
        $(#[$variant_meta:meta])*
        $tag:literal => $variant:ident
            $(($value:ident: $type:ty))?
            $({$($(#[$field_meta:meta])* $field:ident: $field_type:ty,)+})?
    ,)+}) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $enum {$(
            $(#[$variant_meta])*
            $variant $(($type))? $({$($(#[$field_meta])* $field: $field_type,)+})?,
        )+}

        impl bincode::Encode for $enum {
            #[inline]
            fn encode<E: bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), bincode::error::EncodeError> {
                match self {$(
                    Self::$variant { $(0: $value,)? $($($field,)+)? } => {
                        bincode::Encode::encode(&($tag as u32), encoder)?;
                        $(bincode::Encode::encode($value, encoder)?;)?
                        $($(bincode::Encode::encode($field, encoder)?;)+)?
                        Ok(())
                    }
                )+}
            }
        }

        impl $crate::message::listed::Listed for $enum {
            #[inline(always)]
            fn ids(&self) -> usize {
                match self {$(
                    Self::$variant { $(0: $value,)? $($($field,)+)? } => {
                        0 $(+ $crate::message::listed::Listed::ids($value))?
                            $($(+ $crate::message::listed::Listed::ids($field))+)?
                    }
                )+}
            }
        }

        impl $crate::message::Tagged for $enum {
            #[inline(always)]
            fn owns(tag: u32) -> bool {
                [$($tag),+].contains(&tag)
            }

            #[inline(always)]
            fn decode_rest<D: bincode::de::Decoder<Context = ()>, R>(
                tag: u32,
                decoder: &mut D,
                wrap: impl FnOnce(Self) -> R,
            ) -> Result<R, bincode::error::DecodeError> {
                match tag {
                    $($tag => {
                        let said = Self::$variant {
                            $(0: <$type as bincode::Decode<()>>::decode(decoder)?,)?
                            $($($field: <$field_type as bincode::Decode<()>>::decode(decoder)?,)+)?
                        };
                        $crate::message::listed::bounded(&said)?;
                        Ok(wrap(said))
                    })+
                    _ => Err(bincode::error::DecodeError::Other($crate::message::UNKNOWN)),
                }
            }
        }
    };
}

pub(super) use tagged;
