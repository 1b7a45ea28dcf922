//! Which bytes may stand where (RFC 9110 section 5, RFC 3986).

use std::net::Ipv6Addr;

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether a byte may stand in a field's value, white space between its parts included (RFC 9110
/// section 5.5).
pub(super) const fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

/// The value without the optional white space around it (RFC 9110 section 5.6.3).
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte));
    let end = value.iter().rposition(|byte| !is_space(byte));
    match (start, end) {
        (Some(start), Some(end)) => &value[start..=end],
        _ => &[],
    }
}

/// `unreserved` and `sub-delims` (RFC 3986 section 2).
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// Whether every byte is one of those allowed or begins a percent-encoding that is complete (RFC
/// 3986 section 2.1).
fn is_encoded(text: &[u8], allowed: impl Fn(u8) -> bool) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if allowed(*byte) => rest,
            _ => return false,
        };
    }
}

/// Whether it is a path that begins with a slash, and perhaps a query (RFC 9112 section 3.2.1).
pub(super) fn is_origin_form(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && is_path_and_query(target)
}

/// Whether it is a path that may be empty, and perhaps a query (RFC 3986 sections 3.3 and 3.4).
pub(super) fn is_path_and_query(text: &[u8]) -> bool {
    is_encoded(text, |byte| {
        is_name_byte(byte) || matches!(byte, b':' | b'@' | b'/' | b'?')
    })
}

/// Whether it is a host that is not empty, and perhaps a port (RFC 9110 section 7.2).
pub(super) fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (host_is_good, rest) = if let Some(literal) = text.strip_prefix('[') {
        match literal.split_once(']') {
            Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest),
            None => (false, ""),
        }
    } else {
        let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        let is_name = !name.is_empty() && is_encoded(name.as_bytes(), is_name_byte);
        (is_name, rest)
    };
    let port_is_good = match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    };
    host_is_good && port_is_good
}
