//! Static tokens: the variable and the file that they come from, and what goes beside what.

mod file;

pub use file::{BARE_NAME, Error, TokenFile};

use mcp_proto::auth::StaticToken;
use std::fmt;

/// Two tokens of a name are a rotation; a third is a mistake.
const MOST_OF_A_NAME: usize = 2;

/// The variable that holds the token of the service of that name: `mycopa-mcp` has
/// `MYCOPA_API_TOKEN`.
pub fn variable(service_name: &str) -> String {
    let short = service_name.strip_suffix("-mcp");
    whole_variable(
        short
            .filter(|name| !name.is_empty())
            .unwrap_or(service_name),
    )
}

/// Like [`variable`], with a `-mcp` left in.
pub(crate) fn whole_variable(service_name: &str) -> String {
    let fit = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    };
    let mut name: String = service_name.chars().map(fit).collect();
    // No shell has a variable whose name begins with a digit.
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name + "_API_TOKEN"
}

/// Whether `name` can be a static token's: up to 64 letters, digits and `- _ . @`.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}

/// Why a token cannot stand beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// It is there already under another name: whose it is would be anyone's guess.
    SharedToken,
    /// Its name has two tokens already.
    ThirdOfName,
    /// It begins with what sends tokens to another verifier.
    ForeignPrefix,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedToken => "has the same token as another name; give each name its own",
            Self::ThirdOfName => "is a third token of its name; two are the most, for rotation",
            Self::ForeignPrefix => {
                "has a token that begins with a token prefix of http or introspection, which would \
                 be shown a mistyped one; give another token"
            }
        })
    }
}

/// Adds `token` to `tokens`, unless it is there already.
pub(crate) fn add(
    tokens: &mut Vec<StaticToken>,
    token: StaticToken,
    foreign_prefixes: &[String],
) -> Result<(), Conflict> {
    let text = token.token.expose();
    if foreign_prefixes.iter().any(|it| text.starts_with(it)) {
        return Err(Conflict::ForeignPrefix);
    }
    let mut of_name = 0;
    for other in tokens.iter() {
        match (other.name == token.name, other.token == token.token) {
            (true, true) => return Ok(()),
            (true, false) => of_name += 1,
            (false, true) => return Err(Conflict::SharedToken),
            (false, false) => {}
        }
    }
    if of_name == MOST_OF_A_NAME {
        return Err(Conflict::ThirdOfName);
    }
    tokens.push(token);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_the_services() {
        for (service, name) in [
            ("mycopa-mcp", "MYCOPA_API_TOKEN"),
            ("mycopa", "MYCOPA_API_TOKEN"),
            ("my-server_2", "MY_SERVER_2_API_TOKEN"),
            ("-mcp", "_MCP_API_TOKEN"),
            ("mcp", "MCP_API_TOKEN"),
            ("7zip", "_7ZIP_API_TOKEN"),
            ("$(rm)", "__RM__API_TOKEN"),
        ] {
            assert_eq!(variable(service), name);
        }
    }
}
