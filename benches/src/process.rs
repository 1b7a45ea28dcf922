//! Processes that are measured, and what they cost.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A process that ends with its owner: by SIGTERM, and by SIGKILL if that is not enough.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a command.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self(command.spawn().map_err(|error| {
            let program = command.get_program().display();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?))
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::TERM);
        }
        for _ in 0..200 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `/proc/ID/stat` says (proc(5)).
struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name stands in parentheses and may hold any byte.
        let (start, end) = (text.find('(')?, text.rfind(')')?);
        let name = text.get(start + 1..end)?.to_owned();
        let fields: Vec<&str> = text.get(end + 1..)?.split_ascii_whitespace().collect();
        // From the third field on: parent is the fourth, user and system time are 14 and 15.
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            name,
            parent: fields.get(1)?.parse().ok()?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }
}

/// The processor time, user's and system's, that a process has used without its children.
///
/// # Errors
///
/// If there is no such process.
pub fn cpu(id: u32) -> io::Result<Duration> {
    let stat = Stat::read(id).ok_or_else(|| io::Error::other(format!("no process {id}")))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs(stat.ticks) / u32::try_from(per_second).unwrap_or(100))
}

/// The processes with this name that `parent` started.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn children(parent: u32, name: &str) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let id = entry?.file_name().to_str().and_then(|id| id.parse().ok());
        if let Some(id) = id
            && Stat::read(id).is_some_and(|stat| stat.parent == parent && stat.name == name)
        {
            found.push(id);
        }
    }
    Ok(found)
}
