//! The attribute that makes a function a task. It is documented where it is used: `argon::task`.

mod attributes;
mod expand;
mod function;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes a function a task; see the documentation of the `argon` crate, which re-exports this.
#[proc_macro_attribute]
pub fn task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    task_of(attributes.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// The same on tokens that live outside the compiler too.
fn task_of(
    attributes: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> syn::Result<proc_macro2::TokenStream> {
    let item = function::parse(item)?;
    let attributes = attributes::Attributes::parse(attributes)?;
    function::Function::new(item).map(|function| expand::expand(&attributes, &function))
}
