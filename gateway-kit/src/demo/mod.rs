//! A small stdio MCP server, so that the first try of the gateway needs nothing else.
//!
//! It speaks 2024-11-05 to 2025-11-25 and has one of each thing that a gateway carries: a quick
//! answer, a slow one with progress that can be cancelled, a question to the user, a resource that
//! changes, a prompt, log messages.
//!
//! One thread reads; a call that takes time has a thread of its own, so that it holds up nothing.

mod calls;
mod counter;
mod tools;
mod wire;

use calls::Calls;
use counter::Counter;
use serde_json::{Value, json};
use std::io::{self, BufRead, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use wire::{Failure, Message, Wire};

/// The revisions of MCP that the server speaks, the newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The one revision that has batches.
const BATCH_VERSION: &str = "2025-03-26";

/// The severities of log messages (RFC 5424), the least one first.
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Serves one client until `input` ends: calls in flight are then dropped.
///
/// # Errors
///
/// If the input cannot be read or the output cannot be written.
pub fn serve(input: impl BufRead, output: impl Write + Send) -> io::Result<()> {
    let server = Server {
        wire: Wire::new(output),
        calls: Calls::default(),
        counter: Counter::default(),
        session: Mutex::default(),
    };
    thread::scope(|scope| {
        scope.spawn(|| server.counter.run(&server.wire));
        let ended = server.read(input, scope);
        server.calls.end();
        server.counter.end();
        ended
    })
}

struct Server<W> {
    wire: Wire<W>,
    calls: Calls,
    counter: Counter,
    session: Mutex<Session>,
}

/// What the client has told of itself.
#[derive(Clone, Default)]
struct Session {
    version: Option<&'static str>,
    can_elicit: bool,
    /// The index in [`LEVELS`] from which on messages are sent; none before it is set.
    level: Option<usize>,
}

impl<W: Write + Send> Server<W> {
    fn read<'scope>(
        &'scope self,
        input: impl BufRead,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<()> {
        for line in input.split(b'\n') {
            let line = line?;
            if !line.trim_ascii().is_empty() {
                match serde_json::from_slice(&line) {
                    Ok(Value::Array(batch)) => self.batch(batch, scope),
                    Ok(value) => self.message(value, scope),
                    Err(error) => self.wire.fail(&Value::Null, &Failure::parse(&error)),
                }
            }
            self.wire.health()?;
        }
        Ok(())
    }

    /// Each element is answered by a line of its own.
    fn batch<'scope>(&'scope self, batch: Vec<Value>, scope: &'scope Scope<'scope, '_>) {
        if batch.is_empty() || self.session().version != Some(BATCH_VERSION) {
            let failure = Failure::invalid_request("batches exist only in 2025-03-26");
            return self.wire.fail(&Value::Null, &failure);
        }
        for value in batch {
            self.message(value, scope);
        }
    }

    fn message<'scope>(&'scope self, value: Value, scope: &'scope Scope<'scope, '_>) {
        match Message::read(value) {
            Ok(Message::Notification { method, params }) => self.notified(&method, &params),
            Ok(Message::Answer { id, outcome }) => self.calls.answered(&id, outcome),
            Ok(Message::Request { id, method, params }) => match method.as_str() {
                "tools/call" => self.call(id, params, scope),
                _ => self.wire.settle(&id, self.request(&method, &params)),
            },
            Err(failure) => self.wire.fail(&Value::Null, &failure),
        }
    }

    fn notified(&self, method: &str, params: &Value) {
        if method == "notifications/cancelled" {
            self.calls.cancelled(&params["requestId"]);
        }
    }

    /// The requests that are answered at once.
    fn request(&self, method: &str, params: &Value) -> Result<Value, Failure> {
        match method {
            "initialize" => self.initialize(params),
            "ping" => Ok(json!({})),
            "logging/setLevel" => self.set_level(params),
            "tools/list" => Ok(json!({"tools": tools::list()})),
            "resources/list" => Ok(json!({"resources": [counter::description()]})),
            "resources/templates/list" => Ok(json!({"resourceTemplates": []})),
            "resources/read" => self.counter.read(params),
            "resources/subscribe" => self.counter.subscribe(params, true),
            "resources/unsubscribe" => self.counter.subscribe(params, false),
            "prompts/list" => Ok(json!({"prompts": [greeting()]})),
            "prompts/get" => greet(params),
            _ => Err(Failure::method_not_found(method)),
        }
    }

    fn initialize(&self, params: &Value) -> Result<Value, Failure> {
        let asked = params["protocolVersion"]
            .as_str()
            .ok_or_else(|| Failure::invalid_params("protocolVersion is missing"))?;
        let known = VERSIONS.into_iter().find(|version| *version == asked);
        let version = known.unwrap_or(VERSIONS[0]);
        let elicitation = &params["capabilities"]["elicitation"];
        // An empty object means forms; one that names only other ways does not.
        let can_elicit = elicitation
            .as_object()
            .is_some_and(|ways| ways.is_empty() || ways.contains_key("form"));
        *self.session() = Session {
            version: Some(version),
            can_elicit,
            level: None,
        };
        Ok(json!({
            "protocolVersion": version,
            "capabilities": {
                "logging": {},
                "prompts": {},
                "resources": {"subscribe": true},
                "tools": {},
            },
            "serverInfo": {"name": "mcp-gateway-demo", "version": env!("CARGO_PKG_VERSION")},
            "instructions": "A demo. Try the tool echo, or ask-the-user.",
        }))
    }

    fn set_level(&self, params: &Value) -> Result<Value, Failure> {
        let level = LEVELS.iter().position(|level| params["level"] == *level);
        let unknown = || Failure::invalid_params(format!("level is none of {}", LEVELS.join(", ")));
        self.session().level = Some(level.ok_or_else(unknown)?);
        Ok(json!({}))
    }

    /// Sends a log message of severity "info", if the client wants such.
    fn log(&self, text: &str) {
        let wanted = self.session().level;
        if wanted.is_some_and(|least| least <= 1) {
            let params = json!({"level": "info", "logger": "demo", "data": text});
            self.wire.notify("notifications/message", params);
        }
    }

    /// A tool's call, on a thread of its own.
    fn call<'scope>(&'scope self, id: Value, params: Value, scope: &'scope Scope<'scope, '_>) {
        let call = match self.calls.begin(&id) {
            Ok(call) => call,
            Err(failure) => return self.wire.fail(&id, &failure),
        };
        scope.spawn(move || {
            // `None`: cancelled, and a cancelled call is not answered.
            if let Some(outcome) = tools::call(self, &call, &params).transpose() {
                self.wire.settle(&id, outcome);
            }
            self.calls.done(&id);
        });
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        locked(&self.session)
    }
}

/// A lock whose holder panicked is as good as any here: the data are plain values.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn greeting() -> Value {
    json!({
        "name": "greet",
        "description": "Asks the model for a greeting",
        "arguments": [{"name": "name", "description": "Whom to greet", "required": true}],
    })
}

fn greet(params: &Value) -> Result<Value, Failure> {
    if params["name"] != "greet" {
        return Err(Failure::invalid_params(
            "no prompt has this name; there is greet",
        ));
    }
    let name = params["arguments"]["name"]
        .as_str()
        .ok_or_else(|| Failure::invalid_params("the argument name is missing"))?;
    let text = format!("Greet {name} warmly, in one sentence.");
    Ok(json!({
        "description": "A greeting",
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
    }))
}
