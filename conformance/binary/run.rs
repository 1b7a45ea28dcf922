//! Starts the binary.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use super::processes::{MARK, eventually};
use crate::BINARY;

/// A gateway that is to be started, on a free port.
pub(crate) struct Launch {
    command: Command,
    server: Vec<String>,
}

impl Launch {
    /// One that serves `command`.
    pub(crate) fn new(command: &[&str]) -> Self {
        Self::from(":", command)
    }

    /// One that serves the demo server, whose token's variable is `DEMO_API_TOKEN`.
    pub(crate) fn demo() -> Self {
        Self::new(&[]).options(&["--demo", "--startup-probe", "off", "--discover", "off"])
    }

    /// One that serves `command`, started from a shell that does something first.
    fn from(before: &str, command: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
            .arg(BINARY)
            .args(["--port", "0"])
            // Unless a test wants one: many gateways run at the same time.
            .env("MCP_GATEWAY_ADMIN", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let server = command.iter().map(|&word| word.to_owned()).collect();
        Self {
            command: shell,
            server,
        }
    }

    /// Gives the children a mark.
    pub(crate) fn mark(self, mark: &str) -> Self {
        self.options(&["--env", &format!("{MARK}={mark}")])
    }

    pub(crate) fn options<T: AsRef<str>>(mut self, options: &[T]) -> Self {
        self.command.args(options.iter().map(AsRef::as_ref));
        self
    }

    /// Sets a variable for the gateway.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Has the gateway write its stdout to a file.
    pub(crate) fn stdout(mut self, file: File) -> Self {
        self.command.stdout(file);
        self
    }

    fn command(mut self) -> Command {
        if !self.server.is_empty() {
            self.command.arg("--").args(&self.server);
        }
        self.command
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Gateway {
        let (process, stdout, stderr) = self.begin();
        let mut process = Ended(process);
        let mut address = None;
        eventually("the gateway listens", || {
            let ended = process.0.try_wait().expect("the gateway is a child");
            let log = stderr.text();
            assert_eq!(ended, None, "the gateway does not start: {log}");
            let told = log.split_once("addresses");
            let told = told.and_then(|(_, rest)| rest.split_once('['));
            address = told.and_then(|(_, rest)| rest.split([']', ',']).next()?.parse().ok());
            address.is_some()
        });
        Gateway {
            process,
            address: address.expect("it was found"),
            stdout,
            stderr,
        }
    }

    /// Starts it and does not wait.
    pub(crate) fn begin(self) -> (Child, Text, Text) {
        let mut process = self.command().spawn().expect("the binary starts");
        let stderr = process.stderr.take().expect("stderr is piped");
        let stdout = process.stdout.take().map_or_else(Text::default, Text::of);
        (process, stdout, Text::of(stderr))
    }

    /// Runs it to its end, which it comes to by itself.
    pub(crate) fn run(self) -> Output {
        self.command().output().expect("the binary starts")
    }
}

/// What a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Text(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    text: String,
    ended: bool,
}

impl Text {
    /// Reads on to the end, or a full pipe would stop whoever writes.
    fn of(source: impl Read + Send + 'static) -> Self {
        let text = Self::default();
        let shared = text.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                let mut written = shared.lock();
                written.text.push_str(&line);
                written.text.push('\n');
            }
            shared.lock().ended = true;
        });
        text
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().expect("nobody panics with it")
    }

    pub(crate) fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// All of it, once the last process that may write has ended.
    pub(crate) fn whole(&self) -> String {
        eventually("nobody writes any more", || self.lock().ended);
        self.text()
    }

    /// Waits until `part` was written so many times.
    pub(crate) fn wait_for(&self, part: &str, times: usize) {
        eventually(&format!("{part} in {}", self.text()), || {
            self.text().matches(part).count() >= times
        });
    }
}

/// A process that ends when this is dropped.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A gateway that runs, until it is dropped.
pub(crate) struct Gateway {
    process: Ended,
    pub(crate) address: SocketAddr,
    pub(crate) stdout: Text,
    pub(crate) stderr: Text,
}

impl Gateway {
    /// Starts `mcp-gateway OPTIONS -- COMMAND` on a free port, with a mark that its children get.
    pub(crate) fn start(mark: &str, options: &[&str], command: &[&str]) -> Self {
        Self::start_from(":", mark, options, command)
    }

    /// The same, from a shell that does something first.
    pub(crate) fn start_from(before: &str, mark: &str, options: &[&str], command: &[&str]) -> Self {
        Launch::from(before, command)
            .mark(mark)
            .options(options)
            .start()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// How much memory it has, in KiB: now (`VmRSS`), or at most since its start (`VmHWM`).
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the gateway runs");
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
        kibibytes.expect("its memory is told")
    }

    /// How many descriptors it has.
    pub(crate) fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.id()));
        open.expect("the gateway runs").count()
    }

    pub(crate) fn signal(&self, signal: &str) {
        signal_process(self.id(), signal);
    }

    /// Waits for its end, and returns its exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let status = self.process.0.wait().expect("the gateway ends");
        status.code()
    }
}

pub(crate) fn signal_process(id: u32, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &id.to_string()])
        .status()
        .expect("kill is there");
    assert!(status.success(), "the process is there");
}

/// A server in a line of shell: answers `initialize`, then does as it is told.
pub(crate) fn shell_server(before: &str, after: &str) -> String {
    format!(
        r#"{before}
read -r line
echo '{{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"shell","version":"1"}}}}}}'
{after}"#
    )
}
