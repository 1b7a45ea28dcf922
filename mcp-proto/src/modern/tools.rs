//! Which of a tool's parameters are mirrored in headers (MCP 2026-07-28, Streamable HTTP, "Custom
//! Headers from Tool Parameters").

use std::collections::BTreeMap;

use super::call::ModernRefusal;
use super::metadata::RequestMetadata;

/// The annotated parameters of a child's tools, as its `tools/list` tells them.
#[derive(Default, Debug)]
pub(crate) struct ToolHeaders {
    /// Of the tools that have any.
    tools: BTreeMap<Box<str>, Vec<Annotation>>,
}

/// A parameter that is mirrored.
#[derive(Debug)]
struct Annotation {
    /// What follows `Mcp-Param-`.
    suffix: Box<str>,
    /// The keys that lead to the value in the call's arguments.
    path: Vec<Box<str>>,
}

impl ToolHeaders {
    /// Takes note of a page of the list: `result` is a `tools/list` result's JSON text. Gives the
    /// JSON text of the cursor of the next page, if there is one.
    pub(crate) fn add_page(&mut self, _result: &[u8]) -> Option<Box<[u8]>> {
        todo!()
    }

    /// Judges a call of `tool`: whether the headers that mirror its arguments say what these say.
    /// `arguments` is the JSON text of the call's arguments, of a document that has been scanned.
    pub(crate) fn judge(
        &self,
        _tool: &str,
        _arguments: Option<&[u8]>,
        _metadata: &RequestMetadata,
    ) -> Result<(), ModernRefusal> {
        todo!()
    }
}
