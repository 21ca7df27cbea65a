//! The check of a condition: every name, call and kind in it is known before any call comes.
//!
//! What the condition asks of a call is noted meanwhile, and written as one word each, so that the interpreter finds it in
//! one step.

use std::collections::{BTreeMap, BTreeSet};

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, SelectExpr, SourceInfo, operators,
};
use cel::{IdedExpr, common::types::CelString};

use super::function;
use super::kind::Kind;
use super::operator;
use super::pattern::{self, Pattern};
use super::variable::Variable;
use super::{Mistake, place};

/// The names of types, which conditions compare with `type(x)`.
const TYPES: [&str; 12] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "timestamp", "duration"];

/// What a condition asks for, and what is wrong with it.
#[derive(Default)]
pub(super) struct Check<'a> {
    source: Option<&'a SourceInfo>,
    /// Names that the condition itself gives to items of lists.
    scope: Vec<(String, Kind)>,
    pub(super) reads: BTreeSet<Variable>,
    pub(super) patterns: BTreeMap<String, Pattern>,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Check<'a> {
    pub(super) fn of(source: &'a SourceInfo) -> Self {
        Self { source: Some(source), ..Self::default() }
    }

    /// Checks a whole condition, which is true or false.
    pub(super) fn condition(&mut self, node: &mut IdedExpr) {
        let at = self.place(node.id);
        let kind = self.node(node);
        if !kind.fits(Kind::Bool) {
            self.wrong(at, format!("expected a condition that is true or false; this is {}", kind.one()));
        }
    }

    fn place(&self, id: u64) -> usize {
        self.source.map_or(0, |source| place(source, id))
    }

    fn wrong(&mut self, at: usize, problem: String) -> Kind {
        self.mistakes.push(Mistake { at, problem });
        Kind::Any
    }

    fn node(&mut self, node: &mut IdedExpr) -> Kind {
        let at = self.place(node.id);
        let (expr, kind) = match std::mem::take(&mut node.expr) {
            Expr::Literal(literal) => {
                let kind = Kind::of_literal(&literal);
                (Expr::Literal(literal), kind)
            }
            Expr::Ident(name) => self.ident(name, at),
            Expr::Select(select) => self.select(select, at),
            Expr::Call(call) => self.call(call, at),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(*comprehension),
            other @ (Expr::Struct(_) | Expr::Unspecified) => {
                (other, self.wrong(at, "this is nothing that a condition can hold".to_owned()))
            }
        };
        node.expr = expr;
        kind
    }

    /// The kind of a name that the condition gave itself.
    fn local(&self, name: &str) -> Option<Kind> {
        self.scope.iter().rev().find(|(local, _)| local == name).map(|(_, kind)| *kind)
    }

    fn ident(&mut self, name: String, at: usize) -> (Expr, Kind) {
        if let Some(kind) = self.local(&name) {
            return (Expr::Ident(name), kind);
        }
        let kind = if TYPES.contains(&name.as_str()) {
            Kind::Type
        } else if name == "request" {
            self.wrong(at, format!("request is read by its members: {}", Variable::members()))
        } else {
            match Variable::named(&name) {
                Ok(variable) => return self.variable(variable),
                Err(problem) => self.wrong(at, problem),
            }
        };
        (Expr::Ident(name), kind)
    }

    /// Notes that a variable is asked for.
    fn variable(&mut self, variable: Variable) -> (Expr, Kind) {
        let (key, kind) = (variable.key(), variable.kind());
        self.reads.insert(variable);
        (Expr::Ident(key), kind)
    }

    /// Whether this is one of our variables by its bare name.
    fn is(&self, node: &IdedExpr, name: &str) -> bool {
        matches!(&node.expr, Expr::Ident(ident) if ident == name) && self.local(name).is_none()
    }

    fn select(&mut self, mut select: SelectExpr, at: usize) -> (Expr, Kind) {
        if self.is(&select.operand, "request") {
            return match Variable::of_request(&select.field) {
                Ok(_) if select.test => {
                    let problem = "members of request are always there: compare with \"\", 0 or false".to_owned();
                    (Expr::Select(select), self.wrong(at, problem))
                }
                Ok(variable) => self.variable(variable),
                Err(problem) => (Expr::Select(select), self.wrong(at, problem)),
            };
        }
        if self.is(&select.operand, "headers") {
            return if select.test { self.has_header(select) } else { self.header(select.field, at) };
        }
        let kind = match self.node(&mut select.operand) {
            Kind::Any | Kind::Map(_) if select.test => Kind::Bool,
            Kind::Map(value) => *value,
            Kind::Any => Kind::Any,
            other => self.wrong(at, format!("{} has no member {}", other.one(), select.field)),
        };
        (Expr::Select(select), kind)
    }

    fn header(&mut self, name: String, at: usize) -> (Expr, Kind) {
        let lower = name.to_ascii_lowercase();
        if name != lower {
            self.wrong(at, format!("names of headers are in lower case here: headers[\"{lower}\"]"));
        }
        self.variable(Variable::Header(lower))
    }

    /// `has(headers.x)`, which a map whose missing entries read as empty cannot answer by reading.
    fn has_header(&mut self, select: SelectExpr) -> (Expr, Kind) {
        let SelectExpr { operand, field, .. } = select;
        self.reads.insert(Variable::Headers);
        let name = IdedExpr { id: operand.id, expr: Expr::Literal(LiteralValue::String(CelString::from(field))) };
        let call = CallExpr { func_name: operators::IN.to_owned(), target: None, args: vec![name, *operand] };
        (Expr::Call(call), Kind::Bool)
    }

    fn call(&mut self, mut call: CallExpr, at: usize) -> (Expr, Kind) {
        if call.func_name == operators::INDEX
            && let [container, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] = call.args.as_slice()
        {
            let name = name.inner().to_owned();
            if self.is(container, "headers") {
                return self.header(name, at);
            }
            if self.is(container, "request") {
                return match Variable::of_request(&name) {
                    Ok(variable) => self.variable(variable),
                    Err(problem) => (Expr::Call(call), self.wrong(at, problem)),
                };
            }
        }
        if call.func_name == pattern::FUNCTION {
            return self.matching(call, at);
        }
        let mut kinds = Vec::new();
        for argument in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            kinds.push(self.node(argument));
        }
        let kind = match operator::given(&call.func_name, &kinds) {
            Some(Ok(kind)) => kind,
            Some(Err(problem)) => self.wrong(at, problem),
            None => function::called(&call.func_name, call.target.is_some(), &kinds)
                .unwrap_or_else(|problem| self.wrong(at, problem)),
        };
        (Expr::Call(call), kind)
    }

    /// `text.matches("pattern")`: the pattern is made ready now, not for every call.
    fn matching(&mut self, mut call: CallExpr, at: usize) -> (Expr, Kind) {
        let mut text = call.target.take().map(|target| *target);
        let mut rest = call.args.into_iter();
        let text = text.take().or_else(|| rest.next());
        let (Some(mut text), Some(IdedExpr { id, expr: Expr::Literal(LiteralValue::String(given)) }), None) =
            (text, rest.next(), rest.next())
        else {
            let problem = "expected text.matches(\"pattern\") with the pattern in quotes".to_owned();
            return (Expr::default(), self.wrong(at, problem));
        };
        let kind = self.node(&mut text);
        if !kind.fits(Kind::Text) {
            self.wrong(at, format!("expected string.matches(string); found {}.matches(string)", kind.as_str()));
        }
        let key = pattern::key(given.inner());
        match Pattern::compile(given.inner()) {
            Ok(pattern) => drop(self.patterns.insert(key.clone(), pattern)),
            Err(problem) => drop(self.wrong(self.place(id), problem)),
        }
        let pattern = IdedExpr { id, expr: Expr::Ident(key) };
        let call =
            CallExpr { func_name: pattern::FUNCTION.to_owned(), target: Some(Box::new(text)), args: vec![pattern] };
        (Expr::Call(call), Kind::Bool)
    }

    fn list(&mut self, mut list: ListExpr) -> (Expr, Kind) {
        let kinds: Vec<Kind> = list.elements.iter_mut().map(|element| self.node(element)).collect();
        let item = kinds.into_iter().reduce(Kind::joined).unwrap_or(Kind::Any);
        (Expr::List(list), Kind::List(item.as_item()))
    }

    fn map(&mut self, mut map: MapExpr) -> (Expr, Kind) {
        let mut kinds = Vec::new();
        for entry in &mut map.entries {
            if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                self.node(&mut entry.key);
                kinds.push(self.node(&mut entry.value));
            }
        }
        let value = kinds.into_iter().reduce(Kind::joined).unwrap_or(Kind::Any);
        (Expr::Map(map), Kind::Map(value.as_item()))
    }

    /// What `exists`, `all`, `map` and the like are taken apart into.
    fn comprehension(&mut self, mut it: ComprehensionExpr) -> (Expr, Kind) {
        let at = self.place(it.iter_range.id);
        let item = match self.node(&mut it.iter_range) {
            Kind::List(item) => *item,
            Kind::Map(_) => Kind::Text,
            Kind::Any => Kind::Any,
            other => self.wrong(at, format!("expected a list or a map to look through; found {}", other.one())),
        };
        let gathered = self.node(&mut it.accu_init);
        let outside = self.scope.len();
        self.scope.push((it.accu_var.clone(), gathered));
        self.scope.push((it.iter_var.clone(), item));
        self.node(&mut it.loop_cond);
        let step = self.node(&mut it.loop_step);
        self.scope.truncate(outside);
        self.scope.push((it.accu_var.clone(), step));
        let kind = self.node(&mut it.result);
        self.scope.truncate(outside);
        (Expr::Comprehension(Box::new(it)), kind)
    }
}
