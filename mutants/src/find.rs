//! Notes every mutant that a source file can hold; `walk.rs` goes over the file.
//!
//! Each mutant is one decision taken otherwise. What another mutant of the same place already
//! covers is left out: conditions are made true and false instead of being negated, and the
//! operands of `&&` and `||` are each made constant instead of swapping the operator.
//!
//! Left alone: constants and patterns (they cannot ask anything at run time), macros, tests,
//! checks of invariants, and text for people.

use std::collections::HashSet;
use std::ops::Range;

use syn::visit::Visit as _;
use syn::{BinOp, Block, Expr, Lit, Pat, ReturnType, Stmt, Type, UnOp};

use crate::edit::{Alternative, Edit, Form, Piece, Source};
use crate::operators;

/// One change to one place.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Number within the mutated binary.
    pub id: u32,
    /// Path below `core/src`.
    pub file: String,
    pub line: usize,
    /// `Type::function`.
    pub function: String,
    /// What is done.
    pub operator: String,
    /// To what.
    pub code: String,
    /// Tells apart what is equal otherwise, from 1.
    pub nth: u32,
}

impl Mutant {
    /// Names the mutant for as long as its function and its code stay the same.
    pub fn key(&self) -> String {
        let Self {
            file,
            function,
            operator,
            code,
            ..
        } = self;
        let nth = match self.nth {
            1 => String::new(),
            nth => format!(" #{nth}"),
        };
        format!("{file} | {function} | {operator} | {code}{nth}")
    }
}

/// All mutants of a file, numbered from `first`.
pub fn find(file: &str, text: &str, first: u32) -> syn::Result<(Source, Vec<Mutant>)> {
    let tree = syn::parse_file(text)?;
    let mut finder = Finder {
        file,
        text,
        next: first,
        path: Vec::new(),
        edits: Vec::new(),
        mutants: Vec::new(),
        unit: HashSet::new(),
        settled: HashSet::new(),
    };
    finder.visit_file(&tree);
    let Finder { edits, mutants, .. } = finder;
    let text = text.to_owned();
    Ok((Source { text, edits }, mutants))
}

pub struct Finder<'a> {
    file: &'a str,
    pub text: &'a str,
    next: u32,
    pub path: Vec<String>,
    edits: Vec<Edit>,
    mutants: Vec<Mutant>,
    /// Expressions whose value is `()`, so that they can be left out.
    unit: HashSet<Range<usize>>,
    /// Conditions that have been made constant and need not be negated.
    pub settled: HashSet<Range<usize>>,
}

pub fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

pub fn range(node: &impl syn::spanned::Spanned) -> Range<usize> {
    node.span().byte_range()
}

pub fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test") || path.is_ident("cfg")
    })
}

/// A `&&` chain with a pattern in it.
fn has_let(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => {
            has_let(&binary.left) || has_let(&binary.right)
        }
        _ => false,
    }
}

