//! Which of a tool's parameters are mirrored in headers, and whether a call's headers say what its
//! arguments say (MCP 2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters").

use std::collections::BTreeMap;

use http::HeaderName;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::call::{ModernRefusal, mismatch};
use super::metadata::{RequestMetadata, decode};
use crate::envelope::{self, Number};
use crate::head::Field;

/// Most bytes of names and paths that are kept of one child's tools. What the headers of further ones
/// say is not judged: no list may hold more memory.
const BYTES: usize = 256 * 1024;

/// Most annotations of one tool. Each is a field of a head, and no head may have so many.
const ANNOTATIONS: usize = 100;

/// The keyword of JSON Schema that annotates a parameter.
const KEYWORD: &str = "x-mcp-header";

/// Keywords whose values are data, and no schemas (JSON Schema 2020-12, validation).
const DATA: [&str; 5] = ["const", "default", "enum", "examples", "required"];

/// Keywords whose values hold schemas by names of the author's choice (JSON Schema 2020-12, core;
/// `definitions` and `dependencies` are those of earlier drafts).
const NAMED: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// The annotated parameters of a child's tools, as its `tools/list` tells them.
#[derive(Default, Debug)]
pub(crate) struct ToolHeaders {
    /// Of the tools that have any, and none that is not valid.
    tools: BTreeMap<Box<str>, Vec<Annotation>>,
    /// Bytes of the names and paths in `tools`.
    bytes: usize,
}

/// A parameter that is mirrored.
#[derive(Debug, PartialEq, Eq)]
struct Annotation {
    /// What follows `Mcp-Param-`.
    suffix: Box<str>,
    /// The keys that lead to the value in the call's arguments.
    path: Vec<Box<str>>,
}

/// The tool's definition is not valid, and clients leave it out.
struct Invalid;

impl ToolHeaders {
    /// Takes note of a page of the list: `result` is a `tools/list` result's JSON text. Gives the
    /// JSON text of the cursor of the next page, if there is one.
    pub(crate) fn add_page(&mut self, result: &[u8]) -> Option<String> {
        // Each tool is read by itself: one that cannot be does not hide the others.
        let tools = envelope::member(result, "tools");
        let tools = tools.and_then(|tools| serde_json::from_slice::<Vec<&RawValue>>(tools).ok());
        for tool in tools.into_iter().flatten() {
            let tool = tool.get().as_bytes();
            let name = envelope::member(tool, "name").and_then(envelope::decode_string);
            let schema = envelope::member(tool, "inputSchema");
            let schema = schema.and_then(|schema| serde_json::from_slice(schema).ok());
            if let (Some(name), Some(schema)) = (name, schema) {
                self.add(&name, &schema);
            }
        }
        let cursor = envelope::member(result, "nextCursor")?;
        let cursor = str::from_utf8(cursor).ok()?;
        cursor.starts_with('"').then(|| cursor.to_owned())
    }

    fn add(&mut self, tool: &str, schema: &Value) {
        let mut annotations = Vec::new();
        if annotations_of(schema, Some(&mut Vec::new()), &mut annotations).is_err()
            || annotations.is_empty()
        {
            return;
        }
        let bytes = cost(tool, &annotations);
        if self.bytes + bytes <= BYTES {
            self.bytes += bytes;
            if let Some(before) = self.tools.insert(tool.into(), annotations) {
                self.bytes -= cost(tool, &before);
            }
        }
    }

    /// Judges a call of `tool`: whether the headers that mirror its arguments say what these say.
    /// `arguments` is the JSON text of the call's arguments, of a document that has been scanned.
    pub(crate) fn judge(
        &self,
        tool: &str,
        arguments: Option<&[u8]>,
        metadata: &RequestMetadata,
    ) -> Result<(), ModernRefusal> {
        let annotations = self.tools.get(tool).into_iter().flatten();
        for Annotation { suffix, path } in annotations {
            let value = arguments.and_then(|arguments| {
                path.iter()
                    .try_fold(arguments, |value, key| envelope::member(value, key))
            });
            let value = value.filter(|value| *value != b"null");
            let says = match (metadata.param(suffix), value) {
                (Field::Absent, None) => true,
                (Field::One(header), Some(value)) => is_mirrored(value, header),
                _ => false,
            };
            if !says {
                return Err(mismatch(format!("Mcp-Param-{suffix}")));
            }
        }
        Ok(())
    }
}

