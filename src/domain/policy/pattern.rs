//! Patterns: regular expressions of conditions, made ready when the policy is read.

use std::any::Any;

use cel::common::types::{BOOL_TYPE, CelBool, CelString, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use regex::{Regex, RegexBuilder};

/// The function that takes a pattern.
pub(super) const FUNCTION: &str = "matches";

/// A pattern that needs more memory than this, once compiled, is no pattern that anybody meant.
const PATTERN_MAX_BYTES: usize = 1 << 20;

static PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

/// A regular expression, as a value.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

/// The name under which a compiled condition asks for a pattern.
pub(super) fn key(text: &str) -> String {
    format!("matches {text}")
}

/// Lets conditions match texts with patterns.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload(FUNCTION, "string_matches_pattern", STRING_TYPE, vec![PATTERN_TYPE.to_owned()], matches)
}

fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern] = arguments.as_slice() else { return Err(ExecutionError::MissingArgumentOrTarget) };
    match (text.downcast_ref::<CelString<'_>>(), pattern.downcast_ref::<Pattern>()) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.is_match(text.inner())))),
        _ => Err(ExecutionError::no_such_overload(FUNCTION, vec![BOOL_TYPE.name().to_owned()])),
    }
}

impl Pattern {
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Makes it ready, or says what is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        RegexBuilder::new(text).size_limit(PATTERN_MAX_BYTES).build().map(Self).map_err(|error| {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            format!("not a regular expression: {}", last.trim_start_matches("error: "))
        })
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
