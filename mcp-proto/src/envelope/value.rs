//! What stands in JSON that has been scanned: one member of an object, and one spelling of the whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::cursor::{Cursor, NOT_JSON, Stop};
use super::number::Number;
use super::text;

/// What the documents that are read here are known to be.
const SCANNED: &str = "a document that was scanned is JSON";

/// Characters of a digest in Base64.
const DIGEST_LENGTH: usize = 43;

/// The JSON text of the member `key` of an object; `None` if the object has none, or if `raw` is none.
/// `raw` is JSON text of a scanned document, which panics otherwise.
pub(crate) fn member<'a>(raw: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut cursor = Cursor::new(str::from_utf8(raw).expect(SCANNED));
    let mut found = None;
    if cursor.eat(b'{') {
        members(&mut cursor, |cursor, name| {
            let start = cursor.at;
            cursor.skip_value()?;
            if found.is_none() && text::decode_string(name).as_deref() == Some(key) {
                found = Some(&raw[start..cursor.at]);
            }
            Ok(())
        })
        .expect(SCANNED);
    }
    found
}

/// JSON text that all spellings of one value share: without white space, with the members of objects
/// by their keys, and with strings and numbers each written in one way. `raw` is JSON text of a
/// scanned document, which panics otherwise. If it is an object, its members `left_out` are left out.
pub(crate) fn canonical(raw: &[u8], left_out: &[&str]) -> String {
    written(raw, left_out, false)
}

/// A digest that all spellings of one value share, and no other value has; as [`canonical`] otherwise.
/// Takes time linear in the length, but for the sorting of members.
pub(crate) fn digest(raw: &[u8], left_out: &[&str]) -> [u8; 32] {
    Sha256::digest(written(raw, left_out, true)).into()
}

fn written(raw: &[u8], left_out: &[&str], folds: bool) -> String {
    let mut cursor = Cursor::new(str::from_utf8(raw).expect(SCANNED));
    let mut text = String::new();
    write(&mut cursor, left_out, folds, &mut text).expect(SCANNED);
    text
}

