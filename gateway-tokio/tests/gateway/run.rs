//! Starts the binary.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::processes::MARK;

/// A gateway that runs, until it is dropped.
pub(crate) struct Gateway {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts `mcp-gateway OPTIONS -- COMMAND` on a free port, with a mark that its children get.
    pub(crate) fn start(mark: &str, options: &[&str], command: &[&str]) -> Self {
        Self::start_from(":", mark, options, command)
    }

    /// The same, from a shell that does something first.
    pub(crate) fn start_from(before: &str, mark: &str, options: &[&str], command: &[&str]) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_mcp-gateway"))
            .args(["--port", "0", "--env", &format!("{MARK}={mark}")])
            .args(options)
            .arg("--")
            .args(command)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = process.stderr.take().expect("stderr is piped");
        let mut lines = BufReader::new(stderr).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, url) = line.split_once("http://")?;
                url.split('/').next()?.parse().ok()
            })
            .expect("the gateway tells its URL");
        // Read on, or a full pipe would stop it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { process, address }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status()
            .expect("kill is there");
        assert!(status.success(), "the gateway is there");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
