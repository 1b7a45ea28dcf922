//! Bearer tokens: secrets that are never shown.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::head::Field;

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

/// A token as tables know it: salted for this process and for one audience, so that neither a table
/// nor the time of a look-up tells anything of a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenDigest(pub(crate) [u8; 32]);

impl TokenDigest {
    /// Compares in a time that does not depend on where the two differ.
    pub(crate) fn is_equal(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// Makes digests for one audience.
pub(crate) struct Digester(Sha256);

impl Digester {
    pub(crate) fn new(salt: [u8; 32], audience: &str) -> Self {
        let salted = Sha256::new().chain_update(salt);
        Self(salted.chain_update(audience).chain_update([0]))
    }

    pub(crate) fn digest(&self, token: &Token) -> TokenDigest {
        TokenDigest(self.0.clone().chain_update(&token.0).finalize().into())
    }
}

/// What stands in `Authorization`.
#[derive(Debug)]
pub(crate) enum Credential {
    Missing,
    /// Not a bearer token by its form.
    Malformed,
    /// Another scheme's.
    OtherScheme,
    Bearer(Token),
}

impl Credential {
    /// Reads `Bearer` and one token (RFC 6750 section 2.1). The scheme's name is in any case (RFC
    /// 9110 section 11.1).
    pub(crate) fn read(authorization: Field<'_>, most_bytes: usize) -> Self {
        let value = match authorization {
            Field::Absent => return Self::Missing,
            Field::Repeated => return Self::Malformed,
            Field::One(value) => value,
        };
        let scheme = value.split(|byte| !byte.is_ascii_alphanumeric()).next();
        let scheme = scheme.unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Self::OtherScheme;
        }
        let rest = &value[scheme.len()..];
        let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
        let token = &rest[spaces..];
        if spaces == 0 || token.len() > most_bytes {
            return Self::Malformed;
        }
        match Token::new(Bytes::copy_from_slice(token)) {
            Ok(token) => Self::Bearer(token),
            Err(_) => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_bearer_and_one_token() {
        let read = |value: &str| match Credential::read(Field::One(value.as_bytes()), 16) {
            Credential::Bearer(token) => Some(token.expose().to_owned()),
            Credential::Malformed | Credential::OtherScheme => None,
            Credential::Missing => unreachable!("it was sent"),
        };
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bEARER  aZ09-._~+/==", Some("aZ09-._~+/==")),
            ("Bearer 0123456789abcdef", Some("0123456789abcdef")),
            ("Bearer 0123456789abcdef0", None),
            ("Bearer\tabc", None),
            ("Bearer \tabc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer =", None),
            ("Bearer a=b", None),
            ("Bearer a b", None),
            ("Bearer a,b", None),
            ("Bearer \"a\"", None),
            ("Bearer a\u{e9}", None),
            ("Bearera", None),
            ("Basic YTpi", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(read(value).as_deref(), token, "{value}");
        }
        assert!(matches!(
            Credential::read(Field::Repeated, 16),
            Credential::Malformed
        ));
    }

    #[test]
    fn secrets_are_not_shown() {
        let token = Token::new("marker").unwrap();
        let digest = Digester::new([0; 32], "a").digest(&token);
        let shown = format!("{token:?} {:?} {digest:?}", Secret::new("marker"));
        assert!(!shown.contains("marker"));
        assert_ne!(digest, Digester::new([1; 32], "a").digest(&token));
        assert_ne!(digest, Digester::new([0; 32], "b").digest(&token));
    }
}
