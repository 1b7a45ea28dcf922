//! The gateway's end of the guard.

use super::MARKER;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A running guard. It acts when this is dropped, or when the process ends in whatever way.
///
/// A child's group is registered once it is spawned, and unregistered **before** its leader is
/// reaped: afterwards the number may be another's.
#[derive(Debug)]
pub struct GuardHandle {
    pipe: Mutex<ChildStdin>,
    /// `None` once it has been waited for.
    process: Option<Child>,
}

impl GuardHandle {
    /// Starts this same binary as `guard --marker <marker>`.
    ///
    /// # Errors
    ///
    /// If the binary cannot be found or started.
    pub fn spawn(marker: &str) -> io::Result<Self> {
        Self::spawn_program(&std::env::current_exe()?, ["guard", "--marker", marker])
    }

    /// Starts an embedder's own program, which must call [`super::run`] with its stdin and the
    /// marker that the children are given.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn spawn_program(
        program: &Path,
        args: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> io::Result<Self> {
        let mut process = Command::new(program)
            .args(args)
            // A gateway may itself be the child of one, whose guard must not take this for a child.
            .env_remove(MARKER)
            // Away from the terminal's Ctrl-C, and from directories that want to be unmounted.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            pipe: Mutex::new(pipe),
            process: Some(process),
        })
    }

    /// Has the guard kill this process group at the end.
    ///
    /// # Errors
    ///
    /// If the guard has died.
    pub fn register(&self, group: u32) -> io::Result<()> {
        self.tell('+', group)
    }

    /// Takes a process group back.
    ///
    /// # Errors
    ///
    /// If the guard has died.
    pub fn unregister(&self, group: u32) -> io::Result<()> {
        self.tell('-', group)
    }

    /// Ends the guard and waits until it has killed what was left.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub fn finish(mut self) -> io::Result<()> {
        let process = self.process.take();
        drop(self);
        process.map_or(Ok(()), |mut process| process.wait().map(drop))
    }

    /// A few bytes, in one write so that lines of several threads do not mix. A pipe takes
    /// thousands of them before it blocks, and the guard does nothing but read.
    fn tell(&self, sign: char, group: u32) -> io::Result<()> {
        let line = format!("{sign}{group}\n");
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        pipe.write_all(line.as_bytes())
    }
}

/// The pipe closes when the fields are dropped, right after this; a thread waits for the guard, so
/// that it is no zombie in a process that goes on.
impl Drop for GuardHandle {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Without a thread there is a zombie until this process ends: no reason to panic.
            let reaper = thread::Builder::new().name("guard-reaper".to_owned());
            let _ = reaper.spawn(move || process.wait());
        }
    }
}
