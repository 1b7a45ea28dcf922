//! A child process, as far as no runtime is needed: its command, its group, and its stderr.
//!
//! The child leads a process group of its own, and signals go to the group. On its end the group
//! is killed while the leader is still a zombie: once it is reaped, its number may be another's.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_proto::UpstreamId;
use rustix::process::{Pid, Signal, kill_process_group};
use tracing::{debug, info, warn};

use crate::driver::Driver;
use crate::guard::MARKER;
use crate::logging::StderrLines;

/// What starts the child of `upstream`, with pipes for stdin, stdout and stderr.
pub fn command(driver: &Driver, upstream: UpstreamId) -> Command {
    let child = driver.command();
    let mut command = Command::new(&child.program);
    command
        .args(&child.args)
        .env_clear()
        .envs(child.env.iter().map(|(name, value)| (name, value)))
        .env(MARKER, driver.marker(upstream))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = &child.cwd {
        command.current_dir(directory);
    }
    command
}

/// Says in the log that the child of `upstream` could not be started.
pub fn log_failed_start(driver: &Driver, upstream: UpstreamId, error: &io::Error) {
    driver.metrics().starts_failed.inc();
    let (upstream, program) = (upstream.get(), driver.command().program.display());
    warn!(upstream, %program, %error, "the server could not be started");
}

/// The process group of a running child, which the guard knows of.
pub struct Group {
    leader: Pid,
    upstream: UpstreamId,
    driver: Arc<Driver>,
    ended: bool,
}

impl Group {
    /// The group that a child of this number leads, which was just started by [`command`].
    ///
    /// # Errors
    ///
    /// If that is no number of a process.
    pub fn of(child: u32, upstream: UpstreamId, driver: &Arc<Driver>) -> io::Result<Self> {
        let leader = i32::try_from(child).ok().and_then(Pid::from_raw);
        let leader = leader.ok_or_else(|| io::Error::other("a process id out of range"))?;
        if let Some(guard) = driver.guard()
            && let Err(error) = guard.register(child)
        {
            warn!(%error, "the guard has gone: a SIGKILL would leave children behind");
        }
        driver.child_started(upstream, child);
        debug!(upstream = upstream.get(), pid = child, "the server started");
        Ok(Self {
            leader,
            upstream,
            driver: Arc::clone(driver),
            ended: false,
        })
    }

    /// The child itself.
    pub fn leader(&self) -> Pid {
        self.leader
    }

    /// Sends SIGTERM to all.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL to all.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Kills what is left, takes the group back from the guard, and then has the child reaped by
    /// `reap`, in this order. Of several calls the first counts.
    pub fn end(&mut self, reap: impl FnOnce() -> io::Result<ExitStatus>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.kill();
        if let Some(guard) = self.driver.guard() {
            // A guard that has gone was told of when the child was registered.
            let _ = guard.unregister(self.leader.as_raw_nonzero().get().unsigned_abs());
        }
        let upstream = self.upstream.get();
        match reap() {
            Ok(status) => info!(upstream, %status, "the server ended"),
            Err(error) => warn!(%error, "a child could not be reaped"),
        }
    }

    fn signal(&self, signal: Signal) {
        // A group that has gone is where the signal was to lead.
        let _ = kill_process_group(self.leader, signal);
    }
}

/// Lines of a child's stderr that are logged in one second; what is beyond them is counted.
const STDERR_LINES_PER_SECOND: u32 = 200;

/// Writes a child's stderr to the log, bounded and escaped. Dropping it writes what is left.
pub struct StderrLog {
    upstream: u64,
    lines: StderrLines,
    second: Instant,
    logged: u32,
    dropped: u64,
}

#[expect(
    clippy::disallowed_methods,
    reason = "lines of the log are counted by the second"
)]
fn now() -> Instant {
    Instant::now()
}

impl StderrLog {
    /// Before the first byte.
    pub fn new(upstream: UpstreamId) -> Self {
        Self {
            upstream: upstream.get(),
            lines: StderrLines::new(),
            second: now(),
            logged: 0,
            dropped: 0,
        }
    }

    /// Takes what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        let upstream = self.upstream;
        if now().duration_since(self.second) >= Duration::from_secs(1) {
            self.tell_dropped();
            self.second = now();
            (self.logged, self.dropped) = (0, 0);
        }
        for line in self.lines.feed(bytes) {
            if self.logged < STDERR_LINES_PER_SECOND {
                self.logged += 1;
                info!(target: "stderr", upstream, "{line}");
            } else {
                self.dropped += 1;
            }
        }
    }

    fn tell_dropped(&self) {
        let (upstream, dropped) = (self.upstream, self.dropped);
        if dropped > 0 {
            warn!(target: "stderr", upstream, dropped, "lines of stderr were left out");
        }
    }
}

impl Drop for StderrLog {
    fn drop(&mut self) {
        let upstream = self.upstream;
        if let Some(line) = self.lines.finish() {
            info!(target: "stderr", upstream, "{line}");
        }
        self.tell_dropped();
    }
}
