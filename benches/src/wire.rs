//! The few messages of the benchmarks, and just enough reading of them.
//!
//! Both ends are ours, and neither writes escapes nor white space between tokens, so that a search
//! for a key's bytes finds the key. None of this is fit to read anybody else's JSON.

use std::io::Write;

use memchr::{memchr, memmem};

/// Where an id begins.
pub const ID: &[u8] = b"\"id\":";
/// Where a progress token begins.
pub const PROGRESS_TOKEN: &[u8] = b"\"progressToken\":";
/// Where the number of a progress notification begins.
pub const PROGRESS: &[u8] = b"\"progress\":";
/// Where the number of progress notifications that a call asks for begins.
pub const NOTIFICATIONS: &[u8] = b"\"notifications\":";
/// Where a method's name begins.
pub const METHOD: &[u8] = b"\"method\":\"";
/// Where the text of a call or of its answer begins.
pub const TEXT: &[u8] = b"\"text\":\"";

/// The text of this many bytes that calls send and answers repeat.
pub fn text(size: usize) -> String {
    "The quick brown fox jumps over the lazy dog. "
        .chars()
        .cycle()
        .take(size)
        .collect()
}

/// The digits that stand after the first `key`.
pub fn integer<'a>(message: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = &message[memmem::find(message, key)? + key.len()..];
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (length > 0).then(|| &rest[..length])
}

/// The number that stands after the first `key`.
pub fn number(message: &[u8], key: &[u8]) -> Option<u64> {
    std::str::from_utf8(integer(message, key)?)
        .ok()?
        .parse()
        .ok()
}

/// What stands between the first `key`, which ends in a quote, and the next quote.
pub fn string<'a>(message: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = &message[memmem::find(message, key)? + key.len()..];
    Some(&rest[..memchr(b'"', rest)?])
}

/// Appends a call of the tool `echo`, which asks for progress notifications under its own id if
/// it asks for any.
pub fn push_call(out: &mut Vec<u8>, id: u64, text: &str, notifications: u64) {
    push(out, format_args!("{{\"jsonrpc\":\"2.0\",\"id\":{id},"));
    out.extend_from_slice(b"\"method\":\"tools/call\",\"params\":{");
    if notifications > 0 {
        push(out, format_args!("\"_meta\":{{\"progressToken\":{id}}},"));
    }
    out.extend_from_slice(b"\"name\":\"echo\",\"arguments\":{");
    if notifications > 0 {
        push(out, format_args!("\"notifications\":{notifications},"));
    }
    push(out, format_args!("\"text\":\"{text}\"}}}}}}"));
}

/// Appends the answer to a call.
pub fn push_answer(out: &mut Vec<u8>, id: &[u8], text: &[u8]) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\"}]}}");
}

/// Appends a progress notification.
pub fn push_progress(out: &mut Vec<u8>, token: &[u8], progress: u64, total: u64) {
    out.extend_from_slice(
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\
          \"progressToken\":",
    );
    out.extend_from_slice(token);
    push(
        out,
        format_args!(",\"progress\":{progress},\"total\":{total}}}}}"),
    );
}

/// Appends the answer to `initialize`.
pub fn push_initialized(out: &mut Vec<u8>, id: &[u8]) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(
        b",\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{}},\
          \"serverInfo\":{\"name\":\"echo-child\",\"version\":\"0\"}}}",
    );
}

/// Appends an `initialize` request.
pub fn push_initialize(out: &mut Vec<u8>, id: u64) {
    push(out, format_args!("{{\"jsonrpc\":\"2.0\",\"id\":{id},"));
    out.extend_from_slice(
        b"\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\
          \"capabilities\":{},\"clientInfo\":{\"name\":\"load\",\"version\":\"0\"}}}",
    );
}

/// What a client sends once it has the answer to `initialize`.
pub const INITIALIZED: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

/// Appends what is formatted.
pub fn push(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("a vector takes what it is given");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut call = Vec::new();
        push_call(&mut call, 17, &text(50), 3);
        assert_eq!(integer(&call, ID), Some(&b"17"[..]));
        assert_eq!(string(&call, METHOD), Some(&b"tools/call"[..]));
        assert_eq!(number(&call, PROGRESS_TOKEN), Some(17));
        assert_eq!(number(&call, NOTIFICATIONS), Some(3));
        assert_eq!(string(&call, TEXT), Some(text(50).as_bytes()));
        let mut answer = Vec::new();
        push_answer(&mut answer, b"17", b"hello");
        assert_eq!(integer(&answer, ID), Some(&b"17"[..]));
        assert_eq!(string(&answer, TEXT), Some(&b"hello"[..]));
        assert_eq!(integer(INITIALIZED, ID), None);
    }
}
