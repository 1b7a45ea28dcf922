//! Ids of requests, as responses and errors carry them. Those that a gateway made are made up by
//! chance, and stand as `*` in what is compared; those that a client sent do not.

use serde_json::Value;

use crate::text::find;
use crate::wire::Response;

/// The members of errors that hold an id.
const MEMBERS: [&[u8]; 2] = [b"\"requestId\":\"", b"\"request_id\":\""];

/// An id, or `*` in place of one that was made: eight hexadecimal digits, a hyphen, and a number.
pub fn told(id: &str) -> &str {
    let is_made = id.split_once('-').is_some_and(|(instance, number)| {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        instance.len() == 8
            && instance.bytes().all(digit)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_made { "*" } else { id }
}

/// A body or an event in which the ids of errors are told.
pub fn told_in(text: &[u8]) -> Vec<u8> {
    let mut told_text = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        let ends = MEMBERS.map(|member| find(rest, member).map(|at| at + member.len()));
        let Some(start) = ends.into_iter().flatten().min() else {
            told_text.extend_from_slice(rest);
            return told_text;
        };
        let end = find(&rest[start..], b"\"").map_or(rest.len(), |length| start + length);
        let id = str::from_utf8(&rest[start..end]).unwrap_or_default();
        told_text.extend_from_slice(&rest[..start]);
        match told(id) {
            "*" => told_text.push(b'*'),
            _ => told_text.extend_from_slice(&rest[start..end]),
        }
        rest = &rest[end..];
    }
}

/// Whether a response has one id, and an error in it the same; an interim one (RFC 9110 section 15.2)
/// has none.
///
/// # Errors
///
/// What is wrong with it.
pub fn judge(response: &Response) -> Result<(), String> {
    if response.status < 200 {
        return Ok(());
    }
    let [id] = response.values("x-request-id")[..] else {
        return Err("expected x-request-id once".to_owned());
    };
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    for pointer in ["/error/data/requestId", "/request_id"] {
        match body.pointer(pointer) {
            Some(named) if named != id => {
                return Err(format!("expected {id} at {pointer}, as in x-request-id"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_is_not_told() {
        for (body, expected) in [
            (&b"{}"[..], &b"{}"[..]),
            (
                br#"{"data":{"requestId":"3f9a12c4-17"}},{"data":{"requestId":"3f9a12c4-18"}}"#,
                br#"{"data":{"requestId":"*"}},{"data":{"requestId":"*"}}"#,
            ),
            (br#"{"request_id":"3f9a12c4-1"}"#, br#"{"request_id":"*"}"#),
            (br#"{"requestId":"mine"}"#, br#"{"requestId":"mine"}"#),
            (
                br#"{"requestId":"3f9a12c4-1a"}"#,
                br#"{"requestId":"3f9a12c4-1a"}"#,
            ),
            (br#"{"requestId":"3f9a12"#, br#"{"requestId":"3f9a12"#),
            (br#"{"id":"3f9a12c4-17"}"#, br#"{"id":"3f9a12c4-17"}"#),
        ] {
            assert_eq!(told_in(body), expected);
        }
    }
}
