//! The walk over a file: which places are looked at, and in which order.

use syn::visit::{self, Visit};
use syn::{Block, Expr, Pat, Stmt, Type, UnOp};

use crate::edit::Piece;
use crate::find::{Finder, is_test_only, range, text};

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_path(&mut self, _: &'ast syn::Path) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_angle_bracketed_generic_arguments(
        &mut self,
        _: &'ast syn::AngleBracketedGenericArguments,
    ) {
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let of = block
            .trait_
            .as_ref()
            .and_then(|(_, path, _)| path.segments.last());
        let for_people =
            of.is_some_and(|of| ["Debug", "Display"].contains(&&*of.ident.to_string()));
        if for_people || is_test_only(&block.attrs) {
            return;
        }
        let name = match &*block.self_ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.path.push(name.unwrap_or_default());
        visit::visit_item_impl(self, block);
        self.path.pop();
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.attrs, &function.sig, &function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.attrs, &function.sig, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.attrs, &function.sig, block);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        for (index, statement) in block.stmts.iter().enumerate() {
            let is_last = index + 1 == block.stmts.len();
            if let Stmt::Expr(expression, semicolon) = statement
                && (semicolon.is_some() || !is_last)
            {
                self.unit(expression);
            }
            self.visit_stmt(statement);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let Some(init) = &local.init else {
            return;
        };
        self.visit_expr(&init.expr);
        if let Some((_, otherwise)) = &init.diverge {
            // Its last statement leaves, and has to.
            match &**otherwise {
                Expr::Block(block) => visit::visit_block(self, &block.block),
                other => self.visit_expr(other),
            }
        }
    }

    fn visit_expr_for_loop(&mut self, each: &'ast syn::ExprForLoop) {
        self.unit_block(&each.body);
        visit::visit_expr_for_loop(self, each);
    }

    fn visit_expr_loop(&mut self, each: &'ast syn::ExprLoop) {
        self.unit_block(&each.body);
        visit::visit_expr_loop(self, each);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        self.leave_out(expression);
        match expression {
            Expr::Binary(binary) => self.binary(binary),
            Expr::MethodCall(call) => self.method(call),
            Expr::Lit(literal) => self.literal(literal),
            Expr::If(branch) => self.condition(&branch.cond, true, true),
            Expr::While(each) => {
                // Made true, it would only go on for ever.
                self.condition(&each.cond, false, true);
                self.unit_block(&each.body);
            }
            Expr::Match(choice) => {
                for arm in &choice.arms {
                    if let Some((_, guard)) = &arm.guard {
                        self.condition(guard, true, true);
                    }
                }
                self.arms(choice);
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                let place = range(unary);
                if !self.settled.contains(&place) {
                    let bare = vec![Piece::Source(range(&unary.expr))];
                    let others = vec![("`!` left out".to_owned(), bare)];
                    let original = vec![text("!"), Piece::Source(range(&unary.expr))];
                    self.choose(place, vec![text("(")], others, original, ")");
                }
            }
            Expr::Call(call) => {
                let place = range(call);
                if &self.text[range(&call.func)] == "Some" {
                    let others = vec![("to `None`".to_owned(), vec![text("None")])];
                    let original = vec![Piece::Source(place.clone())];
                    self.choose(place, vec![text("(")], others, original, ")");
                }
            }
            _ => {}
        }
        visit::visit_expr(self, expression);
    }
}
