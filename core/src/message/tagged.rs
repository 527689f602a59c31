//! Messages that begin with a number.

use bincode::de::Decoder;
use bincode::error::DecodeError;

/// Numbers of messages below this one are known, in one direction or the other.
pub(super) const TAGS: u32 = 31;

/// A part of the messages of a direction: told apart by the number with which they begin.
pub trait Tagged: Sized {
    /// Reads the rest of the message of this number, if it is one of these.
    ///
    /// # Errors
    /// If the rest is not as it should be.
    fn decode_tagged<D: Decoder<Context = ()>>(
        tag: u32,
        decoder: &mut D,
    ) -> Result<Option<Self>, DecodeError>;
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

        impl $crate::message::Tagged for $enum {
            #[inline(always)]
            fn decode_tagged<D: bincode::de::Decoder<Context = ()>>(
                tag: u32,
                decoder: &mut D,
            ) -> Result<Option<Self>, bincode::error::DecodeError> {
                Ok(Some(match tag {
                    $($tag => Self::$variant {
                        $(0: <$type as bincode::Decode<()>>::decode(decoder)?,)?
                        $($($field: <$field_type as bincode::Decode<()>>::decode(decoder)?,)+)?
                    },)+
                    _ => return Ok(None),
                }))
            }
        }
    };
}

pub(super) use tagged;
