//! JSON for what is small and rare: handshakes, errors, `_meta`, rounds. Values stay the bytes that
//! they were.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// An object's members by their names; the values as raw JSON, which may hold line breaks.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Reads an object; `None` if it is none.
pub(super) fn members(raw: &[u8]) -> Option<Members<'_>> {
    serde_json::from_slice(raw).ok()
}

/// The members of a member that is an object.
pub(super) fn nested<'a>(members: &Members<'a>, name: &str) -> Option<Members<'a>> {
    self::members(members.get(name)?.get().as_bytes())
}

/// A member's string.
pub(super) fn text(members: &Members<'_>, name: &str) -> Option<String> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// Whether a raw value is an object.
pub(super) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// A string as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object of these members, whose values are raw JSON, on one line.
pub(super) fn object<'a, N: AsRef<str>>(members: impl IntoIterator<Item = (N, &'a str)>) -> String {
    let members = members.into_iter();
    let members = members.map(|(name, value)| format!("{}:{value}", quoted(name.as_ref())));
    one_line(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
}

/// The same JSON without line breaks: they are white space between tokens, and in a message on
/// stdio they must not be.
pub(super) fn one_line(json: String) -> String {
    json.replace(['\r', '\n'], " ")
}
