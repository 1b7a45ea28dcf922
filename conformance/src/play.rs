//! Plays one script against one gateway.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::gateway::Gateway;
use crate::json;
use crate::request_ids;
use crate::script::{Body, Check, Command, Expected, Piece, Script, Source};
use crate::text::{self, Variables, show};
use crate::transcript::Transcript;
use crate::wire::{Response, Wire};

/// A script that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line of the script; 0 for what is checked after every one.
    pub line: usize,
    /// What was expected and what came.
    pub why: String,
}

/// Plays a script, and returns what the gateway answered. Nothing else may use the gateway
/// meanwhile, since sessions and records are counted.
///
/// # Errors
///
/// The first thing that was not as it should be.
pub fn play(script: &Script, gateway: &mut Gateway) -> Result<Transcript, Failure> {
    let mut player = Player {
        transcript: Transcript::new(gateway.address),
        line: 0,
        log_start: gateway.log_length(),
        gateway,
        wires: BTreeMap::new(),
        variables: Variables::new(),
        sessions: Vec::new(),
        refused: 0,
        unwelcome: Vec::new(),
    };
    let port = player.gateway.address.port().to_string();
    let (scheme, other) = player.gateway.schemes();
    for (name, value) in [
        ("port", &*port),
        ("scheme", scheme),
        ("other-scheme", other),
    ] {
        player.variables.insert(name.to_owned(), value.to_owned());
    }
    for step in &script.steps {
        player.line = step.line;
        player.perform(&step.command).map_err(|why| Failure {
            line: step.line,
            why,
        })?;
    }
    player.line = 0;
    player.after(script).map_err(|why| Failure {
        line: 0,
        why: format!("after the script: {why}"),
    })
}

struct Player<'a> {
    gateway: &'a mut Gateway,
    transcript: Transcript,
    /// Of the command that is performed.
    line: usize,
    wires: BTreeMap<String, Wire>,
    variables: Variables,
    /// The variables of sessions that are open.
    sessions: Vec<String>,
    /// Where the log stood when the script began.
    log_start: usize,
    /// Responses in which the gateway said no, with words of its own.
    refused: usize,
    /// What may not be in the log in the end.
    unwelcome: Vec<Vec<u8>>,
}

