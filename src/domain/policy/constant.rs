//! Constants: the parts of a condition that are the same for every call, but for the time.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};

/// Tries each call whose arguments stand in the condition itself, the innermost first: `fails` tells whether one does. Says
/// whether any did, around which nothing is tried.
pub(super) fn any_fails(node: &IdedExpr, fails: &mut dyn FnMut(&IdedExpr) -> bool) -> bool {
    let mut inside = false;
    for part in parts(node) {
        inside |= any_fails(part, fails);
    }
    inside || (matches!(node.expr, Expr::Call(_)) && is_constant(node) && fails(node))
}

fn is_constant(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(_) => true,
        Expr::Ident(name) => name == "now",
        Expr::Call(_) | Expr::List(_) | Expr::Map(_) => parts(node).into_iter().all(is_constant),
        _ => false,
    }
}

fn parts(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(field) => vec![&field.value],
            })
            .collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Comprehension(it) => vec![&it.iter_range, &it.loop_step, &it.result],
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}
