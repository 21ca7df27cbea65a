//! Quick answers: the plain part of a condition, which is most of what people write, answered without the interpreter.
//!
//! Only what cannot fail is plain, and what is not known yet stays unknown, so that both ways give the same answer. A
//! hundred rules are asked in a few microseconds by this one, and in a hundred by the other.

use std::cmp::Ordering;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use super::known::Plain;
use super::pattern::{self, Pattern};
use super::variable::Variable;

/// A condition that is plain, over variables that are told apart by `V`.
#[derive(Clone, Debug)]
pub(super) enum Quick<V> {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Flag(V),
    Text(V, Test),
    Number(V, Order, i64),
}

/// What is asked of a text.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Is(String),
    IsIn(Vec<String>),
    Begins(String),
    Ends(String),
    Holds(String),
    Matches(Pattern),
}

/// Which orders of a number to another will do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order(&'static [Ordering]);

/// The plain part of a condition.
#[derive(Clone, Debug)]
pub(super) enum Part<V> {
    /// It is all of it.
    Whole(Quick<V>),
    /// The condition is false where this is.
    Needed(Quick<V>),
    /// There is none.
    Nothing,
}

impl Part<Variable> {
    /// The plain part of a checked condition; `variable` tells what a name of it stands for, and `pattern` likewise.
    pub(super) fn of(
        node: &IdedExpr,
        variable: &dyn Fn(&str) -> Option<Variable>,
        pattern: &dyn Fn(&str) -> Option<Pattern>,
    ) -> Self {
        let names = Names { variable, pattern };
        if let Some(whole) = names.quick(node) {
            return Self::Whole(whole);
        }
        let mut needed = Vec::new();
        sides(node, operators::LOGICAL_AND, &mut |side| needed.extend(names.quick(side)));
        if needed.is_empty() { Self::Nothing } else { Self::Needed(Quick::All(needed)) }
    }
}

impl<V> Part<V> {
    /// The same over other variables; nothing, if one of them is not there.
    pub(super) fn over<W>(&self, find: &dyn Fn(&V) -> Option<W>) -> Part<W> {
        match self {
            Self::Whole(quick) => quick.over(find).map_or(Part::Nothing, Part::Whole),
            Self::Needed(quick) => quick.over(find).map_or(Part::Nothing, Part::Needed),
            Self::Nothing => Part::Nothing,
        }
    }
}

/// What the names in a condition stand for.
struct Names<'a> {
    variable: &'a dyn Fn(&str) -> Option<Variable>,
    pattern: &'a dyn Fn(&str) -> Option<Pattern>,
}

