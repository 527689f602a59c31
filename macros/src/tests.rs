//! What cannot be a task is refused with a reason.

use proc_macro2::TokenStream;
use quote::quote;

use crate::task_of;

fn refused(attributes: TokenStream, item: TokenStream) -> String {
    match task_of(attributes, item) {
        Ok(tokens) => panic!("taken: {tokens}"),
        Err(error) => error.to_string(),
    }
}

fn refused_item(item: TokenStream) -> String {
    refused(quote!(), item)
}

#[test]
fn settings_that_do_not_exist_are_refused_with_those_that_do() {
    let function = quote!(
        fn f() {}
    );
    let text = refused(quote!(priority = 1), function.clone());
    assert!(text.contains("`name = ") && text.contains("`codec = "));
    let text = refused(quote!(codec = "xml"), function.clone());
    assert!(text.contains("\"json\"") && text.contains("\"bincode\""));
    assert!(refused(quote!(name = "a", name = "b"), function.clone()).contains("twice"));
    assert!(refused(quote!(name = 1), function).contains("string"));
}

#[test]
fn names_are_checked_where_they_are_written() {
    let long = "x".repeat(256);
    for (name, reason) in [
        ("", "at least one"),
        (&long[..], "255"),
        ("a\nb", "control"),
        ("perl:*", "`*`"),
    ] {
        let text = refused(
            quote!(name = #name),
            quote!(
                fn f() {}
            ),
        );
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn functions_that_cannot_travel_are_refused_with_a_way_out() {
    for (item, reason) in [
        (
            quote!(
                fn f(&self) {}
            ),
            "plain function",
        ),
        (
            quote!(
                fn f<T>(x: T) {}
            ),
            "generic",
        ),
        (
            quote!(
                fn f<'a>(x: &'a str) {}
            ),
            "generic",
        ),
        (
            quote!(
                fn f(x: &mut u8) {}
            ),
            "return the new one",
        ),
        (
            quote!(
                fn f(x: &'static str) {}
            ),
            "without a lifetime",
        ),
        (
            quote!(
                fn f(x: impl Into<u8>) {}
            ),
            "impl Trait",
        ),
        (
            quote!(
                fn f() -> impl Copy {}
            ),
            "impl Trait",
        ),
        (
            quote!(
                fn f() -> &'static str {}
            ),
            "by value",
        ),
        (
            quote!(
                fn f() -> ! {}
            ),
            "ends some time",
        ),
        (
            quote!(
                unsafe fn f() {}
            ),
            "unsafe",
        ),
        (
            quote!(
                const fn f() {}
            ),
            "const",
        ),
        (
            quote!(
                extern "C" fn f() {}
            ),
            "extern",
        ),
        (
            quote!(
                struct F;
            ),
            "on a `fn`",
        ),
        (quote!(impl F { fn f() {} }), "on a `fn`"),
    ] {
        let text = refused_item(item);
        assert!(text.contains(reason), "{text}");
    }
    let many = (0..17).map(|index| quote::format_ident!("a{index}"));
    let text = refused_item(quote!(fn f(#(#many: u8),*) {}));
    assert!(text.contains("struct"), "{text}");
}

#[test]
fn functions_that_can_are_taken() {
    for item in [
        quote!(
            fn f() {}
        ),
        quote!(
            pub async fn f(x: i64, mut y: &str) -> Result<i64, E> {
                y
            }
        ),
        quote!(
            pub(crate) fn f((a, b): (u8, u8), data: &[u8]) -> io::Result<Vec<u8>> {}
        ),
        quote!(
            fn f(x: &Config) -> fmt::Result {}
        ),
    ] {
        let text = task_of(quote!(name = "n", codec = "bincode"), item)
            .unwrap()
            .to_string();
        assert!(
            text.contains("\"n\"") && text.contains("fn local"),
            "{text}"
        );
    }
}