/// Reads the rest of an object: `member` is called with the JSON text of each key, and reads the
/// value.
fn members<'a>(
    cursor: &mut Cursor<'a>,
    mut member: impl FnMut(&mut Cursor<'a>, &'a [u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    cursor.skip_space();
    if cursor.eat(b'}') {
        return Ok(());
    }
    loop {
        let start = cursor.at;
        if !cursor.eat(b'"') {
            return Err(NOT_JSON);
        }
        cursor.string()?;
        let name = &cursor.bytes[start..cursor.at];
        cursor.skip_space();
        if !cursor.eat(b':') {
            return Err(NOT_JSON);
        }
        cursor.skip_space();
        member(cursor, name)?;
        cursor.skip_space();
        if cursor.eat(b'}') {
            return Ok(());
        }
        if !cursor.eat(b',') {
            return Err(NOT_JSON);
        }
        cursor.skip_space();
    }
}

/// Appends the canonical text of the value that begins here. Recursion is as deep as the scan lets
/// containers nest. What is sorted is moved, once for every object around it: where the text `folds`,
/// a digest stands for an object that is longer than one.
fn write(
    cursor: &mut Cursor<'_>,
    left_out: &[&str],
    folds: bool,
    out: &mut String,
) -> Result<(), Stop> {
    let start = cursor.at;
    match cursor.peek() {
        Some(b'{') => {
            cursor.at += 1;
            write_object(cursor, left_out, folds, out)
        }
        Some(b'[') => {
            cursor.at += 1;
            write_array(cursor, folds, out)
        }
        Some(b'"') => {
            cursor.skip_value()?;
            write_string(&cursor.text[start..cursor.at], out);
            Ok(())
        }
        _ => {
            cursor.skip_value()?;
            let text = &cursor.text[start..cursor.at];
            match Number::parse(text.as_bytes()) {
                Some(number) => out.push_str(&number.to_string()),
                None => out.push_str(text),
            }
            Ok(())
        }
    }
}

fn write_object(
    cursor: &mut Cursor<'_>,
    left_out: &[&str],
    folds: bool,
    out: &mut String,
) -> Result<(), Stop> {
    let base = out.len();
    // The keys, and where the text of each member lies.
    let mut written = Vec::new();
    members(cursor, |cursor, name| {
        let name = str::from_utf8(name).expect(SCANNED);
        let key = text::decode_string(name.as_bytes());
        if key.as_deref().is_some_and(|key| left_out.contains(&key)) {
            return cursor.skip_value();
        }
        let start = out.len();
        write_string(name, out);
        out.push(':');
        write(cursor, &[], folds, out)?;
        written.push((key, start..out.len()));
        Ok(())
    })?;
    written.sort_by(|(left, _), (right, _)| left.cmp(right));
    let members = written.into_iter().map(|(_, range)| &out[range]);
    let members = members.collect::<Vec<_>>().join(",");
    out.truncate(base);
    out.push('{');
    if folds && members.len() > DIGEST_LENGTH {
        // No other text has a brace before what is no quote.
        out.push_str(&STANDARD_NO_PAD.encode(Sha256::digest(members)));
    } else {
        out.push_str(&members);
    }
    out.push('}');
    Ok(())
}

fn write_array(cursor: &mut Cursor<'_>, folds: bool, out: &mut String) -> Result<(), Stop> {
    out.push('[');
    cursor.skip_space();
    if cursor.eat(b']') {
        out.push(']');
        return Ok(());
    }
    loop {
        write(cursor, &[], folds, out)?;
        cursor.skip_space();
        if cursor.eat(b']') {
            out.push(']');
            return Ok(());
        }
        if !cursor.eat(b',') {
            return Err(NOT_JSON);
        }
        out.push(',');
        cursor.skip_space();
    }
}

/// Appends a string. One with a lone surrogate has no value, and stays as it is.
fn write_string(raw: &str, out: &mut String) {
    match text::decode_string(raw.as_bytes()) {
        Some(text) => out.push_str(&serde_json::Value::from(&*text).to_string()),
        None => out.push_str(raw),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                btree_map(any::<String>(), inner, 0..6).prop_map(Value::from_iter),
            ]
        })
    }

    /// Another spelling: white space, escapes, and members the other way round.
    fn respelled(value: &Value) -> String {
        let string = |text: &str| {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
            format!("\"{}\"", units.collect::<String>())
        };
        match value {
            Value::String(text) => string(text),
            Value::Number(number) => format!("{number}.0"),
            Value::Array(elements) => {
                let elements: Vec<_> = elements.iter().map(respelled).collect();
                format!("[ {}\n]", elements.join(" ,\t"))
            }
            Value::Object(members) => {
                let members = members.iter().rev();
                let members =
                    members.map(|(key, value)| format!("{} : {}", string(key), respelled(value)));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn canonical_text_is_the_one_spelling_of_the_same_value(value in json()) {
            let text = canonical(value.to_string().as_bytes(), &[]);
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).expect("JSON"), &value);
            prop_assert_eq!(canonical(respelled(&value).as_bytes(), &[]), text);
        }

        #[test]
        fn digests_are_equal_where_values_are(one in json(), other in json()) {
            let digest = |text: String| digest(text.as_bytes(), &[]);
            let digests = [digest(one.to_string()), digest(respelled(&one))];
            prop_assert_eq!(digests[0], digests[1]);
            prop_assert_eq!(digest(other.to_string()) == digests[0], one == other);
            // However deep what differs lies.
            let wrapped = |value: &Value| {
                let value = serde_json::json!({"b": [value], "a": "x".repeat(80)});
                digest(serde_json::json!({"d": [value], "c": 1}).to_string())
            };
            prop_assert_eq!(wrapped(&one) == wrapped(&other), one == other);
        }

        #[test]
        fn what_is_sorted_for_a_digest_is_short(depth in 1..60_usize) {
            let raw = (0..depth).fold("1".repeat(200), |inner, _| {
                format!(r#"{{"b":[{inner}],"a":0}}"#)
            });
            prop_assert!(written(raw.as_bytes(), &[], true).len() <= DIGEST_LENGTH + 2);
            prop_assert!(written(raw.as_bytes(), &[], false).len() > 200);
        }

        #[test]
        fn members_are_found_and_left_out(
            members in btree_map(any::<String>(), json(), 1..8),
            chosen: proptest::sample::Index,
        ) {
            let key = members.keys().nth(chosen.index(members.len())).expect("a key");
            let object = Value::from_iter(members.clone());
            let raw = respelled(&object);
            let found = member(raw.as_bytes(), key).expect("the member");
            let expected = canonical(members[key].to_string().as_bytes(), &[]);
            prop_assert_eq!(canonical(found, &[]), expected);

            let mut others = members.clone();
            others.remove(key);
            let expected = canonical(Value::from_iter(others.clone()).to_string().as_bytes(), &[]);
            prop_assert_eq!(canonical(raw.as_bytes(), &[key]), expected);
            let raw = respelled(&Value::from_iter(others));
            prop_assert_eq!(member(raw.as_bytes(), key), None);
        }
    }

    #[test]
    fn only_the_members_of_the_value_itself_are_left_out_or_found() {
        let raw = br#"{"a":{"b":1},"b":[{"b":2}]}"#;
        assert_eq!(canonical(raw, &["b"]), r#"{"a":{"b":1}}"#);
        assert_eq!(member(br#"{"a":{"b":1}}"#, "b"), None);
        assert_eq!(member(b"[1]", "b"), None);
        assert_eq!(member(b"{}", "b"), None);
    }

    #[test]
    fn a_lone_surrogate_stays_as_it_is() {
        assert_eq!(
            canonical(br#"{"b" : "\uD800","a":1}"#, &[]),
            r#"{"a":1,"b":"\uD800"}"#
        );
    }
}
