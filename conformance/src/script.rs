//! Reads a script. The format is told in `scripts/README.md`.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The server that a script's gateway wraps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Child {
    /// The demo server of the gateway's own binary.
    Demo,
    /// `scripted-child` with these arguments.
    Scripted(Vec<String>),
    /// Any other command.
    Command(Vec<String>),
}

/// How the gateway of a script is started: scripts with equal ones can share a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setup {
    /// The gateway's options.
    pub options: Vec<String>,
    /// The wrapped server.
    pub child: Child,
}

/// One script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Where it was read.
    pub path: PathBuf,
    /// What it shows.
    pub title: String,
    /// The gateway that it needs.
    pub setup: Setup,
    /// Whether `/health` must say `degraded` in the end, not `ok`.
    pub leaves_degraded: bool,
    /// Whether it connects where nobody accepts, which with TLS would wait for a handshake.
    pub plain_only: bool,
    /// How many refusals must be on record beside those that were answered with a status of 400 or
    /// more and a body.
    pub records: usize,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// A command and its line.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line of the command, from 1.
    pub line: usize,
    /// What is done.
    pub command: Command,
}

/// Something that is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Opens a connection.
    Connect(String),
    /// Sends bytes, in one write or in writes of `by` bytes.
    Send {
        /// The connection.
        on: String,
        /// What is sent.
        pieces: Vec<Piece>,
        /// The size of each write.
        by: Option<usize>,
    },
    /// Sends a well-formed request, but for what the block says.
    Request {
        /// The connection, which is opened if it is not open.
        on: String,
        /// The method.
        method: String,
        /// The target.
        target: String,
        /// The variable that holds the session's id.
        session: Option<String>,
        /// Fields, which replace those of their name, and the body.
        pieces: Vec<Piece>,
    },
    /// Opens a session on a connection of its own; the variable holds its id.
    Session {
        /// The variable.
        name: String,
        /// The revision that the client asks for.
        version: String,
        /// The client's capabilities, as JSON.
        capabilities: String,
    },
    /// Ends a session.
    End(String),
    /// Waits.
    Pause(Duration),
    /// Closes the sending side.
    HalfClose(String),
    /// Closes the connection.
    Close(String),
    /// Resets the connection.
    Reset(String),
    /// Gives a variable a value out of what was received last.
    Capture {
        /// The connection.
        on: String,
        /// The variable.
        name: String,
        /// What it gets.
        from: Source,
    },
    /// What must come.
    Expect {
        /// The connection.
        on: String,
        /// What it is.
        what: Expected,
        /// What must hold for it.
        checks: Vec<Check>,
    },
    /// `/health` must come to hold this JSON.
    Health(String),
    /// These refusals, and no others, must be on record since the script began.
    Audit(Vec<String>),
    /// A line like this must be in the log since the script began.
    Log(String),
    /// No line like this may be in the log since the script began.
    NoLog(String),
}

/// A part of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A line, which ends in CRLF.
    Line(String),
    /// Bytes.
    Raw(String),
    /// Bytes of the body: `{body}` is how many there are.
    Body(String),
    /// One chunk of a body, with its size and its line ends.
    Chunk(String),
    /// The same bytes again and again.
    Repeat(usize, String),
    /// The same bytes of the body again and again.
    RepeatBody(usize, String),
}

/// Where a variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A field of the last response.
    Header(String),
    /// A field of the last event.
    Event(String),
    /// A value in the last body or event's data, by its JSON pointer: a string's text, or JSON.
    Json(String),
}

/// What must come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A response.
    Response {
        /// Its status.
        status: u16,
        /// Whether the connection must be closed after it, and say so.
        closes: bool,
        /// How much of it there is.
        body: Body,
    },
    /// An event that is neither a priming event nor a comment; comments are passed over.
    Event,
    /// An event with an id, a reconnection time and empty data.
    Priming,
    /// A comment.
    Comment,
    /// The end of the response's body.
    End,
    /// The end of the connection, with nothing before it.
    Closed,
    /// The connection serves a further request.
    Open,
    /// Nothing, for this time.
    Silence(Duration),
}

/// What of a response is read by `expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole,
    /// Only the head, and there is no more, whatever its fields say: an answer to HEAD.
    None,
    /// Only the head: events follow.
    Events,
}

/// What must hold for a response or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A field is there once, and its value is like this.
    Field(String, String),
    /// A field is not there.
    NoField(String),
    /// The body or data is this.
    Exact(String),
    /// The body or data is JSON that holds this.
    Json(String),
    /// The body or data is like this.
    Like(String),
}

