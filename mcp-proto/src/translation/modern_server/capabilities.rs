//! What a child may ask of the client, by what the client has declared.

use serde_json::{Value, json};

use crate::translation::json::{Members, members, object, quoted};

/// Of the capabilities that the child was initialised with, those that let it ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Declared {
    roots: bool,
    sampling: bool,
    sampling_tools: bool,
    sampling_context: bool,
    elicitation_form: bool,
    pub(super) elicitation_url: bool,
}

/// What the child asks of the client.
pub(super) enum Asked {
    /// An input request, as JSON on one line (MCP 2026-07-28, MRTR, "InputRequests").
    For(String),
    /// What the client has not declared, as `ClientCapabilities` that it would have to declare.
    Undeclared(Value),
    /// Nothing that makes sense.
    Malformed,
    /// Nothing that a client can be asked.
    Unknown,
}

impl Declared {
    /// Reads `ClientCapabilities` (schema 2026-07-28).
    pub(super) fn read(raw: &[u8]) -> Self {
        let declared: Value = serde_json::from_slice(raw).unwrap_or_default();
        let has = |path: &str| declared.pointer(path).is_some_and(Value::is_object);
        Self {
            roots: has("/roots"),
            sampling: has("/sampling"),
            sampling_tools: has("/sampling/tools"),
            sampling_context: has("/sampling/context"),
            // None of the two is the form (MCP 2026-07-28, elicitation, "Capabilities").
            elicitation_form: has("/elicitation/form")
                || has("/elicitation") && !has("/elicitation/url"),
            elicitation_url: has("/elicitation/url"),
        }
    }

    /// Whether the client can be asked for anything.
    pub(super) fn has_any(self) -> bool {
        self.roots || self.sampling || self.elicitation_form || self.elicitation_url
    }

    /// What a request of the child's is to the client; `params` is raw JSON.
    pub(super) fn judge(self, method: &str, params: Option<&[u8]>) -> Asked {
        let Some(read) = members(params.unwrap_or(b"{}")) else {
            return Asked::Malformed;
        };
        let mut left_out = None;
        let missing = match method {
            "roots/list" => (!self.roots).then(|| json!({"roots": {}})),
            "sampling/createMessage" => {
                // Context may be left out by whoever carries out the request; a client that has
                // not declared it is not to be asked for it (schema, `includeContext`).
                left_out = (!self.sampling_context).then_some("includeContext");
                let uses_tools = read.contains_key("tools") || read.contains_key("toolChoice");
                if uses_tools && !self.sampling_tools {
                    Some(json!({"sampling": {"tools": {}}}))
                } else {
                    (!self.sampling).then(|| json!({"sampling": {}}))
                }
            }
            "elicitation/create" => match mode(&read).as_deref() {
                Some("form") => {
                    (!self.elicitation_form).then(|| json!({"elicitation": {"form": {}}}))
                }
                Some("url") => {
                    left_out = Some(ELICITATION_ID);
                    (!self.elicitation_url).then(|| json!({"elicitation": {"url": {}}}))
                }
                _ => return Asked::Malformed,
            },
            _ => return Asked::Unknown,
        };
        match missing {
            Some(missing) => Asked::Undeclared(missing),
            None => {
                let params = params.and_then(|params| str::from_utf8(params).ok());
                Asked::For(input_request(method, params, left_out))
            }
        }
    }
}

/// What a URL elicitation had until 2025-11-25, to tell its end by.
pub(super) const ELICITATION_ID: &str = "elicitationId";

fn mode(params: &Members<'_>) -> Option<String> {
    match params.get("mode") {
        None => Some("form".to_owned()),
        Some(mode) => serde_json::from_str(mode.get()).ok(),
    }
}

/// An input request, as JSON on one line: with the parameters as they are, but for the one that is
/// `left_out`.
pub(super) fn input_request(method: &str, params: Option<&str>, left_out: Option<&str>) -> String {
    let method = quoted(method);
    let kept = params.and_then(|params| {
        let mut params = members(params.as_bytes())?;
        params.remove(left_out?)?;
        Some(object(
            params.iter().map(|(name, value)| (name, value.get())),
        ))
    });
    let params = kept.as_deref().or(params);
    object(
        [("method", &*method)]
            .into_iter()
            .chain(params.map(|params| ("params", params))),
    )
}
