//! The functions that conditions may call.

use super::kind::Kind;
use crate::domain::likeness::nearest;

/// One way to call a function. A method's first argument is what stands before the dot.
struct Signature {
    name: &'static str,
    is_method: bool,
    takes: &'static [Kind],
    gives: Kind,
}

const LIST: Kind = Kind::List(&Kind::Any);
const MAP: Kind = Kind::Map(&Kind::Any);

const fn function(name: &'static str, takes: &'static [Kind], gives: Kind) -> Signature {
    Signature { name, is_method: false, takes, gives }
}

const fn method(name: &'static str, takes: &'static [Kind], gives: Kind) -> Signature {
    Signature { name, is_method: true, takes, gives }
}

/// CEL's own, as the interpreter has them.
const SIGNATURES: &[Signature] = {
    use Kind::{Any, Bool, Bytes, Double, Duration, Int, Text, Time, Type, Uint};
    &[
        method("contains", &[Text, Text], Bool),
        method("startsWith", &[Text, Text], Bool),
        method("endsWith", &[Text, Text], Bool),
        method("matches", &[Text, Text], Bool),
        function("matches", &[Text, Text], Bool),
        function("size", &[Text], Int),
        function("size", &[Bytes], Int),
        function("size", &[LIST], Int),
        function("size", &[MAP], Int),
        method("size", &[Text], Int),
        method("size", &[Bytes], Int),
        method("size", &[LIST], Int),
        method("size", &[MAP], Int),
        function("bool", &[Bool], Bool),
        function("bool", &[Text], Bool),
        function("int", &[Int], Int),
        function("int", &[Uint], Int),
        function("int", &[Double], Int),
        function("int", &[Text], Int),
        function("int", &[Time], Int),
        function("uint", &[Uint], Uint),
        function("uint", &[Int], Uint),
        function("uint", &[Double], Uint),
        function("uint", &[Text], Uint),
        function("double", &[Double], Double),
        function("double", &[Int], Double),
        function("double", &[Uint], Double),
        function("double", &[Text], Double),
        function("string", &[Text], Text),
        function("string", &[Bool], Text),
        function("string", &[Int], Text),
        function("string", &[Uint], Text),
        function("string", &[Double], Text),
        function("string", &[Bytes], Text),
        function("string", &[Time], Text),
        function("string", &[Duration], Text),
        function("bytes", &[Text], Bytes),
        function("bytes", &[Bytes], Bytes),
        function("dyn", &[Any], Any),
        function("type", &[Any], Type),
        function("timestamp", &[Text], Time),
        function("timestamp", &[Time], Time),
        function("timestamp", &[Int], Time),
        function("duration", &[Text], Duration),
        function("duration", &[Duration], Duration),
        method("getFullYear", &[Time], Int),
        method("getFullYear", &[Time, Text], Int),
        method("getMonth", &[Time], Int),
        method("getMonth", &[Time, Text], Int),
        method("getDayOfYear", &[Time], Int),
        method("getDayOfYear", &[Time, Text], Int),
        method("getDayOfMonth", &[Time], Int),
        method("getDayOfMonth", &[Time, Text], Int),
        method("getDate", &[Time], Int),
        method("getDate", &[Time, Text], Int),
        method("getDayOfWeek", &[Time], Int),
        method("getDayOfWeek", &[Time, Text], Int),
        method("getHours", &[Time], Int),
        method("getHours", &[Time, Text], Int),
        method("getHours", &[Duration], Int),
        method("getMinutes", &[Time], Int),
        method("getMinutes", &[Time, Text], Int),
        method("getMinutes", &[Duration], Int),
        method("getSeconds", &[Time], Int),
        method("getSeconds", &[Time, Text], Int),
        method("getSeconds", &[Duration], Int),
        method("getMilliseconds", &[Time], Int),
        method("getMilliseconds", &[Time, Text], Int),
        method("getMilliseconds", &[Duration], Int),
    ]
};

/// What only looks like a function: the parser takes it apart.
const MACROS: [&str; 7] = ["has", "all", "exists", "exists_one", "existsOne", "map", "filter"];

/// What a call gives, or what is wrong with it.
pub(super) fn called(name: &str, is_method: bool, arguments: &[Kind]) -> Result<Kind, String> {
    let named = || SIGNATURES.iter().filter(|signature| signature.name == name && signature.is_method == is_method);
    let fits = |signature: &&Signature| {
        signature.takes.len() == arguments.len()
            && signature.takes.iter().zip(arguments).all(|(expected, given)| given.fits(*expected))
    };
    if let Some(signature) = named().find(fits) {
        let is_only = named().filter(fits).all(|other| other.gives == signature.gives);
        return Ok(if is_only { signature.gives } else { Kind::Any });
    }
    let found = shown(name, is_method, arguments);
    if named().next().is_some() {
        let ways: Vec<_> = named().map(|signature| shown(name, is_method, signature.takes)).collect();
        return Err(format!("expected {}; found {found}", ways.join(", ")));
    }
    Err(format!("there is no function {found}; {}", instead(name)))
}

fn instead(name: &str) -> String {
    if MACROS.contains(&name) {
        return "`has(headers.x)` and `list.exists(x, condition)` show how such words are used".to_owned();
    }
    if let Some(signature) = SIGNATURES.iter().find(|signature| signature.name == name) {
        return format!("it is called as {}", shown(name, signature.is_method, signature.takes));
    }
    let names: Vec<&str> = SIGNATURES.iter().map(|signature| signature.name).chain(MACROS).collect();
    match nearest(name, &names) {
        Some(near) => format!("did you mean {near}()?"),
        None => {
            let mut names = names;
            names.dedup();
            format!("the functions are {}", names.join(", "))
        }
    }
}

/// A call by its kinds: `string.contains(string)`.
fn shown(name: &str, is_method: bool, arguments: &[Kind]) -> String {
    let kinds: Vec<&str> = arguments.iter().map(|kind| kind.as_str()).collect();
    match kinds.split_first() {
        Some((before, rest)) if is_method => format!("{before}.{name}({})", rest.join(", ")),
        _ => format!("{name}({})", kinds.join(", ")),
    }
}
