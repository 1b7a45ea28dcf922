//! Bearer tokens: secrets that are never shown.

use std::fmt;

use bytes::Bytes;

/// A bearer token: `b64token` of RFC 6750 section 2.1. Its debug form shows none of it, and it has
/// no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Bytes);

/// A secret of any form, such as a client's. Its debug form shows none of it, and it has no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret that `text` is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidToken {
    /// It is empty.
    Empty,
    /// It has other characters than letters, digits, `-._~+/`, and `=` at its end.
    Syntax,
}

impl Token {
    /// The token that `text` is.
    ///
    /// # Errors
    ///
    /// If `text` is not `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
    pub fn new(text: impl Into<Bytes>) -> Result<Self, InvalidToken> {
        let text = text.into();
        let end = text.iter().rposition(|&byte| byte != b'=');
        let plain = match end {
            Some(end) => &text[..=end],
            None if text.is_empty() => return Err(InvalidToken::Empty),
            None => return Err(InvalidToken::Syntax),
        };
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        if plain.iter().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidToken::Syntax)
        }
    }

    /// The token itself, for whoever must show it to a verifier.
    pub fn expose(&self) -> &str {
        str::from_utf8(&self.0).expect("a token is ASCII")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Syntax => {
                "has characters other than letters, digits, - . _ ~ + / and = at its end"
            }
        })
    }
}

impl std::error::Error for InvalidToken {}
