//! A child process: its group, its pipes and its end.
//!
//! The child leads a process group of its own, and signals go to the group. On its end the group
//! is killed while the leader is still a zombie: once it is reaped, its number may be another's.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway_kit::guard::MARKER;
use gateway_kit::settings::ChildCommand;
use rustix::process::{Pid, Signal, kill_process_group};
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use crate::driver::Driver;

/// A running child process. Dropping it kills the group.
pub(crate) struct Process {
    child: Child,
    group: Pid,
    /// The upstream's.
    number: u64,
    marker: String,
    driver: Arc<Driver>,
    exit: Option<Exit>,
    reaped: bool,
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
}

impl Process {
    /// Starts the command, with `number` in its mark.
    pub(crate) fn spawn(
        command: &ChildCommand,
        number: u64,
        driver: &Arc<Driver>,
    ) -> io::Result<Self> {
        let marker = format!("{}-{number}", driver.equipment.instance);
        let mut builder = Command::new(&command.program);
        builder
            .args(&command.args)
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .env(MARKER, &marker)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &command.cwd {
            builder.current_dir(directory);
        }
        let mut child = builder.spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| io::Error::other("a process id out of range"))?;
        if let Some(guard) = &driver.equipment.guard
            && let Err(error) = guard.register(child.id())
        {
            tracing::warn!(%error, "the guard has gone: a SIGKILL would leave children behind");
        }
        tracing::debug!(upstream = number, pid = child.id(), "the server started");
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut process = Self {
            child,
            group,
            number,
            marker,
            driver: Arc::clone(driver),
            exit: None,
            reaped: false,
            stdin: None,
            stdout: None,
            stderr: None,
        };
        // From here on an error drops the process, which ends it.
        process.exit = Some(Exit::watch(group)?);
        if let (Some(stdin), Some(stdout), Some(stderr)) = pipes {
            process.stdin = Some(pipe::Sender::from_owned_fd(stdin.into())?);
            process.stdout = Some(pipe::Receiver::from_owned_fd(stdout.into())?);
            process.stderr = Some(pipe::Receiver::from_owned_fd(stderr.into())?);
        }
        Ok(process)
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Ready once the child has ended. It is not reaped yet.
    pub(crate) fn poll_exit(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.exit {
            Some(exit) => exit.poll(context),
            None => Poll::Pending,
        }
    }

    /// After the end: kills what is left of the group, and reaps. Returns the mark by which those
    /// that left the group can be found.
    pub(crate) fn reap(mut self) -> String {
        self.finish();
        std::mem::take(&mut self.marker)
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.reaped, true) {
            return;
        }
        self.kill();
        if let Some(guard) = &self.driver.equipment.guard {
            // A guard that has gone was told of when the child was registered.
            let _ = guard.unregister(self.child.id());
        }
        match self.child.wait() {
            Ok(status) => tracing::info!(upstream = self.number, %status, "the server ended"),
            Err(error) => tracing::warn!(%error, "a child could not be reaped"),
        }
    }

    fn signal(&self, signal: Signal) {
        // A group that has gone is where the signal was to lead.
        let _ = kill_process_group(self.group, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Sees a process end without reaping it.
#[cfg(target_os = "linux")]
struct Exit(AsyncFd<OwnedFd>);

#[cfg(target_os = "linux")]
impl Exit {
    // Deprecated, since a type whose descriptor changes or closes early would be unsound in it. An
    // `OwnedFd` does neither, and what replaces it is an unsafe function.
    #[expect(deprecated)]
    fn watch(pid: Pid) -> io::Result<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        let interest = tokio::io::Interest::READABLE;
        let descriptor = AsyncFd::with_interest(descriptor, interest)?;
        Ok(Self(descriptor))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A pidfd stays readable once its process has ended; an error means that it has.
        self.0.poll_read_ready(context).map(drop)
    }
}

/// Sees a process end without reaping it.
#[cfg(not(target_os = "linux"))]
struct Exit(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>);

#[cfg(not(target_os = "linux"))]
impl Exit {
    fn watch(pid: Pid) -> io::Result<Self> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let wait = tokio::task::spawn_blocking(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = waitid(WaitId::Pid(pid), options);
        });
        Ok(Self(Box::pin(async {
            let _ = wait.await;
        })))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}
