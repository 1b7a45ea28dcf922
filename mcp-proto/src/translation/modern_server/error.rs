//! Errors: those that a legacy server may answer with, and what a modern client may see of them.
//!
//! Of the codes that JSON-RPC leaves to implementations, 2026-07-28 keeps -32020 to -32099 for itself
//! and names three of them; its clients would misread what older servers made of the others.

use serde_json::Value;

use super::ModernServer;
use super::calls::Call;
use super::capabilities::{ELICITATION_ID, input_request};
use super::result::SERVER_INFO;
use crate::decimal::Decimal;
use crate::envelope::{Envelope, Field};
use crate::framing::{Frame, Text, splice};
use crate::translation::TranslationOutput;
use crate::translation::json::{is_object, members, object, quoted, text as text_of};

pub(super) const METHOD_NOT_FOUND: i64 = -32601;
pub(super) const INVALID_PARAMS: i64 = -32602;
pub(super) const INTERNAL_ERROR: i64 = -32603;
/// MCP 2026-07-28, `MissingRequiredClientCapabilityError`.
const MISSING_CAPABILITY: i64 = -32021;
/// MCP 2025-11-25, resources, "Error Handling".
const RESOURCE_NOT_FOUND: i64 = -32002;
/// MCP 2025-11-25, elicitation, "URL Elicitation Required Error".
const URL_ELICITATION_REQUIRED: i64 = -32042;

/// An error response, on one line; `id` and `data` are raw JSON.
pub(super) fn error_response(id: &str, code: i64, message: &str, data: Option<&str>) -> String {
    let (code, message) = (code.to_string(), quoted(message));
    let members = [("code", &*code), ("message", &message)];
    let error = object(members.into_iter().chain(data.map(|data| ("data", data))));
    object([("jsonrpc", "\"2.0\""), ("id", id), ("error", &error)])
}

impl ModernServer {
    /// Answers a request with an error of the gateway's own.
    pub(super) fn refuse(&mut self, request: u64, code: i64, message: &str) {
        let response = error_response(&request.to_string(), code, message, None);
        self.line_for_client(response);
    }

    /// The call has failed for what the client has not declared.
    pub(super) fn miss_capability(&mut self, request: u64, missing: &Value) {
        let data = format!("{{\"requiredCapabilities\":{missing}}}");
        self.line_for_client(error_response(
            &request.to_string(),
            MISSING_CAPABILITY,
            "The server needs a capability that the client has not declared.",
            Some(&data),
        ));
    }

    /// Answers a request with the child's error.
    pub(super) fn pass_error(
        &mut self,
        request: u64,
        call: &Call,
        text: Text<'_>,
        message: &Envelope,
    ) {
        let document = text.as_bytes();
        let code = message.raw(Field::ErrorCode, document);
        let code = code.and_then(|code| str::from_utf8(code).ok()?.parse().ok());
        let reserved = code.filter(|code: &i64| {
            (-32099..=-32000).contains(code) && !(-32022..=-32020).contains(code)
        });
        let Some(code) = reserved else {
            return self.pass_error_as_it_is(request, text, message);
        };
        let error = message.raw(Field::Error, document).and_then(members);
        let error = error.unwrap_or_default();
        let said = text_of(&error, "message").unwrap_or_default();
        let data = error.get("data").map(|data| data.get());
        let id = request.to_string();
        let not_found = (code == RESOURCE_NOT_FOUND)
            .then(|| with_uri(data, call))
            .flatten();
        let elicitations = (code == URL_ELICITATION_REQUIRED)
            .then(|| url_elicitations(data, call))
            .flatten();
        let response = if let Some(data) = not_found {
            error_response(&id, INVALID_PARAMS, &said, Some(&data))
        } else if let Some(requests) = elicitations {
            if !self.client.elicitation_url {
                let missing = serde_json::json!({"elicitation": {"url": {}}});
                return self.miss_capability(request, &missing);
            }
            self.input_required(request, &requests, None)
        } else {
            let code = code.to_string();
            let members = [("code", &*code)].into_iter();
            let data = object(members.chain(data.map(|data| ("data", data))));
            error_response(&id, INTERNAL_ERROR, &said, Some(&data))
        };
        self.line_for_client(response);
    }

    fn pass_error_as_it_is(&mut self, request: u64, text: Text<'_>, message: &Envelope) {
        let id = Decimal::new(request);
        let edit = message.get(Field::Id).map(|span| (span, id.as_bytes()));
        let frame: Frame = splice(
            b"",
            text,
            message.span(),
            message.has_line_breaks(),
            edit.as_slice(),
            b"",
        );
        self.outputs.push_back(TranslationOutput::ToClient(frame));
    }

    /// An answer that asks the client for input, as JSON; `requests` are the members of
    /// `inputRequests`.
    pub(super) fn input_required(
        &self,
        request: u64,
        requests: &[(String, String)],
        state: Option<&str>,
    ) -> String {
        let requests = requests.iter();
        let requests = object(requests.map(|(key, request)| (key, &**request)));
        let state = state.map(quoted);
        let meta = self
            .server_info()
            .map(|info| format!("{{{SERVER_INFO}{info}}}"));
        let result = object(
            [
                ("resultType", "\"input_required\""),
                ("inputRequests", &requests),
            ]
            .into_iter()
            .chain(state.as_deref().map(|state| ("requestState", state)))
            .chain(meta.as_deref().map(|meta| ("_meta", meta))),
        );
        let id = request.to_string();
        object([("jsonrpc", "\"2.0\""), ("id", &*id), ("result", &result)])
    }
}

/// The error's data with the URI of the resource that is not there, if it is known.
fn with_uri(data: Option<&str>, call: &Call) -> Option<String> {
    let read = data.and_then(|data| members(data.as_bytes()));
    let mut data: Vec<_> = read
        .iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.get()))
        .collect();
    if !data.iter().any(|(name, _)| *name == "uri") {
        let uri = call.uri.as_deref()?;
        data.push(("uri", str::from_utf8(uri).ok()?));
    }
    Some(object(data))
}

/// The URLs that the error tells to visit, as input requests.
fn url_elicitations(data: Option<&str>, call: &Call) -> Option<Vec<(String, String)>> {
    let data = members(data?.as_bytes())?;
    let elicitations: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(data.get("elicitations")?.get()).ok()?;
    let requests = elicitations.iter().zip(1..).map(|(params, number)| {
        let params = is_object(params).then_some(params.get())?;
        let request = input_request("elicitation/create", Some(params), Some(ELICITATION_ID));
        Some((format!("request-{number}"), request))
    });
    let requests = requests.collect::<Option<Vec<_>>>()?;
    (call.kind.may_ask_for_input() && !requests.is_empty()).then_some(requests)
}
