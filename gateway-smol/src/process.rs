//! A child process: its pipes and its end.
//!
//! async-process reaps a child only when it is asked for its status, or in a thread of its own once
//! its handle was dropped. Neither happens before the group was killed: a descriptor of this
//! module's own tells of the child's end.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_io::{Async, block_on};
use async_process::{Child, Command};
use gateway_kit::child::{Group, command};
use gateway_kit::driver::Driver;
use mcp_proto::UpstreamId;
use rustix::process::Pid;

use crate::source::Source;

/// A running child process. Dropping it kills the group.
pub(crate) struct Process {
    child: Child,
    pub(crate) group: Group,
    exit: Option<Exit>,
    pub(crate) stdin: Option<Async<PipeWriter>>,
    pub(crate) stdout: Option<Source<PipeReader>>,
    pub(crate) stderr: Option<Source<PipeReader>>,
}

impl Process {
    /// Starts the child of `upstream`. After an error it may have been started all the same: then
    /// only its mark tells of it.
    pub(crate) fn spawn(upstream: UpstreamId, driver: &Arc<Driver>) -> io::Result<Self> {
        let mut child = Command::from(command(driver, upstream))
            // Said again, or the gateway's own would be inherited.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
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
            // async-process's own pipes have no vectored writes.
            process.stdin = Some(OwnedFd::try_from(stdin)?.try_into()?);
            process.stdout = Some(Source::new(OwnedFd::try_from(stdout)?.try_into()?));
            process.stderr = Some(Source::new(OwnedFd::try_from(stderr)?.try_into()?));
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
        // It has ended, or is about to: it was killed.
        self.group.end(|| block_on(self.child.status()));
    }
}

/// Sees a process end without reaping it.
#[cfg(target_os = "linux")]
struct Exit(Async<OwnedFd>);

#[cfg(target_os = "linux")]
impl Exit {
    fn watch(pid: Pid) -> io::Result<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self(Async::new_nonblocking(descriptor)?))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A pidfd is readable once its process has ended; an error means that it has.
        self.0.poll_readable(context).map(drop)
    }
}

/// Sees a process end without reaping it.
#[cfg(not(target_os = "linux"))]
struct Exit(async_executor::Task<()>);

#[cfg(not(target_os = "linux"))]
impl Exit {
    fn watch(pid: Pid) -> io::Result<Self> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        Ok(Self(blocking::unblock(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = waitid(WaitId::Pid(pid), options);
        })))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}
