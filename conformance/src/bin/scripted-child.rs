//! A stdio MCP server that does what it is told, well-behaved or not. `--help` tells what it knows.
//!
//! It writes what it is given byte for byte: ids and payloads are never read and written anew, so
//! that a test sees what the gateway did to them and nothing else.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

const HELP: &str = "\
scripted-child: a stdio MCP server that does what it is told

Options:
  --version VERSION     The protocol version to answer initialize with, whatever was asked
  --result JSON         The whole result to answer initialize with
  --silent              Never answer initialize
  --refuse              Answer initialize with an error
  --before TEXT         Write this before the first line is read; \\n and the like are understood
  --stderr TEXT         Write this to stderr at the start
  --exit CODE           Exit at the start
  --ignore-term         Ignore SIGTERM
  --ignore-end          Stay when stdin closes
  --never-read          Read nothing at all
  --grandchild KIND     Start a process of KIND first: plain, setsid, stubborn (ignores SIGTERM) or
                        setsid,stubborn; may be repeated
  linger SECONDS KIND   Be such a process

Methods: initialize, ping, tools/list, and tools/call with one of these tools; each call runs beside
the others. Any other request gets the error -32601.

Tools (name, then arguments):
  echo         {text}     Answers with the text
  received     {}         Answers {\"lines\": [...]}: every line so far, as strings, the line of this
                          call included; bytes that are not UTF-8 are shown as U+FFFD
  environment  {}         Answers {\"environment\": {...}, \"arguments\": [...], \"directory\": ...}
  descriptors  {}         Answers {\"descriptors\": {\"0\": \"pipe:[..]\", ...}}
  pid          {}         Answers {\"pid\": ..., \"group\": ...}
  raw          {text}     Writes the text and a line end, instead of an answer
  hang         {}         Never answers
  do           {steps}    Does the steps one after the other; a step is an object with one member:

    {\"line\": TEXT}         Writes the text and a line end
    {\"write\": TEXT}        Writes the text as it is
    {\"hex\": DIGITS}        Writes these bytes
    {\"fill\": [N, TEXT]}    Writes the text N times
    {\"answer\": JSON}       Answers the call with this text as its result
    {\"text\": TEXT}         Answers the call with this text as its content
    {\"error\": JSON}        Answers the call with this text as its error
    {\"notify\": [METHOD, JSON]}      Sends a notification
    {\"progress\": N}        Reports progress on the call
    {\"ask\": [ID, METHOD, JSON]}     Sends a request and waits for its answer; ID is JSON. {answer}
                          is then the line that came
    {\"await\": METHOD}      Waits until a line with this method has come, now or before. {seen} is
                          then that line
    {\"pause\": MS}          Waits
    {\"stderr\": TEXT}       Writes the text to stderr
    {\"flood-stderr\": N}    Writes N lines of 1000 bytes to stderr
    {\"grandchild\": KIND}   Starts a process, as --grandchild does
    {\"ignore-term\": true}  Ignores SIGTERM from now on
    {\"ignore-end\": true}   Stays when stdin closes
    {\"stop-reading\": true} Reads no further line; lines that were read before are served
    {\"close-stdout\": true} Closes stdout
    {\"exit\": CODE}         Exits
    {\"abort\": true}        Ends by a signal

In what is written, {id} is the call's id and {token} its progress token, as they were sent; {line}
is the line of the call as a JSON string.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("linger", rest)) = arguments
        .split_first()
        .map(|(first, rest)| (&**first, rest))
    {
        return linger(rest);
    }
    let options = match Options::read(&arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("scripted-child: {why}; see --help");
            return ExitCode::from(2);
        }
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scripted-child: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    version: Option<String>,
    result: Option<String>,
    silent: bool,
    refuse: bool,
    before: String,
    stderr: String,
    exit: Option<u8>,
    ignore_term: bool,
    ignore_end: bool,
    never_read: bool,
    grandchildren: Vec<String>,
}

impl Options {
    /// The options; none if help is asked for.
    fn read(arguments: &[String]) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let mut value = || rest.next().cloned().ok_or(format!("{name} takes a value"));
            match name.as_str() {
                "--help" => return Ok(None),
                "--version" => options.version = Some(value()?),
                "--result" => options.result = Some(value()?),
                "--silent" => options.silent = true,
                "--refuse" => options.refuse = true,
                "--before" => options.before = unescaped(&value()?),
                "--stderr" => options.stderr = unescaped(&value()?),
                "--exit" => {
                    let code = value()?.parse();
                    options.exit = Some(code.map_err(|_| "--exit takes a code")?);
                }
                "--ignore-term" => options.ignore_term = true,
                "--ignore-end" => options.ignore_end = true,
                "--never-read" => options.never_read = true,
                "--grandchild" => options.grandchildren.push(value()?),
                unknown => return Err(format!("no option is {unknown}")),
            }
        }
        Ok(Some(options))
    }
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\s", " ")
}

/// What the calls share.
#[derive(Default)]
struct Server {
    state: Mutex<State>,
    /// One call writes at a time, for as long as one step takes.
    stdout: Mutex<()>,
    ignore_end: AtomicBool,
    stop_reading: AtomicBool,
}

#[derive(Default)]
struct State {
    lines: Vec<Vec<u8>>,
    /// Who waits for the line with this method, or for the answer to this id.
    waiting: BTreeMap<String, Vec<Sender<String>>>,
    closed: bool,
}

/// One call of a tool.
struct Call {
    server: Arc<Server>,
    /// The call's id, as it was sent.
    id: String,
    arguments: Value,
    /// What stands for what in texts.
    names: BTreeMap<&'static str, String>,
}

fn serve(options: Options) -> io::Result<()> {
    if let Some(code) = options.exit {
        eprintln!("ending at the start with {code}");
        std::process::exit(code.into());
    }
    if options.ignore_term {
        ignore_term()?;
    }
    eprint!("{}", options.stderr);
    for kind in &options.grandchildren {
        grandchild(kind)?;
    }
    let server = Arc::new(Server::default());
    server
        .ignore_end
        .store(options.ignore_end, Ordering::Relaxed);
    server.write(options.before.as_bytes())?;
    if options.never_read {
        stay();
    }
    for line in io::stdin().lock().split(b'\n') {
        server.take(line?, &options)?;
        if server.stop_reading.load(Ordering::Relaxed) {
            stay();
        }
    }
    if server.ignore_end.load(Ordering::Relaxed) {
        stay();
    }
    Ok(())
}

/// For good: only a signal, or another thread's exit, ends it.
fn stay() -> ! {
    loop {
        thread::park();
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state().closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    fn answer(&self, id: &str, member: &str, text: &str) -> io::Result<()> {
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{text}}}\n");
        self.write(line.as_bytes())
    }

    fn take(self: &Arc<Self>, line: Vec<u8>, options: &Options) -> io::Result<()> {
        let text = String::from_utf8_lossy(&line).into_owned();
        let message: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap_or_default();
        let raw = |name: &str| message.get(name).map(|value| value.get().to_owned());
        let method: Option<String> =
            raw("method").and_then(|method| serde_json::from_str(&method).ok());
        let key = match (&method, raw("id")) {
            (Some(method), _) => Some(method.clone()),
            (None, id) => id.map(|id| format!("answer {id}")),
        };
        {
            let mut state = self.state();
            state.lines.push(line);
            if let Some(waiting) = key.and_then(|key| state.waiting.remove(&key)) {
                for sender in waiting {
                    let _ = sender.send(text.clone());
                }
            }
        }
        let (Some(method), Some(id)) = (method, raw("id")) else {
            return Ok(());
        };
        let params: Value = raw("params")
            .and_then(|params| serde_json::from_str(&params).ok())
            .unwrap_or_default();
        match method.as_str() {
            "initialize" if options.silent => Ok(()),
            "initialize" if options.refuse => self.answer(
                &id,
                "error",
                r#"{"code":-32603,"message":"refused as told"}"#,
            ),
            "initialize" => self.answer(&id, "result", &initialize_result(&params, options)),
            "ping" => self.answer(&id, "result", "{}"),
            "tools/list" => {
                let names = [
                    "echo",
                    "received",
                    "environment",
                    "descriptors",
                    "pid",
                    "raw",
                    "hang",
                    "do",
                ];
                let tools = names.map(|name| {
                    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
                });
                self.answer(
                    &id,
                    "result",
                    &format!(r#"{{"tools":[{}]}}"#, tools.join(",")),
                )
            }
            "tools/call" => {
                let token = raw_token(&text).unwrap_or_default();
                let quoted = Value::from(text).to_string();
                let call = Call {
                    server: Arc::clone(self),
                    names: [("id", id.clone()), ("token", token), ("line", quoted)].into(),
                    id,
                    arguments: params["arguments"].clone(),
                };
                let tool = params["name"].as_str().unwrap_or_default().to_owned();
                thread::spawn(move || {
                    if let Err(why) = call.run(&tool) {
                        let error = serde_json::json!({"code": -32602, "message": why});
                        let _ = call.server.answer(&call.id, "error", &error.to_string());
                    }
                });
                Ok(())
            }
            _ => self.answer(
                &id,
                "error",
                r#"{"code":-32601,"message":"no such method"}"#,
            ),
        }
    }
}

fn initialize_result(params: &Value, options: &Options) -> String {
    if let Some(result) = &options.result {
        return result.clone();
    }
    let asked = params["protocolVersion"].as_str().map(str::to_owned);
    let version = options.version.clone().or(asked).unwrap_or_default();
    let version = Value::from(version);
    format!(
        "{{\"protocolVersion\":{version},\"capabilities\":{{\"tools\":{{}},\"logging\":{{}}}},\
         \"serverInfo\":{{\"name\":\"scripted\",\"version\":\"0\"}}}}"
    )
}

/// The text of `params._meta.progressToken`.
fn raw_token(line: &str) -> Option<String> {
    let mut text = line.to_owned();
    for key in ["params", "_meta", "progressToken"] {
        let object: BTreeMap<String, &RawValue> = serde_json::from_str(&text).ok()?;
        text = object.get(key)?.get().to_owned();
    }
    Some(text)
}

impl Call {
    fn run(&self, tool: &str) -> Result<(), String> {
        let text = || Ok::<_, String>(Value::from(self.text(&self.arguments["text"])?).to_string());
        let result = match tool {
            "echo" => format!(r#"{{"content":[{{"type":"text","text":{}}}]}}"#, text()?),
            "received" => {
                let state = self.server.state();
                let lines = state.lines.iter().map(|line| String::from_utf8_lossy(line));
                let lines: Vec<_> = lines.map(|line| Value::from(line.into_owned())).collect();
                format!(r#"{{"lines":{}}}"#, Value::from(lines))
            }
            "environment" => environment()?,
            "descriptors" => descriptors()?,
            "pid" => {
                let pid = rustix::process::getpid().as_raw_nonzero();
                let group = rustix::process::getpgrp().as_raw_nonzero();
                format!(r#"{{"pid":{pid},"group":{group}}}"#)
            }
            "raw" => {
                let line = self.text(&self.arguments["text"])? + "\n";
                return self.write(line.as_bytes());
            }
            "hang" => return Ok(()),
            "do" => {
                let steps = self.arguments["steps"].as_array().ok_or("no steps")?;
                let mut names = self.names.clone();
                for step in steps {
                    self.step(step, &mut names)?;
                }
                return Ok(());
            }
            _ => return Err(format!("no tool is {tool}")),
        };
        self.say("result", &result)
    }

    fn text(&self, value: &Value) -> Result<String, String> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{value} is no text"))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), String> {
        self.server
            .write(&expanded(bytes, &self.names))
            .map_err(|error| error.to_string())
    }

    fn say(&self, member: &str, text: &str) -> Result<(), String> {
        let said = self.server.answer(&self.id, member, text);
        said.map_err(|error| error.to_string())
    }

    fn step(&self, step: &Value, names: &mut BTreeMap<&'static str, String>) -> Result<(), String> {
        let members = step.as_object().filter(|members| members.len() == 1);
        let (what, value) = members
            .and_then(|members| members.iter().next())
            .ok_or_else(|| format!("{step} is no step"))?;
        let failed = |error: io::Error| format!("{what}: {error}");
        let text = |value: &Value| {
            let text = self.text(value)?;
            let bytes = expanded(text.as_bytes(), names);
            String::from_utf8(bytes).map_err(|error| error.to_string())
        };
        let write = |bytes: &[u8]| self.server.write(bytes).map_err(failed);
        match what.as_str() {
            "line" => write((text(value)? + "\n").as_bytes())?,
            "write" => write(text(value)?.as_bytes())?,
            "hex" => write(&unhex(&self.text(value)?)?)?,
            "fill" => {
                let count = value[0].as_u64().ok_or("fill takes a count")?;
                let count = usize::try_from(count).map_err(|error| error.to_string())?;
                write(text(&value[1])?.repeat(count).as_bytes())?;
            }
            "answer" => self.say("result", &text(value)?)?,
            "error" => self.say("error", &text(value)?)?,
            "text" => {
                let quoted = Value::from(text(value)?);
                let content = format!(r#"{{"content":[{{"type":"text","text":{quoted}}}]}}"#);
                self.say("result", &content)?;
            }
            "notify" => {
                let (method, params) = (text(&value[0])?, text(&value[1])?);
                let line = format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}\n"
                );
                write(line.as_bytes())?;
            }
            "progress" => {
                let token = &names["token"];
                let line = format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
                     \"params\":{{\"progressToken\":{token},\"progress\":{value}}}}}\n"
                );
                write(line.as_bytes())?;
            }
            "ask" => {
                let id = text(&value[0])?;
                let (method, params) = (text(&value[1])?, text(&value[2])?);
                let (sender, answers) = channel();
                let key = format!("answer {id}");
                self.server
                    .state()
                    .waiting
                    .entry(key)
                    .or_default()
                    .push(sender);
                let line = format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n"
                );
                write(line.as_bytes())?;
                let answer = answers.recv().map_err(|error| error.to_string())?;
                names.insert("answer", Value::from(answer).to_string());
            }
            "await" => {
                let method = self.text(value)?;
                let seen = self.wait_for(&method)?;
                names.insert("seen", Value::from(seen).to_string());
            }
            "pause" => {
                let time = value.as_u64().ok_or("pause takes milliseconds")?;
                thread::sleep(Duration::from_millis(time));
            }
            "stderr" => io::stderr()
                .write_all(text(value)?.as_bytes())
                .map_err(failed)?,
            "flood-stderr" => {
                let line = [b"x".repeat(999).as_slice(), b"\n"].concat();
                for _ in 0..value.as_u64().ok_or("flood-stderr takes a count")? {
                    io::stderr().write_all(&line).map_err(failed)?;
                }
            }
            "grandchild" => grandchild(&self.text(value)?).map_err(failed)?,
            "ignore-term" => ignore_term().map_err(failed)?,
            "ignore-end" => self.server.ignore_end.store(true, Ordering::Relaxed),
            "stop-reading" => self.server.stop_reading.store(true, Ordering::Relaxed),
            "close-stdout" => {
                // The descriptor stays taken, or the next file would become stdout.
                let nothing = std::fs::File::options().write(true).open("/dev/null");
                let closed = rustix::stdio::dup2_stdout(nothing.map_err(failed)?);
                closed.map_err(|error| failed(error.into()))?;
                self.server.state().closed = true;
            }
            "exit" => {
                let code = value.as_i64().and_then(|code| i32::try_from(code).ok());
                std::process::exit(code.ok_or("exit takes a code")?);
            }
            "abort" => std::process::abort(),
            _ => return Err(format!("no step is {what}")),
        }
        Ok(())
    }

    /// The last line with this method, as soon as there is one.
    fn wait_for(&self, method: &str) -> Result<String, String> {
        let (sender, lines) = channel();
        {
            let mut state = self.server.state();
            let part = format!("\"method\":{}", Value::from(method));
            let mut lines = state
                .lines
                .iter()
                .rev()
                .map(|line| String::from_utf8_lossy(line));
            if let Some(seen) = lines.find(|line| line.contains(&part)) {
                return Ok(seen.into_owned());
            }
            state
                .waiting
                .entry(method.to_owned())
                .or_default()
                .push(sender);
        }
        lines.recv().map_err(|error| error.to_string())
    }
}

fn expanded(bytes: &[u8], names: &BTreeMap<&'static str, String>) -> Vec<u8> {
    let mut text = bytes.to_vec();
    for (name, value) in names {
        let name = format!("{{{name}}}").into_bytes();
        let mut from = 0;
        while let Some(at) = text[from..]
            .windows(name.len())
            .position(|part| part == name)
        {
            let at = from + at;
            text.splice(at..at + name.len(), value.bytes());
            from = at + value.len();
        }
    }
    text
}

fn unhex(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter(|digit| !digit.is_ascii_whitespace())
        .collect();
    let byte = |pair: &[u8]| {
        let pair = str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| "no hex digits".to_owned())
}

fn environment() -> Result<String, String> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let variables: serde_json::Map<String, Value> = std::env::vars_os()
        .map(|(name, value)| (lossy(name), Value::from(lossy(value))))
        .collect();
    let arguments: Vec<Value> = std::env::args_os().map(lossy).map(Value::from).collect();
    let directory = std::env::current_dir().map_err(|error| error.to_string())?;
    let told = serde_json::json!({
        "environment": variables,
        "arguments": arguments,
        "directory": directory.to_string_lossy(),
    });
    Ok(told.to_string())
}

fn descriptors() -> Result<String, String> {
    let mut open = serde_json::Map::new();
    let read = |error: io::Error| error.to_string();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // The one through which the directory is read has no target any more, or is its own.
        if let Ok(target) = std::fs::read_link(&path)
            && !target.starts_with("/proc")
        {
            open.insert(name, Value::from(target.to_string_lossy()));
        }
    }
    Ok(serde_json::json!({"descriptors": open}).to_string())
}

/// Ignoring the signal for good would take `unsafe`; a handler that only notes it does as well.
fn ignore_term() -> io::Result<()> {
    let noted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, noted).map(drop)
}

fn grandchild(kind: &str) -> io::Result<()> {
    Command::new(std::env::current_exe()?)
        .args(["linger", "600", kind])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

fn linger(arguments: &[String]) -> ExitCode {
    let [seconds, kind] = arguments else {
        return ExitCode::from(2);
    };
    let Ok(seconds) = seconds.parse() else {
        return ExitCode::from(2);
    };
    for word in kind.split(',') {
        let done = match word {
            "plain" => true,
            "setsid" => rustix::process::setsid().is_ok(),
            "stubborn" => ignore_term().is_ok(),
            _ => false,
        };
        if !done {
            return ExitCode::from(2);
        }
    }
    thread::sleep(Duration::from_secs(seconds));
    ExitCode::SUCCESS
}
