//! A child process: its pipes and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway_kit::child::{Group, command};
use gateway_kit::driver::Driver;
use mcp_proto::UpstreamId;
use rustix::process::Pid;
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

/// A running child process. Dropping it kills the group.
pub(crate) struct Process {
    child: Child,
    pub(crate) group: Group,
    exit: Option<Exit>,
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
}

impl Process {
    /// Starts the child of `upstream`.
    pub(crate) fn spawn(upstream: UpstreamId, driver: &Arc<Driver>) -> io::Result<Self> {
        let mut child = command(driver, upstream).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut process = Self {
            group: Group::of(child.id(), upstream, driver)?,
            child,
            exit: None,
            stdin: None,
            stdout: None,
            stderr: None,
        };
        // From here on an error drops the process, which ends it.
        process.exit = Some(Exit::watch(process.group.leader())?);
        if let (Some(stdin), Some(stdout), Some(stderr)) = pipes {
            process.stdin = Some(pipe::Sender::from_owned_fd(stdin.into())?);
            process.stdout = Some(pipe::Receiver::from_owned_fd(stdout.into())?);
            process.stderr = Some(pipe::Receiver::from_owned_fd(stderr.into())?);
        }
        Ok(process)
    }

    /// Ready once the child has ended. It is not reaped yet.
    pub(crate) fn poll_exit(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.exit {
            Some(exit) => exit.poll(context),
            None => Poll::Pending,
        }
    }
}

/// Kills what is left of the group, and reaps.
impl Drop for Process {
    fn drop(&mut self) {
        self.group.end(|| self.child.wait());
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