/// The bytes that a tool's name and annotations take.
fn cost(tool: &str, annotations: &[Annotation]) -> usize {
    let lengths = annotations.iter().map(|annotation| {
        let path = annotation.path.iter();
        annotation.suffix.len() + path.map(|key| key.len()).sum::<usize>()
    });
    tool.len() + lengths.sum::<usize>()
}

/// Finds the annotations in a schema. `path` leads to it from the root; `None` if something else than
/// `properties` does, which no annotation may.
fn annotations_of(
    schema: &Value,
    mut path: Option<&mut Vec<Box<str>>>,
    found: &mut Vec<Annotation>,
) -> Result<(), Invalid> {
    let keywords = match schema {
        Value::Object(keywords) => keywords,
        Value::Array(schemas) => {
            return schemas
                .iter()
                .try_for_each(|schema| annotations_of(schema, None, found));
        }
        _ => return Ok(()),
    };
    if let Some(suffix) = keywords.get(KEYWORD) {
        let path = path.as_deref().filter(|path| !path.is_empty());
        let is_token = |suffix: &&str| HeaderName::from_bytes(suffix.as_bytes()).is_ok();
        let suffix = suffix.as_str().filter(is_token);
        let (Some(path), Some(suffix), true) = (path, suffix, is_primitive(keywords)) else {
            return Err(Invalid);
        };
        let is_taken = |other: &Annotation| other.suffix.eq_ignore_ascii_case(suffix);
        if found.len() == ANNOTATIONS || found.iter().any(is_taken) {
            return Err(Invalid);
        }
        found.push(Annotation {
            suffix: suffix.into(),
            path: path.clone(),
        });
    }
    for (keyword, value) in keywords {
        if keyword == KEYWORD || DATA.contains(&keyword.as_str()) {
            continue;
        }
        let named = value.as_object();
        match named.filter(|_| NAMED.contains(&keyword.as_str())) {
            Some(schemas) => {
                for (name, schema) in schemas {
                    match path.as_deref_mut().filter(|_| keyword == "properties") {
                        Some(path) => {
                            path.push(name.as_str().into());
                            annotations_of(schema, Some(path), found)?;
                            path.pop();
                        }
                        None => annotations_of(schema, None, found)?,
                    }
                }
            }
            None => annotations_of(value, None, found)?,
        }
    }
    Ok(())
}

fn is_primitive(keywords: &Map<String, Value>) -> bool {
    let kind = keywords.get("type").and_then(Value::as_str);
    matches!(kind, Some("integer" | "string" | "boolean"))
}

