//! What stands in the brackets: `name = "..."` and `codec = "..."`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::{Error, LitStr, Result};

/// As the wire has it.
const NAME_MAX: usize = 255;

/// How arguments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Json,
    Bincode,
}

impl Codec {
    /// The value of the library's type of the same name.
    pub(crate) fn path(self) -> TokenStream {
        let variant = match self {
            Self::Json => format_ident!("Json"),
            Self::Bincode => format_ident!("Bincode"),
        };
        quote!(::argon::Codec::#variant)
    }
}

/// The attribute's settings.
#[derive(Debug)]
pub(crate) struct Attributes {
    /// `None`: the function's name.
    pub(crate) name: Option<String>,
    pub(crate) codec: Codec,
}

impl Attributes {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut name = None;
        let mut codec = None;
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                once(&meta, name.is_some())?;
                name = Some(task_name(&meta.value()?.parse()?)?);
            } else if meta.path.is_ident("codec") {
                once(&meta, codec.is_some())?;
                codec = Some(codec_of(&meta.value()?.parse()?)?);
            } else {
                return Err(meta.error(
                    "a task has the settings `name = \"...\"` and `codec = \"json\"` or \
                     `codec = \"bincode\"`; options such as priorities belong to a call",
                ));
            }
            Ok(())
        });
        parser.parse2(tokens)?;
        Ok(Self {
            name,
            codec: codec.unwrap_or(Codec::Json),
        })
    }
}

fn once(meta: &ParseNestedMeta<'_>, given: bool) -> Result<()> {
    if given {
        return Err(meta.error("this is given twice"));
    }
    Ok(())
}

fn task_name(literal: &LitStr) -> Result<String> {
    let name = literal.value();
    let problem = if name.is_empty() {
        "a task's name needs at least one character"
    } else if name.len() > NAME_MAX {
        "a task's name has at most 255 bytes"
    } else if name.chars().any(char::is_control) {
        "a task's name has no control characters"
    } else if name.ends_with('*') {
        "a task's name does not end with `*`: that stands for every name with this beginning"
    } else {
        return Ok(name);
    };
    Err(Error::new(literal.span(), problem))
}

fn codec_of(literal: &LitStr) -> Result<Codec> {
    match &literal.value()[..] {
        "json" => Ok(Codec::Json),
        "bincode" => Ok(Codec::Bincode),
        _ => Err(Error::new(
            literal.span(),
            "a codec is \"json\", which every language reads, or \"bincode\", between Rust programs",
        )),
    }
}
