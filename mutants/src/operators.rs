//! What stands for what.

/// What a comparison becomes at its boundary, if it has one, and its opposite.
pub fn comparison(sign: &str) -> Option<(Option<&'static str>, &'static str)> {
    Some(match sign {
        "<" => (Some("<="), ">="),
        "<=" => (Some("<"), ">"),
        ">" => (Some(">="), "<="),
        ">=" => (Some(">"), "<"),
        "==" => (None, "!="),
        "!=" => (None, "=="),
        _ => return None,
    })
}

pub fn arithmetic(sign: &str) -> Option<&'static str> {
    Some(match sign {
        "+" => "-",
        "-" => "+",
        "*" => "/",
        "/" | "%" => "*",
        "<<" => ">>",
        ">>" => "<<",
        "&" => "|",
        "|" | "^" => "&",
        _ => return None,
    })
}

/// Methods of two values.
pub fn by_value(name: &str) -> Option<&'static str> {
    Some(match name {
        "min" => "max",
        "max" => "min",
        "saturating_add" => "saturating_sub",
        "saturating_sub" => "saturating_add",
        "saturating_mul" => "saturating_add",
        "wrapping_add" => "wrapping_sub",
        "wrapping_sub" => "wrapping_add",
        "checked_add" => "checked_sub",
        "checked_sub" => "checked_add",
        "div_ceil" => "saturating_div",
        _ => return None,
    })
}

/// Methods of collections and iterators.
pub fn in_place(name: &str) -> Option<&'static str> {
    Some(match name {
        "any" => "all",
        "all" => "any",
        "min_by_key" => "max_by_key",
        "max_by_key" => "min_by_key",
        "first" => "last",
        "last" => "first",
        "front" => "back",
        "back" => "front",
        "pop_first" => "pop_last",
        "pop_last" => "pop_first",
        "pop_front" => "pop_back",
        "pop_back" => "pop_front",
        "push_front" => "push_back",
        "push_back" => "push_front",
        "first_key_value" => "last_key_value",
        "last_key_value" => "first_key_value",
        "is_none_or" => "is_some_and",
        "is_some_and" => "is_none_or",
        _ => return None,
    })
}

/// Methods that say yes or no.
pub fn is_truth(name: &str) -> bool {
    name.starts_with("is_")
        || name.starts_with("has_")
        || matches!(
            name,
            "contains" | "contains_key" | "starts_with" | "eq" | "ne"
        )
}

/// What a function of this type could return without looking.
pub fn values(returned: &str) -> Vec<&'static str> {
    match returned {
        "bool" => vec!["true", "false"],
        "Option" => vec!["None"],
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => vec!["0", "1"],
        "Self" | "Result" | "String" => vec![],
        _ => vec!["Default::default()"],
    }
}