/// Whether `header` says what an argument does, whose JSON text is `value`. Numbers are compared by
/// their values; objects and arrays cannot be mirrored.
fn is_mirrored(value: &[u8], header: &[u8]) -> bool {
    let Some(header) = decode(header) else {
        return false;
    };
    match value.first() {
        Some(b'"') => envelope::decode_string(value).is_some_and(|text| text == header),
        Some(b't' | b'f') => value == header.as_bytes(),
        Some(b'-' | b'0'..=b'9') => {
            value == header.as_bytes()
                || Number::parse(value)
                    .is_some_and(|number| Number::parse(header.as_bytes()) == Some(number))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::super::metadata::encode;
    use super::super::tests::metadata;
    use super::*;
    use crate::error_data::ErrorData;
    use crate::refusal::Refusal;
    use crate::version::MODERN;

    fn tools(schema: Value) -> ToolHeaders {
        let mut tools = ToolHeaders::default();
        let page = json!({"tools": [{"name": "t", "inputSchema": schema}]});
        assert_eq!(tools.add_page(page.to_string().as_bytes()), None);
        tools
    }

    /// Whether a call of `t` is taken, and if not, which header is wrong.
    fn judged(
        tools: &ToolHeaders,
        arguments: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Result<(), String> {
        let version = ("MCP-Protocol-Version", MODERN);
        let fields: Vec<_> = [version].iter().chain(fields).copied().collect();
        let metadata = metadata(&fields).expect("a modern head");
        let arguments = arguments.map(str::as_bytes);
        tools.judge("t", arguments, &metadata).map_err(|refused| {
            assert_eq!(refused.refusal, Refusal::HeaderMismatch);
            match refused.data {
                Some(ErrorData::Header(header)) => header.into_owned(),
                other => panic!("{other:?} names no header"),
            }
        })
    }

    /// The specification's `execute_sql`.
    fn sql() -> Value {
        json!({
            "type": "object",
            "properties": {
                "region": {
                    "type": "string",
                    "description": "The region to execute the query in",
                    "x-mcp-header": "Region",
                },
                "query": {"type": "string", "description": "The SQL query to execute"},
            },
            "required": ["region", "query"],
        })
    }

    #[test]
    fn the_specifications_call_is_taken() {
        let tools = tools(sql());
        let arguments = r#"{"region":"us-west1","query":"SELECT * FROM users"}"#;
        let encoded = encode("us-west1");
        let region = |value| ("Mcp-Param-Region", value);
        let wrong = Err("Mcp-Param-Region".to_owned());
        let judged = |fields: &[_]| judged(&tools, Some(arguments), fields);
        assert_eq!(judged(&[region("us-west1")]), Ok(()));
        assert_eq!(judged(&[("MCP-PARAM-REGION", "us-west1")]), Ok(()));
        assert_eq!(judged(&[region(&encoded)]), Ok(()));
        assert_eq!(
            judged(&[region("us-west1"), ("Mcp-Param-Other", "x")]),
            Ok(())
        );
        assert_eq!(judged(&[region("us-east1")]), wrong);
        assert_eq!(judged(&[region("US-WEST1")]), wrong);
        assert_eq!(judged(&[("Mcp-Param-Regio", "us-west1")]), wrong);
        assert_eq!(judged(&[]), wrong);
        assert_eq!(judged(&[region("us-west1"), region("us-west1")]), wrong);
    }

    #[test]
    fn where_there_is_no_value_there_is_to_be_no_header() {
        let tools = tools(sql());
        for arguments in [None, Some("{}"), Some(r#"{"region":null}"#), Some("[1]")] {
            assert_eq!(judged(&tools, arguments, &[]), Ok(()), "{arguments:?}");
            let sent = [("Mcp-Param-Region", "null")];
            assert!(judged(&tools, arguments, &sent).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn of_other_tools_nothing_is_mirrored() {
        let tools = tools(sql());
        let fields = [("MCP-Protocol-Version", MODERN), ("Mcp-Param-Region", "x")];
        let metadata = metadata(&fields).expect("a modern head");
        let arguments = br#"{"region":"a"}"#;
        assert_eq!(tools.judge("other", Some(arguments), &metadata), Ok(()));
    }

    #[test]
    fn numbers_are_equal_by_their_values() {
        let tools = tools(json!({"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}));
        for (value, header, is_equal) in [
            ("42", "42", true),
            ("42", "42.0", true),
            ("42.0", "42", true),
            ("4.2e1", "42", true),
            ("-7", "-7", true),
            ("0", "-0", true),
            ("9007199254740993", "9007199254740993", true),
            ("9007199254740993", "9007199254740992", false),
            ("42", "43", false),
            ("42", "-42", false),
            ("42", "042", false),
            ("42", "0x2a", false),
            ("42", "", false),
            ("1e9999999999999999999", "1e9999999999999999999", true),
            ("1e9999999999999999999", "2e9999999999999999999", false),
            (r#""42""#, "42.0", false),
            ("true", "true", true),
            ("true", "True", false),
            ("false", "true", false),
            ("[42]", "[42]", false),
            ("{}", "{}", false),
        ] {
            let arguments = format!(r#"{{"n" : {value} }}"#);
            for header in [header, &encode(header)] {
                let judged = judged(&tools, Some(&arguments), &[("Mcp-Param-N", header)]);
                assert_eq!(judged.is_ok(), is_equal, "{value} {header}");
            }
        }
    }

    #[test]
    fn a_tool_with_an_annotation_that_is_not_valid_has_none() {
        let text = |header: Value| json!({"type": "string", "x-mcp-header": header});
        let good = text(json!("Good"));
        let beside = |bad: Value| json!({"properties": {"good": good, "bad": bad}});
        for schema in [
            beside(text(json!(""))),
            beside(text(json!("a b"))),
            beside(text(json!("a\r\nb"))),
            beside(text(json!("größe"))),
            beside(text(json!("a:b"))),
            beside(text(json!(5))),
            beside(text(json!("GOOD"))),
            beside(json!({"type": "number", "x-mcp-header": "A"})),
            beside(json!({"type": "object", "x-mcp-header": "A"})),
            beside(json!({"type": ["string", "null"], "x-mcp-header": "A"})),
            beside(json!({"x-mcp-header": "A"})),
            beside(json!({"type": "array", "items": text(json!("A"))})),
            beside(json!({"type": "array", "items": {"properties": {"a": text(json!("A"))}}})),
            beside(json!({"oneOf": [text(json!("A"))]})),
            beside(json!({"not": {"properties": {"a": text(json!("A"))}}})),
            json!({"properties": {"good": good}, "x-mcp-header": "A", "type": "string"}),
            json!({"properties": {"good": good}, "if": {"properties": {"a": text(json!("A"))}}}),
            json!({"properties": {"good": good}, "$defs": {"a": text(json!("A"))}}),
            json!({"properties": {"good": good}, "$defs": {"default": text(json!("A"))}}),
            json!({"properties": {"good": good}, "patternProperties": {"a": text(json!("A"))}}),
            json!({"properties": {"good": good}, "additionalProperties": text(json!("A"))}),
        ] {
            let headers = tools(schema.clone());
            assert_eq!(headers.tools.len(), 0, "{schema}");
        }
    }

    #[test]
    fn what_only_looks_like_an_annotation_is_none() {
        let annotated = json!({"type": "string", "x-mcp-header": "A"});
        for (schema, expected) in [
            (
                json!({"properties": {"x-mcp-header": {"type": "string"}}}),
                None,
            ),
            (
                json!({"properties": {"x-mcp-header": annotated}}),
                Some(vec!["x-mcp-header"]),
            ),
            (
                json!({"properties": {"a": {"default": annotated}, "b": annotated}}),
                Some(vec!["b"]),
            ),
            (
                json!({"properties": {"a": {"enum": [annotated]}, "b": annotated}}),
                Some(vec!["b"]),
            ),
            (
                json!({"properties": {"default": {"properties": {"b": annotated}}}}),
                Some(vec!["default", "b"]),
            ),
            (
                json!({"properties": {"properties": {"properties": {"b": annotated}}}}),
                Some(vec!["properties", "b"]),
            ),
            (json!({"properties": [1], "type": "object"}), None),
            (json!(true), None),
        ] {
            let headers = tools(schema.clone());
            let path = headers.tools.get("t").map(|found| &found[0].path[..]);
            let expected = expected.map(|keys| keys.into_iter().map(Box::from).collect::<Vec<_>>());
            assert_eq!(path, expected.as_deref(), "{schema}");
        }
    }

    #[test]
    fn pages_are_read_until_there_is_no_cursor() {
        let page = |name: &str, cursor: Value| {
            json!({"tools": [{"name": name, "inputSchema": sql()}], "nextCursor": cursor})
                .to_string()
        };
        let mut tools = ToolHeaders::default();
        let cursor = tools.add_page(page("a", json!("p\"2\u{e4}")).as_bytes());
        assert_eq!(cursor.as_deref(), Some(r#""p\"2ä""#));
        assert_eq!(tools.add_page(page("b", Value::Null).as_bytes()), None);
        assert_eq!(tools.add_page(b"{}"), None);
        assert_eq!(tools.add_page(b"nonsense"), None);
        assert_eq!(
            tools.add_page(br#"{"tools":[1,{"name":5},{"inputSchema":{}}]}"#),
            None
        );
        let names: Vec<_> = tools.tools.keys().map(|name| &**name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_tool_that_cannot_be_read_hides_no_other_and_no_further_page() {
        let annotated = json!({"name": "a", "inputSchema": sql()});
        for odd in [
            r#"{"name":"b","description":"\ud800","inputSchema":{}}"#,
            r#"{"name":"b","inputSchema":{"default":1e400}}"#,
            r#"{"name":"\ud800","inputSchema":{}}"#,
            r#"{"name":"b","inputSchema":{"\ud800":1}}"#,
        ] {
            let page = format!(r#"{{"tools":[{odd},{annotated}],"nextCursor":"c"}}"#);
            let mut tools = ToolHeaders::default();
            assert_eq!(tools.add_page(page.as_bytes()).as_deref(), Some(r#""c""#));
            assert!(tools.tools.contains_key("a"), "{odd}");
        }
    }

    #[test]
    fn a_tool_that_is_listed_again_takes_no_more_room() {
        let page = json!({"tools": [{"name": "a", "inputSchema": sql()}]}).to_string();
        let mut tools = ToolHeaders::default();
        tools.add_page(page.as_bytes());
        let once = tools.bytes;
        tools.add_page(page.as_bytes());
        assert_eq!(tools.bytes, once);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut tools = ToolHeaders::default();
        let name = |n: usize| format!("{n:0>1000}");
        for n in 0..1000 {
            let page = json!({"tools": [{"name": name(n), "inputSchema": sql()}]});
            tools.add_page(page.to_string().as_bytes());
        }
        assert_eq!(
            tools.tools.len(),
            BYTES / (1000 + "Region".len() + "region".len())
        );
    }

    #[test]
    fn a_tool_with_more_annotations_than_a_head_can_mirror_has_none() {
        for (count, kept) in [(100, 1), (101, 0)] {
            let property = |n| json!({"type": "string", "x-mcp-header": format!("P{n}")});
            let properties = (0..count).map(|n| (format!("p{n}"), property(n)));
            let schema = json!({"properties": Value::from_iter(properties)});
            assert_eq!(tools(schema).tools.len(), kept);
        }
    }

    /// The plainest reading of the rules for one parameter.
    fn is_expected(value: &Value, headers: &[&str]) -> bool {
        let text = match value {
            Value::Null => return headers.is_empty(),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => return false,
        };
        let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && !(text.starts_with("=?base64?") && text.ends_with("?="));
        headers == [encode(&text)] || is_plain && headers == [&*text]
    }

    proptest! {
        #[test]
        fn arguments_are_judged_as_by_the_plainest_reading(
            outer in select(vec![
                json!(null), json!("a"), json!("größe"), json!(true), json!(7), json!([1]),
                json!("=?base64?YQ==?="), json!("7"), json!({"inner": "b"}),
            ]),
            inner in select(vec![json!(null), json!("b"), json!(false), json!(-1), json!({})]),
            first in proptest::collection::vec(select(vec![
                "a", "7", "true", "=?base64?YQ==?=", "=?base64?Z3LDtsOfZQ==?=", "=?base64?Nw==?=",
                "=?base64?PT9iYXNlNjQ/WVE9PT89?=", "größe", "[1]", "null", "",
            ]), 0..3),
            second in proptest::collection::vec(
                select(vec!["b", "false", "-1", "{}", "=?base64?Yg==?=", "null"]), 0..3,
            ),
        ) {
            let tools = tools(json!({"type": "object", "properties": {
                "a": {"type": "string", "x-mcp-header": "First"},
                "o": {"type": "object", "properties": {
                    "b": {"type": "boolean", "x-mcp-header": "Second"},
                }},
            }}));
            let arguments = json!({"b": "not this", "o": {"a": "nor this", "b": inner}, "a": outer});
            let fields: Vec<_> = first.iter().map(|&value| ("Mcp-Param-First", value))
                .chain(second.iter().map(|&value| ("mcp-param-second", value)))
                .collect();
            let judged = judged(&tools, Some(&arguments.to_string()), &fields);
            let expected = is_expected(&outer, &first) && is_expected(&inner, &second);
            prop_assert_eq!(judged.is_ok(), expected, "{} {:?}", arguments, fields);
        }
    }
}