impl Player<'_> {
    fn perform(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Connect(on) => self.connect(on),
            Command::Send { on, pieces, by } => {
                let bytes = self.assemble(pieces)?;
                self.wire(on)?.send(&bytes, *by)
            }
            Command::Request {
                on,
                method,
                target,
                session,
                pieces,
            } => {
                let bytes = self.request(method, target, session.as_deref(), pieces)?;
                if !self.wires.contains_key(on) {
                    self.connect(on)?;
                }
                self.wire(on)?.send(&bytes, None)
            }
            Command::Session {
                name,
                version,
                capabilities,
            } => self.open_session(name, version, capabilities),
            Command::End(name) => {
                self.sessions.retain(|open| open != name);
                match self.end_session(name)? {
                    204 => Ok(()),
                    status => Err(format!("DELETE of the session was answered {status}")),
                }
            }
            Command::Pause(time) => {
                thread::sleep(*time);
                Ok(())
            }
            Command::HalfClose(on) => {
                self.wire(on)?.half_close();
                Ok(())
            }
            Command::Close(on) => self.take_wire(on).map(drop),
            Command::Reset(on) => self.take_wire(on)?.reset(),
            Command::Capture { on, name, from } => {
                let value = capture(self.wire(on)?, from)?;
                self.variables.insert(name.clone(), value);
                Ok(())
            }
            Command::Expect { on, what, checks } => self.expect(on, what, checks),
            Command::Health(expected) => self.expect_health(expected),
            Command::Audit(reasons) => self.expect_audit(reasons),
            Command::Log(pattern) => self.expect_log(pattern),
            Command::NoLog(pattern) => {
                let pattern = text::bytes(pattern, &self.variables)?;
                self.unwelcome.push(pattern);
                Ok(())
            }
        }
    }

    fn connect(&mut self, on: &str) -> Result<(), String> {
        let wire = self.gateway.connect()?;
        self.wires.insert(on.to_owned(), wire);
        Ok(())
    }

    fn wire(&mut self, on: &str) -> Result<&mut Wire, String> {
        let found = self.wires.get_mut(on);
        found.ok_or_else(|| format!("no connection is named {on}"))
    }

    fn take_wire(&mut self, on: &str) -> Result<Wire, String> {
        let found = self.wires.remove(on);
        found.ok_or_else(|| format!("no connection is named {on}"))
    }

    /// The bytes of a block. `{body}` is known once all pieces of the body are.
    fn assemble(&self, pieces: &[Piece]) -> Result<Vec<u8>, String> {
        let mut length = 0;
        for piece in pieces {
            length += match piece {
                Piece::Body(text) => text::bytes(text, &self.variables)?.len(),
                Piece::RepeatBody(count, text) => text::bytes(text, &self.variables)?.len() * count,
                _ => 0,
            };
        }
        let mut variables = self.variables.clone();
        variables.insert("body".to_owned(), length.to_string());
        let mut assembled = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Line(text) => {
                    assembled.extend(text::bytes(text, &variables)?);
                    assembled.extend(b"\r\n");
                }
                Piece::Raw(text) | Piece::Body(text) => {
                    assembled.extend(text::bytes(text, &variables)?);
                }
                Piece::Chunk(text) => {
                    let chunk = text::bytes(text, &variables)?;
                    assembled.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    assembled.extend(chunk);
                    assembled.extend(b"\r\n");
                }
                Piece::Repeat(count, text) | Piece::RepeatBody(count, text) => {
                    let repeated = text::bytes(text, &variables)?;
                    assembled.extend(repeated.repeat(*count));
                }
            }
        }
        Ok(assembled)
    }

    /// A well-formed request, but for the fields that the block gives.
    fn request(
        &self,
        method: &str,
        target: &str,
        session: Option<&str>,
        pieces: &[Piece],
    ) -> Result<Vec<u8>, String> {
        let mut fields = vec![("Host", "127.0.0.1:{port}".to_owned())];
        match method {
            "POST" => fields.extend([
                ("Content-Type", "application/json".to_owned()),
                ("Accept", "application/json, text/event-stream".to_owned()),
                ("Content-Length", "{body}".to_owned()),
            ]),
            "GET" => fields.push(("Accept", "text/event-stream".to_owned())),
            _ => {}
        }
        if let Some(session) = session {
            fields.push(("Mcp-Session-Id", format!("{{{session}}}")));
        }
        let mut given = Vec::new();
        let mut rest = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Line(line) => {
                    let without = line.strip_prefix('-');
                    let name = without.or_else(|| Some(line.split_once(':')?.0));
                    let name = name.ok_or("a field is name: value, or -name for none")?;
                    fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                    if without.is_none() {
                        given.push(Piece::Line(line.clone()));
                    }
                }
                piece => rest.push(piece.clone()),
            }
        }
        let mut all = vec![Piece::Line(format!("{method} {target} HTTP/1.1"))];
        all.extend(
            fields
                .iter()
                .map(|(name, value)| Piece::Line(format!("{name}: {value}"))),
        );
        all.extend(given);
        all.push(Piece::Line(String::new()));
        all.extend(rest);
        self.assemble(&all)
    }

    /// Sends a request on a connection of its own.
    fn ask(
        &self,
        method: &str,
        target: &str,
        session: Option<&str>,
        pieces: &[Piece],
    ) -> Result<Response, String> {
        let mut wire = self.gateway.connect()?;
        wire.send(&self.request(method, target, session, pieces)?, None)?;
        wire.read_response(true, false)?;
        Ok(wire.response)
    }

    fn open_session(
        &mut self,
        name: &str,
        version: &str,
        capabilities: &str,
    ) -> Result<(), String> {
        let initialize = format!(
            r#"{{"jsonrpc":"2.0","id":"open","method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"scripts","version":"0"}}}}}}"#
        );
        let response = self.ask("POST", "/mcp", None, &[Piece::Body(initialize)])?;
        self.transcript.response(self.line, &response, true);
        let ids = response.values("mcp-session-id");
        let ([id], 200) = (ids.as_slice(), response.status) else {
            return Err(format!("no session: {}", response.show()));
        };
        self.variables.insert(name.to_owned(), (*id).to_owned());
        self.sessions.push(name.to_owned());
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
        let response = self.ask("POST", "/mcp", Some(name), &[Piece::Body(initialized)])?;
        self.transcript.response(self.line, &response, true);
        match response.status {
            202 => Ok(()),
            _ => Err(format!("initialized was not accepted: {}", response.show())),
        }
    }

    fn end_session(&mut self, name: &str) -> Result<u16, String> {
        let response = self.ask("DELETE", "/mcp", Some(name), &[])?;
        self.transcript.response(self.line, &response, true);
        self.count(&response);
        Ok(response.status)
    }

    /// A refusal tells its error as JSON; one without any words comes from below the gateway, and a
    /// `/health` that is not well is no refusal.
    fn count(&mut self, response: &Response) {
        let body = serde_json::from_slice::<Value>(&response.body);
        let refused = body.is_ok_and(|body| body.get("error").is_some());
        self.refused += usize::from(response.status >= 400 && refused);
    }

    fn expect(&mut self, on: &str, what: &Expected, checks: &[Check]) -> Result<(), String> {
        let open = self.request("GET", "/health", None, &[])?;
        let variables = self.variables.clone();
        let wire = self.wire(on)?;
        match *what {
            Expected::Response {
                status,
                closes,
                body,
            } => {
                wire.read_response(body != Body::None, body == Body::Events)?;
                let response = wire.response.clone();
                let whole = body == Body::Whole;
                self.transcript.response(self.line, &response, whole);
                self.count(&response);
                let fields = &response.fields;
                check(&variables, fields, &response.body, checks)
                    .and_then(|()| request_ids::judge(&response))
                    .and_then(|()| {
                        if response.status != status {
                            return Err(format!("expected {status}"));
                        }
                        if closes && !response.says_close() {
                            return Err("expected Connection: close".to_owned());
                        }
                        Ok(())
                    })
                    .map_err(|why| format!("{why}; received {}", response.show()))?;
                if closes {
                    let closed = self.wire(on)?.read_close();
                    closed.map_err(|why| format!("expected the end of the connection: {why}"))?;
                }
                Ok(())
            }
            Expected::Event | Expected::Priming | Expected::Comment => {
                let event = loop {
                    let event = wire.read_event()?;
                    let event = event.ok_or("the stream ended, expected an event")?;
                    // Comments come whenever a stream is silent.
                    if !event.is_comment() || *what == Expected::Comment {
                        break event;
                    }
                };
                let as_expected = match what {
                    Expected::Priming => event.is_priming(),
                    Expected::Comment => event.is_comment(),
                    _ => !event.is_priming(),
                };
                self.transcript.event(self.line, &event);
                let data = event.data();
                check(&variables, &event.fields, data.as_bytes(), checks)
                    .and_then(|()| match as_expected {
                        true => Ok(()),
                        false => Err(format!("expected {what:?}")),
                    })
                    .map_err(|why| format!("{why}; received {}", show_event(&event.fields)))
            }
            Expected::End => match wire.read_event()? {
                None => Ok(()),
                Some(event) => Err(format!(
                    "expected the stream's end; received {}",
                    show_event(&event.fields)
                )),
            },
            Expected::Closed => wire.read_close(),
            Expected::Silence(time) => wire.read_silence(time),
            Expected::Open => {
                wire.send(&open, None)?;
                wire.read_response(true, false)?;
                let response = wire.response.clone();
                self.transcript.response(self.line, &response, true);
                match response.values("content-type").as_slice() {
                    ["application/json"] if matches!(response.status, 200 | 503) => Ok(()),
                    _ => Err(format!("expected health; received {}", response.show())),
                }
            }
        }
    }

    fn expect_health(&mut self, expected: &str) -> Result<(), String> {
        let expected: Value = serde_json::from_str(&text::expand(expected, &self.variables)?)
            .map_err(|error| format!("the script's JSON: {error}"))?;
        let mut last = String::new();
        let waited = self.gateway.wait_for("the expected health", |gateway| {
            let (_, health) = gateway.health()?;
            Ok(json::holds(&health, &expected)
                .map_err(|why| last = why)
                .ok())
        });
        waited.map_err(|why| format!("{why}: {last}"))
    }

    fn expect_audit(&mut self, expected: &[String]) -> Result<(), String> {
        let start = self.log_start;
        let mut expected = expected.to_vec();
        expected.sort();
        let mut last = Vec::new();
        let waited = self.gateway.wait_for("the expected records", |gateway| {
            last = gateway.refusals_since(start);
            last.sort();
            Ok((last == expected).then_some(()))
        });
        waited.map_err(|why| format!("{why}: expected {expected:?}, there are {last:?}"))
    }

    fn expect_log(&mut self, pattern: &str) -> Result<(), String> {
        let pattern = text::bytes(pattern, &self.variables)?;
        let start = self.log_start;
        self.gateway
            .wait_for("the expected line of the log", |gateway| {
                Ok(logged(gateway, start, &pattern).map(drop))
            })
    }

    /// What must hold after every script, however hostile it was.
    fn after(mut self, script: &Script) -> Result<Transcript, String> {
        let began = Instant::now();
        let (status, health) = self.gateway.health()?;
        let expected = match script.leaves_degraded {
            true => (503, "degraded"),
            false => (200, "ok"),
        };
        if (status, health["status"].as_str()) != (expected.0, Some(expected.1)) {
            return Err(format!(
                "/health says {status} {health}, expected {expected:?}"
            ));
        }
        for name in std::mem::take(&mut self.sessions) {
            let response = self.ask("DELETE", "/mcp", Some(&name), &[])?;
            // Whatever ended it earlier, the script's own expectations have judged.
            self.count(&response);
            if !matches!(response.status, 204 | 404) {
                return Err(format!(
                    "the session {name} does not end: {}",
                    response.show()
                ));
            }
        }
        self.wires.clear();
        self.expect_health(r#"{"sessions":0,"children":0}"#)
            .map_err(|why| format!("{why} (after {:?})", began.elapsed()))?;
        // The log comes later than responses do. Further refusals, in an order that no script ends
        // with, make sure that whatever was written before has arrived.
        for _ in 0..2 {
            self.ask("GET", "/after-the-script", None, &[])?;
            self.ask("PUT", "/health", None, &[])?;
        }
        const LAST: [&str; 4] = [
            "not-found",
            "method-not-allowed",
            "not-found",
            "method-not-allowed",
        ];
        let start = self.log_start;
        let mut records = Vec::new();
        let waited = self
            .gateway
            .wait_for("the records of all refusals", |gateway| {
                records = gateway.refusals_since(start);
                Ok(records.ends_with(&LAST.map(str::to_owned)).then_some(()))
            });
        waited.map_err(|why| format!("{why}: there are {records:?}"))?;
        records.truncate(records.len() - LAST.len());
        let expected = self.refused + script.records;
        if records.len() != expected {
            return Err(format!(
                "expected {expected} records of refusals, there are {records:?}"
            ));
        }
        for pattern in [b"*panicked*".to_vec()].iter().chain(&self.unwelcome) {
            if let Some(line) = logged(self.gateway, start, pattern) {
                return Err(format!("this is in the log: {line}"));
            }
        }
        // Records of requests on different connections may be written in another order.
        records.sort();
        self.transcript
            .note(0, &format!("refusals on record: {records:?}"));
        Ok(self.transcript)
    }
}

