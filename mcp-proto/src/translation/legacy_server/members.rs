//! Members of JSON objects: read where they are few, taken out where they are in a payload.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::envelope::{Envelope, Span, decode_string};

/// An object's members, their values unread.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

/// Reads an object; `None` for what is not one.
pub(super) fn members(json: &[u8]) -> Option<Members> {
    serde_json::from_slice(json).ok()
}

/// A value's JSON text, if it is an object.
pub(super) fn object(value: &RawValue) -> Option<&str> {
    Some(value.get()).filter(|text| text.starts_with('{'))
}

/// Whether a value is this string.
pub(super) fn is_string(value: &RawValue, expected: &str) -> bool {
    decode_string(value.get().as_bytes()).is_some_and(|string| string == expected)
}

/// The JSON text of `members`.
pub(super) fn to_json(members: &Members) -> String {
    serde_json::to_string(members).unwrap_or_else(|_| "{}".to_owned())
}

/// A document of the child's without line breaks, so that parts of it can be put into lines; spans
/// in it stay good.
pub(super) fn without_line_breaks<'a>(document: &'a [u8], message: &Envelope) -> Cow<'a, [u8]> {
    if message.has_line_breaks() {
        Cow::Owned(blank(document))
    } else {
        Cow::Borrowed(document)
    }
}

/// JSON without line breaks, which become spaces.
pub(super) fn blank(json: &[u8]) -> Vec<u8> {
    let is_break = |byte| matches!(byte, b'\r' | b'\n');
    let bytes = json.iter();
    bytes
        .map(|&byte| if is_break(byte) { b' ' } else { byte })
        .collect()
}

/// What to cut out of a valid document so that members are gone, given where their values lie. Keys
/// may be written with escapes, but must not hold quotes. The spans are sorted and disjoint.
pub(super) fn cuts(document: &[u8], mut values: Vec<Span>) -> Vec<Span> {
    values.sort_by_key(|value| value.start);
    let mut cuts: Vec<Span> = Vec::with_capacity(values.len());
    for value in values {
        let key = key_start(document, value.start as usize);
        let before = space_start(document, key);
        let taken = cuts.last().map_or(0, |cut| cut.end as usize);
        // A comma belongs to the member after it; the first one that stays must not have any.
        let (start, end) = if document[before - 1] == b',' && before > taken {
            (before - 1, value.end as usize)
        } else {
            let after = space_end(document, value.end as usize);
            let comma = usize::from(document[after] == b',');
            (
                key,
                if comma == 1 {
                    after + 1
                } else {
                    value.end as usize
                },
            )
        };
        cuts.push(Span {
            start: start as u32,
            end: end as u32,
        });
    }
    cuts
}

/// Where the key begins, with its quote, whose value begins at `value`.
fn key_start(document: &[u8], value: usize) -> usize {
    let colon = space_start(document, value) - 1;
    let quote = space_start(document, colon) - 1;
    memchr::memrchr(b'"', &document[..quote]).expect("a key has two quotes")
}

/// Where the white space begins that ends at `end`.
fn space_start(document: &[u8], end: usize) -> usize {
    let space = document[..end].iter().rev();
    end - space.take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where the white space ends that begins at `start`.
fn space_end(document: &[u8], start: usize) -> usize {
    let space = document[start..].iter();
    start + space.take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Whether an object has no members.
pub(super) fn is_empty_object(object: &[u8]) -> bool {
    object.get(space_end(object, 1)) == Some(&b'}')
}
