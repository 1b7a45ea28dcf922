//! The tools, and what they do.

use super::Server;
use super::calls::{Call, Stopped};
use super::wire::Failure;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

const MOST_STEPS: u64 = 1000;
const MOST_MILLISECONDS: u64 = 60_000;

/// A call that was refused, or stopped before its end.
enum End {
    Refused(Failure),
    Stopped,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What `tools/list` tells.
pub(super) fn list() -> Value {
    let harmless = json!({"readOnlyHint": true, "openWorldHint": false});
    json!([
        {
            "name": "echo",
            "description": "Gives back what it is given",
            "inputSchema": {
                "type": "object",
                "properties": {"text": {"type": "string", "description": "What to give back"}},
                "required": ["text"],
            },
            "annotations": harmless,
        },
        {
            "name": "add",
            "description": "Adds two numbers",
            "inputSchema": {
                "type": "object",
                "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                "required": ["a", "b"],
            },
            "annotations": harmless,
        },
        {
            "name": "slow-with-progress",
            "description": "Takes its time, and reports progress to those who ask for it",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "steps": {"type": "integer", "minimum": 1, "maximum": MOST_STEPS, "default": 5},
                    "milliseconds": {
                        "type": "integer",
                        "description": "How long each step takes",
                        "minimum": 0,
                        "maximum": MOST_MILLISECONDS,
                        "default": 500,
                    },
                },
            },
            "annotations": harmless,
        },
        {
            "name": "ask-the-user",
            "description": "Asks the user for a name and a colour, through the client",
            "inputSchema": {
                "type": "object",
                "properties": {"question": {"type": "string", "default": "Who are you?"}},
            },
            "annotations": {"readOnlyHint": true, "openWorldHint": true},
        },
    ])
}

/// Does what `tools/call` asks for; `None` if it was stopped.
pub(super) fn call<W: Write + Send>(
    server: &Server<W>,
    call: &Call,
    params: &Value,
) -> Result<Option<Value>, Failure> {
    let arguments = &params["arguments"];
    let name = params["name"].as_str().unwrap_or_default();
    server.log(&format!("tools/call {name}"));
    let outcome = match name {
        "echo" => echo(arguments),
        "add" => add(arguments),
        "slow-with-progress" => slow(server, call, params),
        "ask-the-user" => ask(server, call, arguments),
        _ => Err(Failure::invalid_params(format!("no tool is named {name:?}")).into()),
    };
    match outcome {
        Ok(result) => Ok(Some(result)),
        Err(End::Refused(failure)) => Err(failure),
        Err(End::Stopped) => Ok(None),
    }
}

fn echo(arguments: &Value) -> Result<Value, End> {
    let given = arguments["text"].as_str();
    Ok(text(given.ok_or_else(|| {
        Failure::invalid_params("text is not a string")
    })?))
}

fn add(arguments: &Value) -> Result<Value, End> {
    let (a, b) = (&arguments["a"], &arguments["b"]);
    let whole = a.as_i64().zip(b.as_i64());
    if let Some(sum) = whole.and_then(|(a, b)| a.checked_add(b)) {
        return Ok(text(&sum.to_string()));
    }
    let numbers = a.as_f64().zip(b.as_f64());
    let (a, b) = numbers.ok_or_else(|| Failure::invalid_params("a and b must be numbers"))?;
    Ok(text(&(a + b).to_string()))
}

fn slow<W: Write + Send>(server: &Server<W>, call: &Call, params: &Value) -> Result<Value, End> {
    let arguments = &params["arguments"];
    let steps = integer(arguments, "steps", 5, 1, MOST_STEPS)?;
    let milliseconds = integer(arguments, "milliseconds", 500, 0, MOST_MILLISECONDS)?;
    let token = &params["_meta"]["progressToken"];
    for step in 1..=steps {
        call.pause(Duration::from_millis(milliseconds))?;
        if !token.is_null() {
            let progress = json!({"progressToken": token, "progress": step, "total": steps});
            server.wire.notify("notifications/progress", progress);
        }
    }
    Ok(text(&format!("{steps} steps done")))
}

fn ask<W: Write + Send>(server: &Server<W>, call: &Call, arguments: &Value) -> Result<Value, End> {
    if !server.session().can_elicit {
        let told = "This client cannot ask its user: it did not declare elicitation.";
        return Ok(failed(told));
    }
    let question = arguments["question"].as_str().unwrap_or("Who are you?");
    let id = server.calls.question(call);
    let form = json!({
        "message": question,
        "requestedSchema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "title": "Name"},
                "colour": {"type": "string", "title": "Colour", "enum": ["red", "green", "blue"]},
            },
            "required": ["name"],
        },
    });
    server
        .wire
        .request(&Value::from(id), "elicitation/create", form);
    let answer = call.answer();
    if answer.is_err() {
        server.calls.withdraw(id);
        let reason = json!({"requestId": id, "reason": "the call was cancelled"});
        server.wire.notify("notifications/cancelled", reason);
    }
    let Ok(result) = answer? else {
        return Ok(failed("The client could not ask its user."));
    };
    Ok(match result["action"].as_str() {
        Some("accept") => text(&format!("The user answered {}", result["content"])),
        Some("decline") => text("The user declined to answer."),
        _ => text("The user did not answer."),
    })
}

fn integer(
    arguments: &Value,
    name: &str,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, Failure> {
    let given = &arguments[name];
    let number = if given.is_null() {
        Some(default)
    } else {
        given.as_u64()
    };
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Failure::invalid_params(format!("{name} must be {least} to {most}")))
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// An error of the tool, which the model is to see.
fn failed(why: &str) -> Value {
    let mut result = text(why);
    result["isError"] = true.into();
    result
}