fn logged(gateway: &Gateway, start: usize, pattern: &[u8]) -> Option<String> {
    let mut log = gateway.log_since(start).into_iter();
    log.find(|line| text::glob(pattern, line.as_bytes()))
}

fn show_event(fields: &[(String, String)]) -> String {
    let lines: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!("the event {}", show(lines.join("\n").as_bytes()))
}

fn check(
    variables: &Variables,
    fields: &[(String, String)],
    body: &[u8],
    checks: &[Check],
) -> Result<(), String> {
    let told = request_ids::told_in(body);
    for check in checks {
        match check {
            Check::Field(name, pattern) => {
                let pattern = text::bytes(pattern, variables)?;
                let named = fields.iter().filter(|(found, _)| found == name);
                let values: Vec<_> = named.map(|(_, value)| value.as_str()).collect();
                match values.as_slice() {
                    [value] if text::glob(&pattern, value.as_bytes()) => {}
                    _ => {
                        let pattern = show(&pattern);
                        return Err(format!("expected {name} once and like {pattern:?}"));
                    }
                }
            }
            Check::NoField(name) => {
                if fields.iter().any(|(found, _)| found == name) {
                    return Err(format!("expected no {name}"));
                }
            }
            Check::Exact(text) => {
                let expected = text::bytes(text, variables)?;
                if told != expected {
                    return Err(format!("expected the body {}", show(&expected)));
                }
            }
            Check::Like(pattern) => {
                let pattern = text::bytes(pattern, variables)?;
                if !text::glob(&pattern, &told) {
                    return Err(format!("expected a body like {}", show(&pattern)));
                }
            }
            Check::Json(text) => {
                let expected: Value = serde_json::from_str(&text::expand(text, variables)?)
                    .map_err(|error| format!("the script's JSON: {error}"))?;
                let found: Value =
                    serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
                json::holds(&found, &expected)?;
            }
        }
    }
    Ok(())
}

fn capture(wire: &Wire, from: &Source) -> Result<String, String> {
    let one = |values: Vec<&str>, name: &str| match values.as_slice() {
        [value] => Ok((*value).to_owned()),
        _ => Err(format!("{name} is there {} times", values.len())),
    };
    match from {
        Source::Header(name) => one(wire.response.values(name), name),
        Source::Event(name) => one(wire.event.values(name), name),
        Source::Json(pointer) => {
            let data = wire.event.data();
            let text = match data.as_str() {
                "" => wire.response.body.as_slice(),
                data => data.as_bytes(),
            };
            let value: Value =
                serde_json::from_slice(text).map_err(|error| format!("no JSON: {error}"))?;
            match value.pointer(pointer) {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(value) => Ok(value.to_string()),
                None => Err(format!("nothing is at {pointer} in {value}")),
            }
        }
    }
}
