//! Conditions: the `when` of a rule, compiled once and asked for every call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, SourceInfo};
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};

use super::check::Check;
use super::constant;
use super::known::{Facts, Known, Wanted};
use super::pattern::{self, Pattern};
use super::quick::Part;
use super::said::{constant_said, is_about_kinds, parser_said, said};
use super::variable::Variable;
use crate::clock::Timestamp;
use crate::domain::glance::BodyFacts;

/// The longest condition, in characters: what is longer was not written by people, nor can they read it.
pub const CONDITION_MAX: usize = 8_000;

/// The most signs in a condition that could stand for a step down: evaluating takes room on the stack for each.
const SIGNS_MAX: usize = 400;

/// A condition over a call.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    text: String,
    expr: IdedExpr,
    reads: BTreeSet<Variable>,
    patterns: BTreeMap<String, Pattern>,
    plain: Part<Variable>,
}

/// Something wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, in characters from the beginning of its text.
    pub at: usize,
    /// What, and what helps.
    pub problem: String,
}

/// Why a condition has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Something that it asks for is not known yet.
    Unknown,
    /// It fails, in words that show nothing of the call.
    Failed(String),
}

/// CEL as conditions speak it: the standard library, without optional values, and with patterns of our own.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    // The macros come with the standard library only where optional values are on, so the syntax alone is switched off.
    let mut env = Env::stdlib().with_optional_support(false);
    // Declaring fails where a name is taken, which a test would show at once.
    let _ = pattern::declare(&mut env);
    Arc::new(env)
});

impl Condition {
    /// Compiles it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compile(text: &str) -> Result<Self, Vec<Mistake>> {
        if text.chars().count() > CONDITION_MAX {
            let problem = format!("a condition has at most {CONDITION_MAX} characters; make several rules of it");
            return Err(vec![Mistake { at: 0, problem }]);
        }
        if signs(text) > SIGNS_MAX {
            let problem =
                format!("a condition has at most {SIGNS_MAX} operators and brackets; make several rules of it");
            return Err(vec![Mistake { at: 0, problem }]);
        }
        let (mut expr, source) =
            LANGUAGE.parser().parse_with_source_info(text).map_err(|errors| unread(text, errors.errors))?;
        let mut check = Check::of(&source);
        check.condition(&mut expr);
        let Check { reads, patterns, mistakes, .. } = check;
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let variable = |name: &str| reads.iter().find(|variable| variable.key() == name).cloned();
        let plain = Part::of(&expr, &variable, &|key| patterns.get(key).cloned());
        let condition = Self(Arc::new(Compiled { text: text.to_owned(), expr, reads, patterns, plain }));
        let mistakes = condition.tried(&source);
        if mistakes.is_empty() { Ok(condition) } else { Err(mistakes) }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it asks of a call.
    pub fn reads(&self) -> &BTreeSet<Variable> {
        &self.0.reads
    }

    pub(super) fn patterns(&self) -> &BTreeMap<String, Pattern> {
        &self.0.patterns
    }

    /// The part of it that needs no interpreter.
    pub(super) fn plain(&self) -> &Part<Variable> {
        &self.0.plain
    }

    /// Whether it holds.
    pub(super) fn holds(&self, context: &Context<'_, '_>, known: &Known<'_>) -> Result<bool, Unanswered> {
        let answer = Value::resolve_val(&self.0.expr, context);
        let has_missed = known.take_missed();
        match answer {
            // Whatever was missed makes no difference: `false && x` is false for every x.
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(value) => Ok(*value.inner()),
                None => {
                    Err(Unanswered::Failed(format!("is no truth value but one of type {}", value.get_type().name())))
                }
            },
            Err(_) if has_missed => Err(Unanswered::Unknown),
            Err(error) => Err(Unanswered::Failed(said(&error))),
        }
    }

    /// What shows only when it is tried: constants that are none, and kinds that only values have.
    fn tried(&self, source: &SourceInfo) -> Vec<Mistake> {
        let (headers, body) = (http::HeaderMap::new(), BodyFacts::default().ended());
        let now = Timestamp::from_millis(0);
        let facts = Facts {
            headers: &headers,
            path: "/v1/messages",
            tenant: "",
            workload: "",
            now,
            body: &body,
            is_record: false,
        };
        let wanted = wanted(self.reads());
        let known = Known::of(&facts, &wanted, self.patterns());
        let context = context(&known);
        let mut mistakes = Vec::new();
        constant::any_fails(&self.0.expr, &mut |part| {
            let Err(error) = Value::resolve_val(part, &context) else { return false };
            // A name that the condition gives to items of a list, such as `now`, is no constant after all.
            let is_constant = !matches!(error, ExecutionError::UndeclaredReference(_));
            if is_constant {
                mistakes.push(Mistake { at: place(source, part.id), problem: constant_said(&error) });
            }
            is_constant
        });
        if mistakes.is_empty() {
            mistakes.extend(Value::resolve_val(&self.0.expr, &context).map_or_else(
                |error| is_about_kinds(&error).then(|| Mistake { at: 0, problem: said(&error) }),
                |value| {
                    let is_bool = value.downcast_ref::<CelBool>().is_some();
                    let problem = || format!("expected true or false; found type {}", value.get_type().name());
                    (!is_bool).then(|| Mistake { at: 0, problem: problem() })
                },
            ));
        }
        mistakes
    }
}

/// Conditions are the same if they are written the same.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text()).finish()
    }
}

/// What all of these ask for, in the order in which it is looked up.
pub(super) fn wanted<'a>(reads: impl IntoIterator<Item = &'a Variable>) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = reads.into_iter().map(|variable| (variable.key(), variable.clone())).collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Where conditions are asked about one call.
pub(super) fn context<'a>(known: &'a Known<'_>) -> Context<'a, 'a> {
    let mut context = Context::with_env(Arc::clone(&LANGUAGE));
    context.set_variable_resolver(known);
    context
}

/// Where a part of a condition begins, in characters.
pub(super) fn place(source: &SourceInfo, id: u64) -> usize {
    source.offset_for(id).map_or(0, |(start, _)| start as usize)
}

/// How many operators and brackets there are outside of quotes.
fn signs(text: &str) -> usize {
    let (mut signs, mut quote, mut escaped) = (0, None, false);
    for character in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(end) if character == end => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None => signs += usize::from("+-*/%?!.<>=&|([{".contains(character)),
        }
    }
    signs
}

/// What the parser could not read.
fn unread(text: &str, errors: Vec<cel::ParseError>) -> Vec<Mistake> {
    let mistake = |error: cel::ParseError| Mistake { at: offset(text, error.pos), problem: parser_said(&error.msg) };
    errors.into_iter().map(mistake).collect()
}

/// A line and a column, both from 1, as characters from the beginning.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let (line, column) = (usize::try_from(line - 1).unwrap_or(0), usize::try_from(column - 1).unwrap_or(0));
    let before: usize = text.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    (before + column).min(text.chars().count())
}

/// What is no condition at all, for the place of one that has a fault.
impl Default for Condition {
    fn default() -> Self {
        let (reads, patterns) = (BTreeSet::new(), BTreeMap::new());
        let expr = IdedExpr { id: 0, expr: Expr::Literal(cel::common::ast::LiteralValue::Boolean(false.into())) };
        Self(Arc::new(Compiled { text: "false".to_owned(), expr, reads, patterns, plain: Part::Nothing }))
    }
}