/// Reads every script below a directory, in the order of their paths.
///
/// # Errors
///
/// If a script cannot be read or is none: all of them are told.
pub fn read_all(directory: &Path) -> Result<Vec<Script>, String> {
    let mut paths = Vec::new();
    find(directory, &mut paths).map_err(|error| format!("{}: {error}", directory.display()))?;
    paths.sort();
    let mut scripts = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path);
        match text
            .map_err(|error| error.to_string())
            .and_then(|text| parse(&path, &text))
        {
            Ok(script) => scripts.push(script),
            Err(error) => errors.push(format!("{}:{error}", path.display())),
        }
    }
    if errors.is_empty() {
        Ok(scripts)
    } else {
        Err(errors.join("\n"))
    }
}

fn find(directory: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, paths)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "script")
        {
            paths.push(path);
        }
    }
    Ok(())
}

/// Reads one script.
///
/// # Errors
///
/// The line and what is wrong with it.
pub fn parse(path: &Path, text: &str) -> Result<Script, String> {
    let mut script = Script {
        path: path.to_owned(),
        title: String::new(),
        setup: Setup {
            options: Vec::new(),
            child: Child::Demo,
        },
        leaves_degraded: false,
        plain_only: false,
        records: 0,
        steps: Vec::new(),
    };
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        read_line(&mut script, number, line).map_err(|why| format!("{number}: {why}"))?;
    }
    if script.title.is_empty() {
        return Err("1: the first line is no comment that tells what the script shows".to_owned());
    }
    if !script
        .steps
        .iter()
        .any(|step| step.command.checks_something())
    {
        return Err("1: nothing is expected, so that nothing can fail".to_owned());
    }
    Ok(script)
}

fn read_line(script: &mut Script, number: usize, line: &str) -> Result<(), String> {
    let Some(first) = line.chars().next() else {
        return Ok(());
    };
    if first == '#' {
        if script.title.is_empty() && script.steps.is_empty() {
            line[1..].trim().clone_into(&mut script.title);
        }
        return Ok(());
    }
    if !first.is_ascii_alphabetic() {
        let step = script
            .steps
            .last_mut()
            .ok_or("a block's line without a command")?;
        return step.command.add(line);
    }
    if script.steps.is_empty()
        && let Some((key, value)) = line.split_once(": ")
        && !key.contains(' ')
    {
        return directive(script, key, value.trim());
    }
    let command = command(line)?;
    script.steps.push(Step {
        line: number,
        command,
    });
    Ok(())
}

fn directive(script: &mut Script, key: &str, value: &str) -> Result<(), String> {
    let words = || value.split_whitespace().map(str::to_owned);
    match key {
        "gateway" => script.setup.options.extend(words()),
        "child" => {
            let mut words = words();
            script.setup.child = match words.next().as_deref() {
                Some("demo") => Child::Demo,
                Some("scripted") => Child::Scripted(words.collect()),
                Some("command") => Child::Command(words.collect()),
                _ => return Err("child is demo, scripted ... or command ...".to_owned()),
            };
        }
        "after" if value == "degraded" => script.leaves_degraded = true,
        "tls" if value == "off" => script.plain_only = true,
        "records" => {
            script.records = value.parse().map_err(|_| "records is no number")?;
        }
        _ => return Err(format!("no directive is {key}: {value}")),
    }
    Ok(())
}

