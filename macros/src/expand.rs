//! What becomes of a task's function:
//!
//! - a function of the same name, which makes a call of the task for clients;
//! - a type of the same name (functions and types have names of their own), which implements
//!   `argon::Task` and has the original as its function `local`;
//! - an entry in the list of all tasks of the program.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;

use crate::attributes::Attributes;
use crate::function::{Function, Parameter};

pub(crate) fn expand(attributes: &Attributes, function: &Function) -> TokenStream {
    let item = &function.item;
    let ident = &item.sig.ident;
    let visibility = &item.vis;
    let task = attributes
        .name
        .clone()
        .unwrap_or_else(|| ident.to_string().trim_start_matches("r#").to_owned());
    let conditions = function.conditions();
    let docs = function.docs();
    let caller = caller(attributes, function, &task);
    let type_doc = format!("The task `{task}`; [`{ident}::local`] runs it here.");

    let mut local = item.clone();
    local.sig.ident = format_ident!("local");
    local.vis = syn::parse_quote!(pub);
    local
        .attrs
        .retain(|attribute| !attribute.path().is_ident("doc"));
    let local_doc = "Runs the function here, in this process, as if it were no task.";

    let names = function.parameters.iter().map(|each| each.name.to_string());
    let names: Vec<_> = names.collect();
    let run = run(function, ident, &names);
    quote! {
        #caller

        #[doc = #type_doc]
        #(#conditions)*
        #[allow(non_camel_case_types, clippy::allow_attributes, dead_code)]
        #visibility enum #ident {}

        #(#conditions)*
        #[allow(dead_code, clippy::unused_async, clippy::allow_attributes)]
        impl #ident {
            #(#docs)*
            #[doc = ""]
            #[doc = #local_doc]
            #local
        }

        #(#conditions)*
        impl ::argon::Task for #ident {
            const DEFINITION: ::argon::Definition = ::argon::__private::definition(
                #task,
                &[#(#names),*],
                ::core::concat!(::core::file!(), ":", ::core::line!()),
                #run,
            );
        }

        #(#conditions)*
        ::argon::__private::inventory::submit! {
            <#ident as ::argon::Task>::DEFINITION
        }
    }
}

/// The function that makes a call.
fn caller(attributes: &Attributes, function: &Function, task: &str) -> TokenStream {
    let item = &function.item;
    let ident = &item.sig.ident;
    let visibility = &item.vis;
    let conditions = function.conditions();
    let docs = function.docs();
    let value = &function.returned.value;
    let names: Vec<&Ident> = function.parameters.iter().map(|each| &each.name).collect();
    let given = function.parameters.iter().map(|each| &each.given);
    let codec = attributes.codec.path();
    let call = match &function.parameters[..] {
        [] => quote!(::argon::__private::call(#task, #codec, &[(); 0])),
        [Parameter { name, bytes, .. }] if *bytes => {
            quote!(::argon::__private::call_with_bytes(#task, #name))
        }
        _ => quote!(::argon::__private::call(#task, #codec, &(#(#names,)*))),
    };
    let call_doc =
        format!("Makes a call of the task `{task}`; to run the function here, `{ident}::local`.");
    quote! {
        #(#docs)*
        #[doc = ""]
        #[doc = #call_doc]
        #(#conditions)*
        #[allow(
            dead_code,
            clippy::allow_attributes,
            clippy::needless_pass_by_value,
            clippy::too_many_arguments,
            clippy::trivially_copy_pass_by_ref
        )]
        #visibility fn #ident(#(#names: #given),*) -> ::argon::Call<#value> {
            #call
        }
    }
}

/// The function that takes arguments from a payload and puts the result into one.
fn run(function: &Function, ident: &Ident, names: &[String]) -> TokenStream {
    // Names of our own: those of the function may be anything.
    let arguments: Vec<Ident> = (0..function.parameters.len())
        .map(|index| format_ident!("argument{index}"))
        .collect();
    let owned = function.parameters.iter().map(|each| &each.owned);
    let (pattern, types) = if arguments.is_empty() {
        (quote!([]), quote!([(); 0]))
    } else {
        (quote!((#(#arguments,)*)), quote!((#(#owned,)*)))
    };
    let handed = function
        .parameters
        .iter()
        .zip(&arguments)
        .map(|(each, name)| {
            if each.by_reference {
                quote!(&#name)
            } else {
                quote!(#name)
            }
        });
    let mut value = quote!(<#ident>::local(#(#handed),*));
    if function.item.sig.asyncness.is_some() {
        value = quote!(::argon::__private::block_on(#value));
    }
    if function.returned.fallible {
        // Which of the traits has the method depends on whether the error can be serialised.
        value = quote!({
            use ::argon::__private::{OwnDetail as _, NoDetail as _};
            match #value {
                ::core::result::Result::Ok(value) => value,
                ::core::result::Result::Err(error) => {
                    let detail = (&::argon::__private::Own(&error)).detail(codec);
                    return ::core::result::Result::Err(::argon::__private::raised(error, detail));
                }
            }
        });
    }
    let ignored = &function.returned.value;
    quote! {
        |payload| {
            let (#pattern, codec) =
                ::argon::__private::arguments::<#types>(&payload, &[#(#names),*])?;
            let value: #ignored = #value;
            ::argon::__private::result(codec, value)
        }
    }
}
