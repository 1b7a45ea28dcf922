//! Whether one JSON value holds another.

use serde_json::Value;

use crate::text;

/// Says where `found` does not hold `expected`, if it does not.
///
/// An object holds the members that are given and any others; an array holds as many elements as
/// are given, each in its place. A string `any:` stands for any value at all, `absent:` for a
/// member that must not be there, and one that begins with `glob:` for the strings that the rest of
/// it describes. All else is equal or is not.
///
/// # Errors
///
/// The place, and what stands there.
pub fn holds(found: &Value, expected: &Value) -> Result<(), String> {
    at("", found, expected)
}

fn at(place: &str, found: &Value, expected: &Value) -> Result<(), String> {
    let wrong = |why: String| {
        let place = if place.is_empty() { "the value" } else { place };
        Err(format!("{place}: {why}"))
    };
    match (expected, found) {
        (Value::String(text), _) if text == "any:" => Ok(()),
        (Value::String(text), _) if text.starts_with("glob:") => {
            let pattern = &text["glob:".len()..];
            match found.as_str() {
                Some(found) if text::glob(pattern.as_bytes(), found.as_bytes()) => Ok(()),
                _ => wrong(format!("{found} is not like {pattern:?}")),
            }
        }
        (Value::Object(expected), Value::Object(found)) => {
            for (key, expected) in expected {
                let place = format!("{place}/{key}");
                match found.get(key) {
                    _ if expected == "absent:" => match found.get(key) {
                        Some(value) => return Err(format!("{place}: {value} is there")),
                        None => continue,
                    },
                    Some(value) => at(&place, value, expected)?,
                    None => return Err(format!("{place}: not there")),
                }
            }
            Ok(())
        }
        (Value::Array(expected), Value::Array(found)) => {
            if expected.len() != found.len() {
                return wrong(format!(
                    "{} elements, expected {}",
                    found.len(),
                    expected.len()
                ));
            }
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.try_for_each(|(index, (expected, found))| {
                at(&format!("{place}/{index}"), found, expected)
            })
        }
        _ if expected == found => Ok(()),
        _ => wrong(format!("{found}, expected {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_given_must_be_there_and_more_may() {
        let found = json!({"a": 1, "b": {"c": [1, {"d": null, "e": "x-y"}]}});
        for (expected, why) in [
            (json!({}), None),
            (json!({"a": 1}), None),
            (json!({"b": {"c": [1, {}]}}), None),
            (json!({"b": {"c": [1, {"d": null}]}}), None),
            (json!({"b": {"c": ["any:", {"e": "glob:x*"}]}}), None),
            (json!({"z": "absent:"}), None),
            (json!({"a": "absent:"}), Some("/a: 1 is there")),
            (json!({"a": 2}), Some("/a: 1, expected 2")),
            (json!({"a": "1"}), Some("/a: 1, expected \"1\"")),
            (json!({"z": null}), Some("/z: not there")),
            (json!({"z": "any:"}), Some("/z: not there")),
            (
                json!({"b": {"c": [1]}}),
                Some("/b/c: 2 elements, expected 1"),
            ),
            (
                json!({"b": {"c": [1, {"e": "glob:*z"}]}}),
                Some("/b/c/1/e: \"x-y\" is not like \"*z\""),
            ),
            (json!([]), Some("the value: ")),
        ] {
            match (holds(&found, &expected), why) {
                (Ok(()), None) => {}
                (Err(error), Some(why)) => assert!(error.starts_with(why), "{error}"),
                (result, _) => panic!("{expected}: {result:?}"),
            }
        }
    }
}