fn command(line: &str) -> Result<Command, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let owned = |word: &str| word.to_owned();
    let request = |on: &str, method: &str, target: &str, session: Option<&&str>| Command::Request {
        on: owned(on),
        method: owned(method),
        target: owned(target),
        session: session.map(|&name| owned(name)),
        pieces: Vec::new(),
    };
    Ok(match words.as_slice() {
        ["connect", on] => Command::Connect(owned(on)),
        ["send", on] => Command::Send {
            on: owned(on),
            pieces: Vec::new(),
            by: None,
        },
        ["send", on, "by", size] => Command::Send {
            on: owned(on),
            pieces: Vec::new(),
            by: Some(positive(size)?),
        },
        ["post", on, session @ ..] if session.len() < 2 => {
            request(on, "POST", "/mcp", session.first())
        }
        ["get", on, session @ ..] if session.len() < 2 => {
            request(on, "GET", "/mcp", session.first())
        }
        ["delete", on, session @ ..] if session.len() < 2 => {
            request(on, "DELETE", "/mcp", session.first())
        }
        ["request", on, method, target, session @ ..] if session.len() < 2 => {
            request(on, method, target, session.first())
        }
        ["session", name, rest @ ..] if rest.len() < 3 => Command::Session {
            name: owned(name),
            version: owned(rest.first().unwrap_or(&"2025-11-25")),
            capabilities: owned(rest.get(1).unwrap_or(&"{}")),
        },
        ["end", name] => Command::End(owned(name)),
        ["pause", time] => Command::Pause(duration(time)?),
        ["half-close", on] => Command::HalfClose(owned(on)),
        ["close", on] => Command::Close(owned(on)),
        ["reset", on] => Command::Reset(owned(on)),
        ["capture", on, name, kind, what] => Command::Capture {
            on: owned(on),
            name: owned(name),
            from: match *kind {
                "header" => Source::Header(owned(what)),
                "event" => Source::Event(owned(what)),
                "json" => Source::Json(owned(what)),
                _ => return Err("capture takes header, event or json".to_owned()),
            },
        },
        ["expect", "health", ..] => Command::Health(after(line, "health")),
        ["expect", "log", ..] => Command::Log(after(line, "log")),
        ["expect", "no-log", ..] => Command::NoLog(after(line, "no-log")),
        ["expect", "audit", reasons @ ..] => {
            Command::Audit(reasons.iter().map(|&reason| owned(reason)).collect())
        }
        ["expect", on, what @ ..] => Command::Expect {
            on: owned(on),
            what: expected(what)?,
            checks: Vec::new(),
        },
        _ => return Err(format!("no command: {line}")),
    })
}

fn after(line: &str, word: &str) -> String {
    let (_, rest) = line.split_once(word).unwrap_or_default();
    rest.trim().to_owned()
}

fn expected(words: &[&str]) -> Result<Expected, String> {
    Ok(match words {
        ["event"] => Expected::Event,
        ["priming"] => Expected::Priming,
        ["comment"] => Expected::Comment,
        ["end"] => Expected::End,
        ["closed"] => Expected::Closed,
        ["open"] => Expected::Open,
        ["silence"] => Expected::Silence(Duration::from_millis(200)),
        ["silence", time] => Expected::Silence(duration(time)?),
        [status, rest @ ..] => {
            let (digits, closes) = match status.strip_suffix('c') {
                Some(digits) => (digits, true),
                None => (*status, false),
            };
            let digits = (digits.len() == 3).then_some(digits);
            let status = digits.and_then(|digits| digits.parse().ok());
            let body = match rest {
                [] => Body::Whole,
                ["head"] => Body::None,
                ["events"] => Body::Events,
                _ => return Err("a status is followed by nothing, head or events".to_owned()),
            };
            Expected::Response {
                status: status.ok_or_else(|| format!("nothing is expected by {words:?}"))?,
                closes,
                body,
            }
        }
        [] => return Err("what is expected?".to_owned()),
    })
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text} is no positive number")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = |digits: &str| digits.parse().ok();
    let time = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => read(digits).map(Duration::from_millis),
        (None, Some(digits)) => read(digits).map(Duration::from_secs),
        (None, None) => None,
    };
    time.ok_or_else(|| format!("{text} is no time such as 200ms or 1s"))
}

impl Command {
    fn checks_something(&self) -> bool {
        matches!(
            self,
            Self::Expect { .. } | Self::Health(_) | Self::Audit(_) | Self::Log(_) | Self::NoLog(_)
        )
    }

    /// Adds a line of the command's block.
    fn add(&mut self, line: &str) -> Result<(), String> {
        let marker_length = if line.starts_with("=*") { 2 } else { 1 };
        let (marker, text) = line.split_at_checked(marker_length).unwrap_or((line, ""));
        let text = text.strip_prefix(' ').unwrap_or(text);
        match self {
            Self::Send { pieces, .. } | Self::Request { pieces, .. } => {
                pieces.push(piece(marker, text)?);
            }
            Self::Expect { what, checks, .. } => {
                let takes_checks = matches!(what, Expected::Response { .. } | Expected::Event)
                    || matches!(what, Expected::Priming);
                if !takes_checks {
                    return Err("this expectation takes no block".to_owned());
                }
                add_check(checks, marker, text)?;
            }
            _ => return Err("this command takes no block".to_owned()),
        }
        Ok(())
    }
}

