//! JSON-RPC 2.0 in lines: what is read, what is written, and the errors.

use super::locked;
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;

/// A message from the client.
pub(super) enum Message {
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notification {
        method: String,
        params: Value,
    },
    /// To a request of ours: a result, or an error.
    Answer {
        id: Value,
        outcome: Result<Value, Value>,
    },
}

impl Message {
    pub(super) fn read(mut value: Value) -> Result<Self, Failure> {
        let wrong = || Failure::invalid_request("not a JSON-RPC 2.0 message");
        if value["jsonrpc"] != "2.0" {
            return Err(wrong());
        }
        let message = value.as_object_mut().ok_or_else(wrong)?;
        let id = message.remove("id");
        let params = message.remove("params").unwrap_or_default();
        let method = message.remove("method");
        match (id, method) {
            (Some(id), Some(Value::String(method))) if id.is_string() || id.is_number() => {
                Ok(Self::Request { id, method, params })
            }
            (None, Some(Value::String(method))) => Ok(Self::Notification { method, params }),
            (Some(id), None) => {
                let outcome = match (message.remove("result"), message.remove("error")) {
                    (Some(result), None) => Ok(result),
                    (None, Some(error)) => Err(error),
                    _ => return Err(wrong()),
                };
                Ok(Self::Answer { id, outcome })
            }
            _ => Err(wrong()),
        }
    }
}

/// A JSON-RPC error.
#[derive(Debug)]
pub(super) struct Failure {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl Failure {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    pub(super) fn parse(error: &dyn fmt::Display) -> Self {
        Self::new(-32700, format!("Parse error: {error}"))
    }

    pub(super) fn invalid_request(why: &str) -> Self {
        Self::new(-32600, format!("Invalid request: {why}"))
    }

    pub(super) fn method_not_found(method: &str) -> Self {
        Self::new(-32601, format!("Method not found: {method}"))
    }

    pub(super) fn invalid_params(why: impl fmt::Display) -> Self {
        Self::new(-32602, format!("Invalid params: {why}"))
    }

    pub(super) fn resource_not_found(uri: &Value) -> Self {
        Self {
            data: Some(json!({"uri": uri})),
            ..Self::new(-32002, "Resource not found")
        }
    }
}

/// The way to the client: whole lines, one at a time.
pub(super) struct Wire<W> {
    output: Mutex<Output<W>>,
}

struct Output<W> {
    writer: W,
    /// The first error, until the reading thread asks for it.
    broken: Option<io::Error>,
}

impl<W: Write> Wire<W> {
    pub(super) fn new(writer: W) -> Self {
        let broken = None;
        let output = Mutex::new(Output { writer, broken });
        Self { output }
    }

    /// Whether everything could be written so far.
    pub(super) fn health(&self) -> io::Result<()> {
        locked(&self.output).broken.take().map_or(Ok(()), Err)
    }

    pub(super) fn notify(&self, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    pub(super) fn request(&self, id: &Value, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }

    pub(super) fn settle(&self, id: &Value, outcome: Result<Value, Failure>) {
        match outcome {
            Ok(result) => self.write(&json!({"jsonrpc": "2.0", "id": id, "result": result})),
            Err(failure) => self.fail(id, &failure),
        }
    }

    pub(super) fn fail(&self, id: &Value, failure: &Failure) {
        let mut error = json!({"code": failure.code, "message": failure.message});
        if let Some(data) = &failure.data {
            error["data"] = data.clone();
        }
        self.write(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }

    fn write(&self, message: &Value) {
        let line = format!("{message}\n");
        let mut output = locked(&self.output);
        let written = output.writer.write_all(line.as_bytes());
        if let Err(error) = written.and_then(|()| output.writer.flush()) {
            output.broken.get_or_insert(error);
        }
    }
}