impl Names<'_> {
    fn quick(&self, node: &IdedExpr) -> Option<Quick<Variable>> {
        match &node.expr {
            Expr::Ident(_) => self.variable(node).map(Quick::Flag),
            Expr::Call(call) => match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
                (operators::LOGICAL_AND, None, _) => self.each(node, operators::LOGICAL_AND).map(Quick::All),
                (operators::LOGICAL_OR, None, _) => self.each(node, operators::LOGICAL_OR).map(Quick::Any),
                (operators::LOGICAL_NOT, None, [one]) => Some(Quick::Not(Box::new(self.quick(one)?))),
                (operators::EQUALS, None, _) => self.compared(call, Order(&[Ordering::Equal])),
                (operators::NOT_EQUALS, None, _) => {
                    Some(Quick::Not(Box::new(self.compared(call, Order(&[Ordering::Equal]))?)))
                }
                (operators::LESS, None, _) => self.counted(call, Order(&[Ordering::Less])),
                (operators::LESS_EQUALS, None, _) => self.counted(call, Order(&[Ordering::Less, Ordering::Equal])),
                (operators::GREATER, None, _) => self.counted(call, Order(&[Ordering::Greater])),
                (operators::GREATER_EQUALS, None, _) => {
                    self.counted(call, Order(&[Ordering::Greater, Ordering::Equal]))
                }
                (operators::IN, None, [one, list]) => Some(Quick::Text(self.variable(one)?, Test::IsIn(texts(list)?))),
                (name, Some(before), [one]) => Some(Quick::Text(self.variable(before)?, self.test(name, one)?)),
                _ => None,
            },
            _ => None,
        }
    }

    fn each(&self, node: &IdedExpr, operator: &str) -> Option<Vec<Quick<Variable>>> {
        let mut each = Some(Vec::new());
        sides(node, operator, &mut |side| {
            each = each.take().zip(self.quick(side)).map(|(mut before, one)| {
                before.push(one);
                before
            });
        });
        each
    }

    fn variable(&self, node: &IdedExpr) -> Option<Variable> {
        if let Expr::Ident(name) = &node.expr { (self.variable)(name) } else { None }
    }

    fn compared(&self, call: &CallExpr, order: Order) -> Option<Quick<Variable>> {
        let [left, right] = call.args.as_slice() else { return None };
        let (variable, other) =
            self.variable(left).map(|it| (it, right)).or(self.variable(right).map(|it| (it, left)))?;
        match text(other) {
            Some(text) => Some(Quick::Text(variable, Test::Is(text))),
            None => Some(Quick::Number(variable, order, number(other)?)),
        }
    }

    fn counted(&self, call: &CallExpr, order: Order) -> Option<Quick<Variable>> {
        let [left, right] = call.args.as_slice() else { return None };
        Some(Quick::Number(self.variable(left)?, order, number(right)?))
    }

    fn test(&self, function: &str, argument: &IdedExpr) -> Option<Test> {
        match function {
            "startsWith" => text(argument).map(Test::Begins),
            "endsWith" => text(argument).map(Test::Ends),
            "contains" => text(argument).map(Test::Holds),
            pattern::FUNCTION => match &argument.expr {
                Expr::Ident(name) => (self.pattern)(name).map(Test::Matches),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Everything between operators of one kind.
fn sides<'a>(node: &'a IdedExpr, operator: &str, each: &mut dyn FnMut(&'a IdedExpr)) {
    match &node.expr {
        Expr::Call(call) if call.func_name == operator && call.target.is_none() => {
            call.args.iter().for_each(|side| sides(side, operator, each));
        }
        _ => each(node),
    }
}

fn text(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

fn texts(node: &IdedExpr) -> Option<Vec<String>> {
    if let Expr::List(list) = &node.expr { list.elements.iter().map(text).collect() } else { None }
}

fn number(node: &IdedExpr) -> Option<i64> {
    match &node.expr {
        Expr::Literal(LiteralValue::Int(number)) => Some(*number.inner()),
        _ => None,
    }
}

impl<V> Quick<V> {
    fn over<W>(&self, find: &dyn Fn(&V) -> Option<W>) -> Option<Quick<W>> {
        let each = |parts: &Vec<Self>| parts.iter().map(|part| part.over(find)).collect::<Option<Vec<_>>>();
        Some(match self {
            Self::All(parts) => Quick::All(each(parts)?),
            Self::Any(parts) => Quick::Any(each(parts)?),
            Self::Not(part) => Quick::Not(Box::new(part.over(find)?)),
            Self::Flag(variable) => Quick::Flag(find(variable)?),
            Self::Text(variable, test) => Quick::Text(find(variable)?, test.clone()),
            Self::Number(variable, order, other) => Quick::Number(find(variable)?, *order, *other),
        })
    }
}

impl Quick<usize> {
    /// Whether it holds; `None` where that is not known.
    pub(super) fn holds(&self, plain: &[Option<Plain<'_>>]) -> Option<bool> {
        let value = |variable: &usize| plain.get(*variable).and_then(Option::as_ref);
        match self {
            Self::All(parts) => all(parts.iter().map(|part| part.holds(plain)), false),
            Self::Any(parts) => all(parts.iter().map(|part| part.holds(plain)), true),
            Self::Not(part) => part.holds(plain).map(|holds| !holds),
            Self::Flag(variable) => match value(variable)? {
                Plain::Flag(flag) => Some(*flag),
                _ => None,
            },
            Self::Text(variable, test) => match value(variable)? {
                Plain::Text(text) => Some(test.passes(text)),
                _ => None,
            },
            Self::Number(variable, Order(orders), other) => match value(variable)? {
                Plain::Number(number) => Some(orders.contains(&number.cmp(other))),
                _ => None,
            },
        }
    }
}

/// `decisive` if one is, whatever else is not known.
fn all(parts: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut answer = Some(!decisive);
    for part in parts {
        match part {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

impl Test {
    fn passes(&self, text: &str) -> bool {
        match self {
            Self::Is(other) => text == other,
            Self::IsIn(others) => others.iter().any(|other| text == other),
            Self::Begins(with) => text.starts_with(with.as_str()),
            Self::Ends(with) => text.ends_with(with.as_str()),
            Self::Holds(part) => text.contains(part.as_str()),
            Self::Matches(pattern) => pattern.is_match(text),
        }
    }
}
