//! Quoting for rules: texts of any kind as strings of CEL and of TOML, and in comments.

/// A CEL string that means this text, without an apostrophe or a control character in it, so that TOML takes it as it
/// stands.
pub(super) fn cel(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Line separators and the like would be read by people as something else than they are.
            c if c == '\'' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') || is_bidi(c) => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Characters that turn the direction of text, and with it what a condition seems to say.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A TOML string that means this text: as it stands between apostrophes where it can be, which is easier to read.
pub(super) fn toml(text: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '\'' && c != '"' && c != '\\';
    if text.chars().all(plain) {
        return format!("\"{text}\"");
    }
    match text.chars().all(|c| !c.is_control() && c != '\'') {
        true => format!("'{text}'"),
        false => ::toml::Value::from(text).to_string(),
    }
}

/// A line of comment; what would end it is left out.
pub(super) fn comment(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c }).collect();
    format!("# {text}\n")
}
