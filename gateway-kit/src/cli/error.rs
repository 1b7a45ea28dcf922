//! The one line that says why the configuration is refused.

use crate::logging::escape;
use std::fmt;

/// A configuration that is refused: one line, the key first, then what is wrong with it and what
/// to do. The process ends with [`Error::EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    line: String,
}

impl Error {
    /// The exit status of a process whose configuration was refused.
    pub const EXIT_CODE: u8 = 2;

    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into() }
    }

    /// `why` begins with a verb, as in "is not a number".
    pub(crate) fn about(key: &str, why: impl fmt::Display) -> Self {
        Self::new(format!("{key}: {why}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Error {}

/// A value in quotes as an error line may show it: no secret, no line end, not long.
pub(crate) fn quoted(value: &str) -> String {
    format!("\"{}\"", escape(masked(value).as_bytes(), 120))
}

/// The text with the user and password of each URL in it as `***`.
pub(crate) fn masked(text: &str) -> String {
    const MARK: &str = "://";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (scheme, authority) = rest.split_at(at + MARK.len());
        let ends = |c: char| matches!(c, '/' | '?' | '#' | '"' | '\'') || c.is_whitespace();
        let end = authority.find(ends).unwrap_or(authority.len());
        let host = authority[..end].rfind('@').unwrap_or(0);
        shown.push_str(scheme);
        if host > 0 {
            shown.push_str("***");
        }
        rest = &authority[host..];
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_is_masked_and_nothing_else() {
        for (text, shown) in [
            ("plain", "plain"),
            ("me@example.org", "me@example.org"),
            ("https://h/p@q", "https://h/p@q"),
            ("https://u:p@h/x", "https://***@h/x"),
            (
                "--db=pg://u:p@ss@h/x and http://t@i",
                "--db=pg://***@h/x and http://***@i",
            ),
            ("https://@h", "https://@h"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn what_is_quoted_stays_on_its_line() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
    }
}
