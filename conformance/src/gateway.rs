//! A gateway process: found, started, asked how it is, and stopped.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::script::{Child, Setup};
use crate::text::show;
use crate::tls::Tls;
use crate::wire::{DEADLINE, Wire};

/// The pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// One of the gateway's binaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Its name, which tells it from the others.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Binary {
    fn new(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
        }
    }
}

/// The packages of the gateway's binaries, and the names of these.
const BINARIES: [(&str, &str); 2] = [
    ("gateway-tokio", "mcp-gateway"),
    ("gateway-smol", "mcp-gateway-smol"),
];

/// The gateway's binaries: those that `MCP_GATEWAY_BIN` names, separated as in `PATH`, or else those
/// of the workspace, which are built if need be.
///
/// # Errors
///
/// If they cannot be built.
pub fn locate() -> Result<Vec<Binary>, String> {
    if let Some(paths) = std::env::var_os("MCP_GATEWAY_BIN") {
        let named = std::env::split_paths(&paths).map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Binary::new(&name, path.clone())
        });
        return Ok(named.collect());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--bins"])
        // What cargo says where each thing was built to: no guess at a target directory.
        .args(["--message-format", "json"])
        .args(
            BINARIES
                .iter()
                .flat_map(|(package, _)| ["--package", package]),
        )
        .current_dir(&root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.status.success() {
        return Err("the gateway cannot be built".to_owned());
    }
    let messages: Vec<Value> = built
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    BINARIES
        .iter()
        .map(|(_, name)| {
            let executable = messages
                .iter()
                .filter(|message| message["target"]["name"] == *name)
                .find_map(|message| message["executable"].as_str());
            match executable {
                Some(path) => Ok(Binary::new(name, path.into())),
                None => Err(format!("cargo named no executable {name}")),
            }
        })
        .collect()
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks TLS with, if it does.
    tls: Option<Tls>,
    /// How long anything that must happen in it may take.
    pub patience: Duration,
    /// The lines of its log and of its audit trail, as they came.
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts a gateway on a port of its own, with TLS if it is given what to speak it with, and waits
    /// until its start-up probe has ended.
    ///
    /// # Errors
    ///
    /// If it does not serve.
    pub fn start(
        binary: &Path,
        scripted_child: &Path,
        setup: &Setup,
        tls: Option<&Tls>,
    ) -> Result<Self, String> {
        let public = setup.options.iter().any(|option| option == "--public-url");
        let port = if public { free_port()? } else { 0 };
        let mut command = Command::new(binary);
        command
            // Where its options may name files.
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["--port", &port.to_string(), "--log-format", "json"])
            .args(tls.iter().flat_map(|tls| &tls.options))
            // Many run at the same time.
            .args(["--admin", "off"])
            .args(&setup.options);
        match &setup.child {
            Child::Demo => command.arg("--demo"),
            Child::Scripted(arguments) => command.arg("--").arg(scripted_child).args(arguments),
            Child::Command(words) => command.arg("--").args(words),
        };
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let stdout = process.stdout.take().ok_or("no stdout")?;
        let stderr = process.stderr.take().ok_or("no stderr")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![keep(stdout, &log), keep(stderr, &log)];
        let mut gateway = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: tls.cloned(),
            patience: DEADLINE,
            log,
            readers,
        };
        gateway.address = gateway.wait_for("an address", |gateway| {
            if let Ok(Some(status)) = gateway.process.try_wait() {
                // What it wrote last may still be on its way: the reader ends after it.
                thread::sleep(10 * PAUSE);
                let log = gateway.log_since(0).join("\n");
                return Err(format!("the gateway ended with {status}: {log}"));
            }
            if public {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                return Ok(Wire::connect(address, tls).ok().map(|_| address));
            }
            let log = locked(&gateway.log);
            Ok(log.iter().find_map(|line| address(line)))
        })?;
        gateway.wait_for("the end of the start-up probe", |gateway| {
            let (_, health) = gateway.health()?;
            Ok((health["children"] == 0).then_some(()))
        })?;
        Ok(gateway)
    }

    /// Looks until there is something.
    ///
    /// # Errors
    ///
    /// What `look` fails with, or that nothing came.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if Instant::now() > until {
                return Err(format!("{what} did not come"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Opens a connection to it.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn connect(&self) -> Result<Wire, String> {
        Wire::connect(self.address, self.tls.as_ref())
    }

    /// What its URL begins with, and what it does not.
    pub fn schemes(&self) -> (&'static str, &'static str) {
        match self.tls {
            Some(_) => ("https", "http"),
            None => ("http", "https"),
        }
    }

    /// Asks `/health` on a new connection: the status and the JSON.
    ///
    /// # Errors
    ///
    /// If there is no such answer.
    pub fn health(&self) -> Result<(u16, Value), String> {
        let mut wire = self.connect()?;
        let request = format!(
            "GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        wire.send(request.as_bytes(), None)?;
        let read = wire.read_response(true, false);
        read.map_err(|error| format!("GET /health on a new connection: {error}"))?;
        let health = serde_json::from_slice(&wire.response.body);
        let health = health.map_err(|error| format!("GET /health: {error}"))?;
        Ok((wire.response.status, health))
    }

    /// How many lines the log has.
    pub fn log_length(&self) -> usize {
        locked(&self.log).len()
    }

    /// The lines of the log from this one on.
    pub fn log_since(&self, start: usize) -> Vec<String> {
        locked(&self.log)[start..].to_vec()
    }

    /// The reasons of the refusals on record from this line of the log on.
    pub fn refusals_since(&self, start: usize) -> Vec<String> {
        self.log_since(start)
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|record| record["audit"].is_string() && record["event"] == "refused")
            .filter_map(|record| record["reason"].as_str().map(str::to_owned))
            .collect()
    }

    /// Stops the gateway as an operator would, and sees that it ends well.
    ///
    /// # Errors
    ///
    /// If it does not end, or not with 0.
    pub fn stop(mut self) -> Result<(), String> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| format!("SIGTERM: {error}"))?;
        let status = self.wait_for("the gateway's end after SIGTERM", |gateway| {
            gateway
                .process
                .try_wait()
                .map_err(|error| error.to_string())
        })?;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if status.success() {
            return Ok(());
        }
        let log = self.log_since(0);
        let last = log.last().map(|line| show(line.as_bytes()));
        Err(format!(
            "the gateway ended with {status}; its log ended with {last:?}"
        ))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // After a failure. Its guard, or the ends of their stdin, end the children.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody uses: a gateway with a public URL tells that one, and not where it listens.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|bound| bound.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

/// The address in the line that tells the URL.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = ["http://", "https://"]
        .iter()
        .find_map(|scheme| line.split_once(scheme))?;
    let end = rest.find('/').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Keeps the lines of a stream.
fn keep(stream: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            locked(&log).push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}

/// A lock whose holder panicked is as good as any here: lines are pushed whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_text_and_in_json() {
        for line in [
            "INFO listening url=http://127.0.0.1:8080/mcp",
            r#"{"message":"listening","url":"http://127.0.0.1:8080/mcp"}"#,
            r#"{"message":"listening","url":"https://127.0.0.1:8080/mcp"}"#,
        ] {
            assert_eq!(address(line), Some(([127, 0, 0, 1], 8080).into()));
        }
        assert_eq!(address("see http://example.org/x"), None);
    }
}
