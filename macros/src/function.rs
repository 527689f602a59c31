//! The function behind a task: what it takes and gives, or why it cannot be one.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, Item, ItemFn, Pat, PathArguments, Result,
    ReturnType, Type,
};

/// As many as serde has tuples for.
const PARAMETERS_MAX: usize = 16;

/// Reads the item that the attribute stands on.
pub(crate) fn parse(item: TokenStream) -> Result<ItemFn> {
    let span = item.span();
    let wrong = "a task is a function of its own: put #[argon::task] on a `fn` outside of `impl`";
    match syn::parse2(item) {
        Ok(Item::Fn(function)) => Ok(function),
        Ok(other) => Err(Error::new(other.span(), wrong)),
        Err(error) => {
            let mut all = Error::new(span, wrong);
            all.combine(error);
            Err(all)
        }
    }
}

/// A parameter.
pub(crate) struct Parameter {
    /// What callers see.
    pub(crate) name: Ident,
    /// What the call's constructor takes.
    pub(crate) given: Type,
    /// What is decoded where the task runs.
    pub(crate) owned: TokenStream,
    /// Whether the function takes a reference to that.
    pub(crate) by_reference: bool,
    /// Whether it is bytes, which travel as they are if nothing else does.
    pub(crate) bytes: bool,
}

/// What it gives.
pub(crate) struct Returned {
    /// The type of the result.
    pub(crate) value: TokenStream,
    /// Whether the function gives a `Result` of it.
    pub(crate) fallible: bool,
}

/// A function that can be a task.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returned: Returned,
}

impl Function {
    pub(crate) fn new(item: ItemFn) -> Result<Self> {
        check_signature(&item)?;
        let parameters = item.sig.inputs.iter().enumerate();
        let parameters = parameters
            .map(|(index, input)| parameter(index, input))
            .collect::<Result<Vec<_>>>()?;
        if parameters.len() > PARAMETERS_MAX {
            return Err(Error::new(
                item.sig.inputs.span(),
                "a task has at most 16 arguments; put them into a struct",
            ));
        }
        let returned = returned(&item.sig.output)?;
        Ok(Self {
            item,
            parameters,
            returned,
        })
    }

    /// The attributes that say whether the function is there at all.
    pub(crate) fn conditions(&self) -> Vec<&Attribute> {
        let attributes = self.item.attrs.iter();
        attributes
            .filter(|attribute| attribute.path().is_ident("cfg"))
            .collect()
    }

    /// What the function says about itself.
    pub(crate) fn docs(&self) -> Vec<&Attribute> {
        let attributes = self.item.attrs.iter();
        attributes
            .filter(|attribute| attribute.path().is_ident("doc"))
            .collect()
    }
}

fn check_signature(item: &ItemFn) -> Result<()> {
    let signature = &item.sig;
    let wrong = |span: Span, text: &str| Err(Error::new(span, text));
    if let Some(first) = signature.generics.params.first() {
        return wrong(
            first.span(),
            "a task is one function with one name, so it cannot be generic; \
             write a task for each type that calls it, or take an enum",
        );
    }
    if let Some(part) = &signature.constness {
        return wrong(part.span(), "a task cannot be const; remove the word");
    }
    if let syn::Safety::Unsafe(part) = &signature.safety {
        return wrong(
            part.span(),
            "a task cannot be unsafe: whoever calls it from afar cannot keep its conditions",
        );
    }
    if let Some(part) = &signature.abi {
        return wrong(
            part.span(),
            "a task is a Rust function; remove the extern part",
        );
    }
    if let Some(part) = &signature.variadic {
        return wrong(part.span(), "a task has a fixed number of arguments");
    }
    Ok(())
}

fn parameter(index: usize, input: &FnArg) -> Result<Parameter> {
    let typed = match input {
        FnArg::Typed(typed) => typed,
        FnArg::Receiver(receiver) => {
            return Err(Error::new(
                receiver.span(),
                "a task has no `self`: its arguments travel to another process; \
                 take the value as an argument of a plain function",
            ));
        }
    };
    let name = match &*typed.pat {
        Pat::Ident(pattern) if pattern.subpat.is_none() => pattern.ident.clone(),
        _ => format_ident!("argument{}", index + 1),
    };
    let given = (*typed.ty).clone();
    if let Type::ImplTrait(part) = &given {
        return Err(Error::new(
            part.span(),
            "an argument of a task has a type of its own, not `impl Trait`",
        ));
    }
    let Type::Reference(reference) = &given else {
        return Ok(Parameter {
            name,
            owned: quote!(#given),
            by_reference: false,
            bytes: is_bytes(&given),
            given,
        });
    };
    if reference.mutability.is_some() {
        return Err(Error::new(
            reference.span(),
            "a task cannot change its caller's value: take it by value or `&`, and return the new one",
        ));
    }
    if let Some(lifetime) = &reference.lifetime {
        return Err(Error::new(
            lifetime.span(),
            "a task's arguments live as long as it runs; write the reference without a lifetime",
        ));
    }
    let inner = &*reference.elem;
    let owned = match inner {
        Type::Path(path) if path.path.is_ident("str") => quote!(::std::string::String),
        Type::Slice(slice) => {
            let item = &slice.elem;
            quote!(::std::vec::Vec<#item>)
        }
        other => quote!(#other),
    };
    Ok(Parameter {
        name,
        owned,
        by_reference: true,
        bytes: is_bytes(inner),
        given,
    })
}

/// Whether a type looks like bytes: `Vec<u8>`, `[u8]` or `Bytes`. An alias goes unnoticed, and
/// its bytes travel as a list of numbers; that is only slower.
fn is_bytes(given: &Type) -> bool {
    let is_u8 = |given: &Type| matches!(given, Type::Path(path) if path.path.is_ident("u8"));
    match given {
        Type::Slice(slice) => is_u8(&slice.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let first = first_type(&last.arguments);
            (last.ident == "Vec" && first.is_some_and(is_u8))
                || (last.ident == "Bytes" && last.arguments.is_none())
        }),
        _ => false,
    }
}

fn first_type(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(given) => Some(given),
        _ => None,
    })
}

fn returned(output: &ReturnType) -> Result<Returned> {
    let given = match output {
        ReturnType::Default => {
            return Ok(Returned {
                value: quote!(()),
                fallible: false,
            });
        }
        ReturnType::Type(_, given) => &**given,
    };
    let wrong = match given {
        Type::ImplTrait(_) => "a task's result has a type of its own, not `impl Trait`",
        Type::Reference(_) => "a task's result travels to another process: return it by value",
        Type::Never(_) => "a task ends some time; return a type, or `()`",
        _ => "",
    };
    if !wrong.is_empty() {
        return Err(Error::new(given.span(), wrong));
    }
    let last = match given {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    let Some(last) = last.filter(|last| last.ident == "Result") else {
        return Ok(Returned {
            value: quote!(#given),
            fallible: false,
        });
    };
    let value = match first_type(&last.arguments) {
        Some(value) => quote!(#value),
        None => quote!(<#given as ::argon::__private::Fallible>::Value),
    };
    Ok(Returned {
        value,
        fallible: true,
    })
}
