//! What is said of a condition that fails.

use cel::ExecutionError;

/// An error in words that show no value, since values may be secrets.
pub(super) fn said(error: &ExecutionError) -> String {
    match error {
        // These two name kinds and words of the condition alone.
        ExecutionError::NoSuchOverload(error) => error.to_string(),
        ExecutionError::UndeclaredReference(name) => format!("nothing is called {name}"),
        ExecutionError::FunctionError { function, .. } => format!("{function}() fails on what it is given"),
        ExecutionError::DivisionByZero(_) => "divides by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "divides by zero to find a remainder".to_owned(),
        ExecutionError::Overflow(..) => "counts beyond 64 bits".to_owned(),
        ExecutionError::NoSuchKey(_) => "asks a map for a key that is not there".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "asks a list for an item that is not there".to_owned(),
        _ => "joins values whose kinds do not go together".to_owned(),
    }
}

/// The same for what stands in the condition itself, and is no secret.
pub(super) fn constant_said(error: &ExecutionError) -> String {
    match error {
        ExecutionError::FunctionError { function, message } => {
            format!("{function}(): {}", message.lines().next().unwrap_or_default())
        }
        other => said(other),
    }
}

/// A parser's error without the dozen of things that it would rather have seen.
pub(super) fn parser_said(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default().trim_start_matches("Syntax error: ");
    let what = if message.contains("'<EOF>'") {
        "it ends where more is expected"
    } else if let Some(rest) = message.strip_prefix("token recognition error at: ") {
        return format!("not CEL: {rest} cannot be read; is a quote missing?");
    } else {
        message.split_once(" expecting ").map_or(message, |(what, _)| what)
    };
    format!("not CEL: {what}")
}

/// Whether values of these kinds can never do.
pub(super) fn is_about_kinds(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::NoSuchOverload(_)
            | ExecutionError::UnexpectedType { .. }
            | ExecutionError::UnsupportedBinaryOperator(..)
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::UndeclaredReference(_)
    )
}
