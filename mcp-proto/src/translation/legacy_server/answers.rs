//! Answers: what the child says of a call, as a legacy server would.

use serde_json::value::RawValue;

use super::calls::{Call, Method};
use super::{LegacyServer, Output, code, members, response};
use crate::envelope::{Envelope, Field, Span};
use crate::framing::{Text, splice};
use crate::translation::json;

impl LegacyServer {
    /// The child has answered a call.
    pub(super) fn answered(
        &mut self,
        id: u64,
        call: Call,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        if let Some(error) = message.get(Field::Error) {
            return self.failed(id, call.method, error, text, document, message);
        }
        let Some(result) = message.get(Field::Result) else {
            return;
        };
        let kind = message.text(Field::ResultType, document);
        match (message.get(Field::ResultType), kind.as_deref()) {
            (None, _) | (_, Some("complete")) => {
                let cuts = members::cuts(document, modern_members(call.method, document, message));
                let edits: Vec<_> = cuts.into_iter().map(|cut| (cut, &b""[..])).collect();
                self.respond(id, "result", text, result, message, &edits);
            }
            (_, Some("input_required")) => self.input_required(id, call, result, document, message),
            // MCP 2026-07-28, "ResultType": what is not known is invalid.
            _ => self.error(
                id,
                code::INTERNAL_ERROR,
                "The server gave a result of an unknown type",
            ),
        }
    }

    /// The child has answered a call with an error.
    fn failed(
        &mut self,
        id: u64,
        method: Method,
        error: Span,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        let span = message.get(Field::ErrorCode);
        let code = match message.raw(Field::ErrorCode, document) {
            Some(b"-32602")
                if method == Method::ReadResource && names_resource(error.of(document)) =>
            {
                Some(code::RESOURCE_NOT_FOUND)
            }
            // The server's message says which capability is missing.
            Some(b"-32021") => Some(code::INVALID_PARAMS),
            // Of these the client has no part: it sent no such header and named no such revision.
            Some(b"-32020" | b"-32022") => {
                return self.error(
                    id,
                    code::INTERNAL_ERROR,
                    "The server refused a request that was translated for it",
                );
            }
            _ => None,
        };
        let code = code.map(|code| code.to_string());
        let edits: Vec<_> = span
            .zip(code.as_ref())
            .map(|(span, code)| (span, code.as_bytes()))
            .into_iter()
            .collect();
        self.respond(id, "error", text, error, message, &edits);
    }

    /// Answers the session with a part of the child's answer.
    fn respond(
        &mut self,
        id: u64,
        member: &str,
        text: Text<'_>,
        part: Span,
        message: &Envelope,
        edits: &[(Span, &[u8])],
    ) {
        let prefix = response(id, member);
        let line = splice(&prefix, text, part, message.has_line_breaks(), edits, b"}");
        self.outputs.push_back(Output::Line(line));
    }
}

/// The values of those members of a result that no legacy result has.
fn modern_members(method: Method, document: &[u8], message: &Envelope) -> Vec<Span> {
    let fields = [
        Field::ResultType,
        Field::ResultTtl,
        Field::ResultCacheScope,
        Field::ResultServerInfo,
    ];
    let values = fields.into_iter();
    let mut values: Vec<_> = values.filter_map(|field| message.get(field)).collect();
    // Legacy clients refuse the whole result for structured content, or for one tool's output
    // schema, that is not of an object; 2026-07-28 has them of any type.
    if method == Method::CallTool {
        let content = message.get(Field::ResultStructuredContent);
        values.extend(content.filter(|content| !content.of(document).starts_with(b"{")));
    } else if method == Method::ListTools
        && let Some(result) = message.raw(Field::Result, document)
    {
        let schemas = output_schemas(result).unwrap_or_default();
        let others = schemas.into_iter().filter(|schema| !is_of_object(schema));
        values.extend(others.map(|schema| span_in(document, schema)));
    }
    values
}

/// The output schemas in the result of `tools/list`.
fn output_schemas(result: &[u8]) -> Option<Vec<&RawValue>> {
    let result = json::members(result)?;
    let tools: Vec<&RawValue> = serde_json::from_str(result.get("tools")?.get()).ok()?;
    let schemas = tools.into_iter().filter_map(|tool| {
        let tool = json::members(tool.get().as_bytes())?;
        tool.get("outputSchema").copied()
    });
    Some(schemas.collect())
}

/// Whether a schema is of an object by its `type`.
fn is_of_object(schema: &RawValue) -> bool {
    let schema = json::members(schema.get().as_bytes());
    let kind = schema.and_then(|schema| json::text(&schema, "type"));
    kind.is_some_and(|kind| kind == "object")
}

/// Where a value lies in the document that it was read from.
fn span_in(document: &[u8], value: &RawValue) -> Span {
    let value = value.get().as_bytes();
    let start = value.as_ptr() as usize - document.as_ptr() as usize;
    Span {
        start: start as u32,
        end: (start + value.len()) as u32,
    }
}

/// Whether an error's data names a resource: then it says that there is none (MCP 2026-07-28,
/// resources, "Error Handling").
fn names_resource(error: &[u8]) -> bool {
    let data = json::members(error).and_then(|error| json::nested(&error, "data"));
    data.is_some_and(|data| data.contains_key("uri"))
}