impl Finder<'_> {
    fn mutant(&mut self, place: Range<usize>, operator: &str) -> u32 {
        let words: Vec<&str> = self.text[place.clone()].split_whitespace().collect();
        let mut code = words.join(" ");
        if code.chars().count() > 90 {
            code = code.chars().take(88).chain("..".chars()).collect();
        }
        let id = self.next;
        self.next += 1;
        let mut mutant = Mutant {
            id,
            file: self.file.to_owned(),
            line: 1 + self.text[..place.start].matches('\n').count(),
            function: self.path.join("::"),
            operator: operator.to_owned(),
            code,
            nth: 1,
        };
        let key = mutant.key();
        let equal = |other: &&Mutant| {
            Mutant {
                nth: 1,
                ..(*other).clone()
            }
            .key()
                == key
        };
        mutant.nth += self.mutants.iter().filter(equal).count() as u32;
        self.mutants.push(mutant);
        id
    }

    pub fn wrap(&mut self, place: Range<usize>, operator: &str, before: &str, after: &str) {
        let id = self.mutant(place.clone(), operator);
        let before = before.replace("ID", &id.to_string());
        let pieces = vec![text(before), Piece::Source(place.clone()), text(after)];
        let form = Form::Wrap(Alternative { id, pieces });
        self.edits.push(Edit { range: place, form });
    }

    /// The code or one of some others, all in parentheses.
    pub fn choose(
        &mut self,
        place: Range<usize>,
        before: Vec<Piece>,
        others: Vec<(String, Vec<Piece>)>,
        original: Vec<Piece>,
        after: &str,
    ) {
        let alternatives = others
            .into_iter()
            .map(|(operator, pieces)| Alternative {
                id: self.mutant(place.clone(), &operator),
                pieces,
            })
            .collect();
        let form = Form::Choose {
            before,
            alternatives,
            original,
            after: vec![text(after)],
        };
        self.edits.push(Edit { range: place, form });
    }

    /// A condition: made true, made false, or only its operands, as is of use there.
    pub fn condition(&mut self, condition: &Expr, make_true: bool, make_false: bool) {
        let place = range(condition);
        match condition {
            Expr::Paren(inner) => return self.condition(&inner.expr, make_true, make_false),
            Expr::Let(_) => {
                if make_false {
                    let before = "!crate::mutant::on(ID) && ";
                    self.wrap(place, "never matches", before, "");
                }
                return;
            }
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => {
                self.settled.insert(place.clone());
                if has_let(condition) {
                    let on_left = has_let(&binary.left);
                    self.condition(&binary.left, !on_left || make_true, make_false && on_left);
                    return self.condition(&binary.right, true, make_false && !on_left);
                }
                if make_false {
                    self.wrap(place, "made false", "crate::mutant::no(ID, ", ")");
                }
                self.condition(&binary.left, true, false);
                return self.condition(&binary.right, true, false);
            }
            Expr::Binary(binary) if matches!(binary.op, BinOp::Or(_)) => {
                self.settled.insert(place.clone());
                if make_true {
                    self.wrap(place, "made true", "crate::mutant::yes(ID, ", ")");
                }
                self.condition(&binary.left, false, true);
                return self.condition(&binary.right, false, true);
            }
            _ => {}
        }
        self.settled.insert(place.clone());
        if make_true {
            self.wrap(place.clone(), "made true", "crate::mutant::yes(ID, ", ")");
        }
        if make_false {
            self.wrap(place, "made false", "crate::mutant::no(ID, ", ")");
        }
        if let Expr::Unary(unary) = condition
            && matches!(unary.op, UnOp::Not(_))
        {
            self.settled.insert(range(&unary.expr));
            if let Expr::Paren(_) = &*unary.expr {
                self.condition(&unary.expr, false, false);
            }
        }
    }

    pub fn binary(&mut self, binary: &syn::ExprBinary) {
        let place = range(binary);
        let (left, right) = (range(&binary.left), range(&binary.right));
        let sign = self.text[range(&binary.op)].to_owned();
        let settled = self.settled.contains(&place);
        if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) {
            if !settled {
                let is_or = matches!(binary.op, BinOp::Or(_));
                let whole = Expr::Binary(binary.clone());
                self.condition(&whole, is_or, !is_or);
            }
            return;
        }
        let others = |signs: &[&str], left: &str, right: &str| -> Vec<(String, Vec<Piece>)> {
            let one = |other: &&str| {
                let code = vec![text(format!("{left} {other} {right}"))];
                (format!("`{sign}` to `{other}`"), code)
            };
            signs.iter().map(one).collect()
        };
        if let Some((boundary, negation)) = operators::comparison(&sign) {
            let mut signs: Vec<&str> = boundary.into_iter().collect();
            if !settled {
                signs.push(negation);
            }
            if signs.is_empty() {
                return;
            }
            let before = vec![
                text("(match (&("),
                Piece::Source(left),
                text("), &("),
                Piece::Source(right),
                text(")) { (__l, __r) => "),
            ];
            let original = vec![text(format!("*__l {sign} *__r"))];
            let others = others(&signs, "*__l", "*__r");
            self.choose(place, before, others, original, " })");
        } else if let Some(other) = operators::arithmetic(&sign) {
            let before = vec![
                text("(match ("),
                Piece::Source(left),
                text(", "),
                Piece::Source(right),
                text(") { (__l, __r) => "),
            ];
            let original = vec![text(format!("__l {sign} __r"))];
            let others = others(&[other], "__l", "__r");
            self.choose(place, before, others, original, " })");
        } else if let Some(other) = sign.strip_suffix('=').and_then(operators::arithmetic) {
            let before = vec![text("{ let __r = "), Piece::Source(right), text("; ")];
            let original = vec![Piece::Source(left.clone()), text(format!(" {sign} __r"))];
            let mutated = vec![Piece::Source(left), text(format!(" {other}= __r"))];
            let others = vec![(format!("`{sign}` to `{other}=`"), mutated)];
            self.choose(place, before, others, original, " }");
        }
    }

    pub fn method(&mut self, call: &syn::ExprMethodCall) {
        let place = range(call);
        let name = call.method.to_string();
        let receiver = range(&call.receiver);
        let operator = |other: &str| format!("`{name}` to `{other}`");
        if call.args.len() == 1
            && let Some(other) = operators::by_value(&name)
        {
            let before = vec![
                text("(match ("),
                Piece::Source(receiver),
                text(", "),
                Piece::Source(range(&call.args)),
                text(") { (__l, __r) => "),
            ];
            let original = vec![text(format!("__l.{name}(__r)"))];
            let others = vec![(operator(other), vec![text(format!("__l.{other}(__r)"))])];
            self.choose(place, before, others, original, " })");
        } else if let Some(other) = operators::in_place(&name) {
            let rest = range(&call.method).end..place.end;
            let mutated = vec![
                Piece::Source(receiver),
                text(format!(".{other}")),
                Piece::Source(rest),
            ];
            let others = vec![(operator(other), mutated)];
            let original = vec![Piece::Source(place.clone())];
            self.choose(place, vec![text("(")], others, original, ")");
        } else if name == "cmp" {
            self.wrap(place, "turned round", "crate::mutant::order(ID, ", ")");
        } else if operators::is_truth(&name) && !self.settled.contains(&place) {
            self.wrap(place, "negated", "crate::mutant::flip(ID, ", ")");
        }
    }

    pub fn literal(&mut self, literal: &syn::ExprLit) {
        let place = range(literal);
        match &literal.lit {
            Lit::Bool(_) => self.wrap(place, "negated", "crate::mutant::flip(ID, ", ")"),
            Lit::Int(number) => {
                let Ok(value) = number.base10_parse::<u128>() else {
                    return;
                };
                let others: &[u128] = match value {
                    0 => &[1],
                    1 => &[0, 2],
                    _ => &[value + 1],
                };
                let suffix = number.suffix();
                let one = |other: &u128| {
                    let code = vec![text(format!("{other}{suffix}"))];
                    (format!("to {other}"), code)
                };
                let others = others.iter().map(one).collect();
                let original = vec![Piece::Source(place.clone())];
                self.choose(place, vec![text("(")], others, original, ")");
            }
            _ => {}
        }
    }

    /// Notes that the value of a block is `()`.
    pub fn unit_block(&mut self, block: &Block) {
        if let Some(Stmt::Expr(last, None)) = block.stmts.last() {
            self.unit(last);
        }
    }

    pub fn unit(&mut self, expression: &Expr) {
        self.unit.insert(range(expression));
        match expression {
            Expr::If(branch) => {
                self.unit_block(&branch.then_branch);
                if let Some((_, other)) = &branch.else_branch {
                    self.unit(other);
                }
            }
            Expr::Match(choice) => {
                for arm in &choice.arms {
                    self.unit(&arm.body);
                }
            }
            Expr::Block(block) => self.unit_block(&block.block),
            _ => {}
        }
    }

    /// Leaves out what is done only for its effect.
    pub fn leave_out(&mut self, expression: &Expr) {
        let place = range(expression);
        let has_effect = match expression {
            Expr::MethodCall(_) | Expr::Call(_) | Expr::Assign(_) | Expr::Try(_) => true,
            Expr::Return(_) | Expr::Break(_) | Expr::Continue(_) | Expr::ForLoop(_) => true,
            Expr::Binary(binary) => self.text[range(&binary.op)].ends_with('='),
            _ => false,
        };
        if has_effect && self.unit.contains(&place) {
            let original = vec![Piece::Source(place.clone()), text(";")];
            let others = vec![("left out".to_owned(), vec![])];
            self.choose(place, vec![], others, original, "");
        }
    }

    fn body(&mut self, signature: &syn::Signature, block: &Block) {
        let start = range(&block.brace_token.span.open()).end;
        if matches!(signature.output, ReturnType::Default) {
            self.unit_block(block);
        }
        let values = match &signature.output {
            ReturnType::Default => vec![""],
            ReturnType::Type(_, returned) => match &**returned {
                Type::Path(path) => path
                    .path
                    .segments
                    .last()
                    .map(|last| operators::values(&last.ident.to_string()))
                    .unwrap_or_default(),
                _ => vec![],
            },
        };
        if values.is_empty() || block.stmts.is_empty() {
            return;
        }
        // The key shows the name, the code goes to the beginning of the body.
        let name = range(&signature.ident);
        let one = |value: &&str| {
            let operator = match *value {
                "" => "does nothing".to_owned(),
                value => format!("returns {value}"),
            };
            let id = self.mutant(name.clone(), &operator);
            let pieces = vec![text(format!("return {value};"))];
            Alternative { id, pieces }
        };
        let form = Form::Choose {
            before: vec![text(" ")],
            alternatives: values.iter().map(one).collect(),
            original: vec![],
            after: vec![],
        };
        let range = start..start;
        self.edits.push(Edit { range, form });
    }

    pub fn function(
        &mut self,
        attributes: &[syn::Attribute],
        signature: &syn::Signature,
        block: &Block,
    ) {
        let name = signature.ident.to_string();
        if is_test_only(attributes)
            || signature.constness.is_some()
            || name == "check"
            || name == "check_invariants"
        {
            return;
        }
        self.path.push(name);
        self.body(signature, block);
        self.visit_block(block);
        self.path.pop();
    }

    pub fn arms(&mut self, choice: &syn::ExprMatch) {
        let Some(last) = choice.arms.last() else {
            return;
        };
        let any = matches!(last.pat, Pat::Wild(_)) && last.guard.is_none();
        let words =
            |place: Range<usize>| -> String { self.text[place].split_whitespace().collect() };
        let otherwise = words(range(&last.body));
        let before_last = &choice.arms[..choice.arms.len() - 1];
        let mut skipped = Vec::new();
        for arm in before_last {
            if any && arm.guard.is_none() && words(range(&arm.body)) != otherwise {
                skipped.push(range(&arm.pat));
            }
        }
        for pattern in skipped {
            let id = self.mutant(pattern.clone(), "arm left out");
            let pieces = vec![text(format!(" if !crate::mutant::on({id})"))];
            let form = Form::Wrap(Alternative { id, pieces });
            let range = pattern.end..pattern.end;
            self.edits.push(Edit { range, form });
        }
    }
}
