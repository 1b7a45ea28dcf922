//! Which of a tool's parameters are mirrored in headers, and whether a call's headers say what its
//! arguments say (MCP 2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters").

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::call::{ModernRefusal, mismatch};
use super::metadata::{RequestMetadata, decode};
use crate::envelope::{self, Number};
use crate::head::Field;

/// Most bytes of names and paths that are kept of one child's tools. A list beyond it has more
/// annotations than any client could send headers.
const BYTES: usize = 256 * 1024;

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
        let page: Value = serde_json::from_slice(result).ok()?;
        let tools = page.get("tools").and_then(Value::as_array);
        for tool in tools.into_iter().flatten() {
            if let (Some(Value::String(name)), Some(schema)) =
                (tool.get("name"), tool.get("inputSchema"))
            {
                self.add(name, schema);
            }
        }
        let cursor = page.get("nextCursor").filter(|cursor| cursor.is_string());
        cursor.map(Value::to_string)
    }

    fn add(&mut self, tool: &str, schema: &Value) {
        let mut annotations = Vec::new();
        if annotations_of(schema, Some(&mut Vec::new()), &mut annotations).is_err()
            || annotations.is_empty()
        {
            return;
        }
        let lengths = annotations.iter().map(|annotation| {
            let path = annotation.path.iter();
            annotation.suffix.len() + path.map(|key| key.len()).sum::<usize>()
        });
        let bytes = tool.len() + lengths.sum::<usize>();
        if self.bytes + bytes <= BYTES {
            self.bytes += bytes;
            self.tools.insert(tool.into(), annotations);
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
        let suffix = suffix.as_str().filter(|suffix| is_token(suffix));
        let (Some(path), Some(suffix), true) = (path, suffix, is_primitive(keywords)) else {
            return Err(Invalid);
        };
        let is_taken = |other: &Annotation| other.suffix.eq_ignore_ascii_case(suffix);
        if found.iter().any(is_taken) {
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

/// `1*tchar` (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
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
