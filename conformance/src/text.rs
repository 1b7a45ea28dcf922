//! Escapes, variables and globs of scripts, and bytes made fit to be shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The variables of a script that runs: `{name}` stands for their value.
pub type Variables = BTreeMap<String, String>;

/// Replaces each `{name}` by its value. Anything else in braces, such as JSON, is left as it is.
///
/// # Errors
///
/// If a name has no value: a misspelt one would otherwise be sent as it is.
pub fn expand(text: &str, variables: &Variables) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        match variable(from) {
            Some(name) if !before.ends_with('\\') => {
                let value = variables.get(name);
                expanded.push_str(value.ok_or_else(|| format!("{{{name}}} has no value"))?);
                rest = &from[name.len() + 2..];
            }
            _ => {
                expanded.push('{');
                rest = &from[1..];
            }
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The name that `text` begins with in braces: letters, digits and dashes, a letter first.
fn variable(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain)).then_some(name)
}

/// The bytes that a line of a script stands for: variables are replaced, then `\r`, `\n`, `\t`,
/// `\0`, `\\`, `\{` and `\xHH`. A backslash before anything else stands for itself, so that JSON's
/// own escapes need no second one.
///
/// # Errors
///
/// If a variable has no value or `\x` has no two hex digits.
pub fn bytes(text: &str, variables: &Variables) -> Result<Vec<u8>, String> {
    let expanded = expand(text, variables)?;
    let mut bytes = Vec::with_capacity(expanded.len());
    let mut rest = expanded.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let escaped = match rest.first() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(&same @ (b'\\' | b'{')) => same,
            Some(b'x') => {
                let digits = rest
                    .get(1..3)
                    .and_then(|digits| str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or_else(|| format!("\\x without two hex digits in {text:?}"))?);
                rest = &rest[3..];
                continue;
            }
            _ => {
                bytes.push(b'\\');
                continue;
            }
        };
        bytes.push(escaped);
        rest = &rest[1..];
    }
    Ok(bytes)
}

/// Whether `text` is what `pattern` describes, in which `*` stands for any bytes and all else for
/// itself.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = find(rest, part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Where `part` begins in `text`.
pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

/// Most bytes that a report shows of anything.
const SHOWN: usize = 1500;

/// Bytes as a script would write them, shortened if there are many.
pub fn show(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for part in bytes[..bytes.len().min(SHOWN)].utf8_chunks() {
        for c in part.valid().chars() {
            let _ = match c {
                '\r' => write!(shown, "\\r"),
                '\n' => write!(shown, "\\n"),
                '\t' => write!(shown, "\\t"),
                '\\' => write!(shown, "\\\\"),
                c if c.is_control() => write!(shown, "\\x{:02x}", u32::from(c)),
                c => write!(shown, "{c}"),
            };
        }
        for byte in part.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    if bytes.len() > SHOWN {
        let _ = write!(shown, "... ({} bytes in all)", bytes.len());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        [("port", "80"), ("s", "a\\b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_replaced_and_json_is_not() {
        let expand = |text| expand(text, &variables());
        assert_eq!(expand("x{port}y{port}").unwrap(), "x80y80");
        for same in [r#"{"a":{}}"#, "{ port}", "{Port}", "{1}", "{", "\\{port}"] {
            assert_eq!(expand(same).unwrap(), same);
        }
        assert_eq!(expand("{prot}").unwrap_err(), "{prot} has no value");
    }

    #[test]
    fn escapes() {
        let bytes = |text| bytes(text, &variables());
        assert_eq!(
            bytes(r"a\r\n\t\0\\\x00\xff\{port}").unwrap(),
            b"a\r\n\t\0\\\0\xff{port}"
        );
        assert_eq!(
            bytes(r#"{"a":"\"\u2028\b"}"#).unwrap(),
            br#"{"a":"\"\u2028\b"}"#
        );
        assert_eq!(bytes("{port}\\").unwrap(), b"80\\");
        for wrong in [r"\x", r"\xg0", r"\x1"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("*", "", true),
            ("*", "abc", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*b*b*", "abab", true),
            ("*b*b*", "aba", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), text.as_bytes()),
                matches,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn what_is_shown_is_on_one_line_and_bounded() {
        assert_eq!(show(b"a\r\n\\\xff\x1b"), r"a\r\n\\\xff\x1b");
        assert!(show(&[b'x'; 10_000]).ends_with("x... (10000 bytes in all)"));
    }
}