fn piece(marker: &str, text: &str) -> Result<Piece, String> {
    let repeat = || {
        let (count, text) = text.split_once(' ').ok_or("a count and what is repeated")?;
        Ok::<_, String>((positive(count)?, text.to_owned()))
    };
    let text_of = || text.to_owned();
    Ok(match marker {
        "|" => Piece::Line(text_of()),
        ">" => Piece::Raw(text_of()),
        "=" => Piece::Body(text_of()),
        "%" => Piece::Chunk(text_of()),
        "*" => repeat().map(|(count, text)| Piece::Repeat(count, text))?,
        "=*" => repeat().map(|(count, text)| Piece::RepeatBody(count, text))?,
        _ => return Err(format!("no line of what is sent begins with {marker:?}")),
    })
}

fn add_check(checks: &mut Vec<Check>, marker: &str, text: &str) -> Result<(), String> {
    match (marker, checks.last_mut()) {
        // Further lines go on where the one before ended.
        ("=", Some(Check::Exact(before))) | ("~", Some(Check::Json(before))) => {
            before.push_str(text);
        }
        ("=", _) => checks.push(Check::Exact(text.to_owned())),
        ("~", _) => checks.push(Check::Json(text.to_owned())),
        ("?", _) => checks.push(Check::Like(text.to_owned())),
        ("|", _) => checks.push(match text.strip_prefix('!') {
            Some(name) => Check::NoField(name.to_ascii_lowercase()),
            None => {
                let (name, value) = text.split_once(':').ok_or("a field is name: value")?;
                Check::Field(name.to_ascii_lowercase(), value.trim().to_owned())
            }
        }),
        _ => return Err(format!("no line of an expectation begins with {marker:?}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Script, String> {
        parse(Path::new("x.script"), text)
    }

    #[test]
    fn a_script_is_read() {
        let script = read(
            "# Shows a thing.\n# More about it.\ngateway: --body-bytes 1KiB --x y\n\
             child: scripted --a b\nrecords: 2\n\n\
             connect a\nsend a by 3\n| GET / HTTP/1.1\n|\n=* 3 xy\n% chunk\n\
             expect a 400c head\n| connection: close\n| !etag\n= a\n= b\n~ {\"a\":\n~ 1}\n\
             pause 20ms\nget b s\nexpect b silence 1s\n",
        )
        .unwrap();
        assert_eq!(script.title, "Shows a thing.");
        assert_eq!(script.setup.options, ["--body-bytes", "1KiB", "--x", "y"]);
        assert_eq!(
            script.setup.child,
            Child::Scripted(vec!["--a".to_owned(), "b".to_owned()])
        );
        assert_eq!(script.records, 2);
        let lines: Vec<_> = script.steps.iter().map(|step| step.line).collect();
        assert_eq!(lines, [7, 8, 13, 20, 21, 22]);
        assert_eq!(
            script.steps[1].command,
            Command::Send {
                on: "a".to_owned(),
                by: Some(3),
                pieces: vec![
                    Piece::Line("GET / HTTP/1.1".to_owned()),
                    Piece::Line(String::new()),
                    Piece::RepeatBody(3, "xy".to_owned()),
                    Piece::Chunk("chunk".to_owned()),
                ],
            }
        );
        let Command::Expect { what, checks, .. } = &script.steps[2].command else {
            panic!("{:?}", script.steps[2]);
        };
        let response = Expected::Response {
            status: 400,
            closes: true,
            body: Body::None,
        };
        assert_eq!(*what, response);
        assert_eq!(
            *checks,
            [
                Check::Field("connection".to_owned(), "close".to_owned()),
                Check::NoField("etag".to_owned()),
                Check::Exact("ab".to_owned()),
                Check::Json("{\"a\":1}".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_no_script_is_told_with_its_line() {
        for (text, why) in [
            ("connect a\nexpect a open", "1: the first line"),
            ("# x\nconnect a", "1: nothing is expected"),
            ("# x\nconect a", "2: no command"),
            ("# x\n| a", "2: a block's line"),
            ("# x\nconnect a\n| a", "3: this command"),
            ("# x\nexpect a open\n| a: b", "3: this expectation"),
            ("# x\nexpect a 40", "2: nothing is expected by"),
            ("# x\nexpect a 400 haed", "2: a status is followed"),
            ("# x\nexpect a 400\n! a", "3: no line of an expectation"),
            ("# x\nsend a\n? b", "3: no line of what is sent"),
            ("# x\nsend a by 0", "2: 0 is no positive number"),
            ("# x\npause 1", "2: 1 is no time"),
            ("# x\ngatway: --x", "2: no directive"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(why), "{text:?}: {error}");
        }
    }
}
