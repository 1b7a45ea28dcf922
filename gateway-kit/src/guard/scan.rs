//! Finds processes by a mark in their environment, and kills them (Linux).

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal,
};
use std::collections::HashSet;
use std::fs;

/// Most scans in a row: a process that forks faster than it is found shall not keep us.
const ROUNDS: usize = 16;

/// What stands after `MCP_GATEWAY_CHILD=`.
pub(crate) enum Mark<'a> {
    /// Any child of this instance of the gateway.
    Instance(&'a str),
    /// These children.
    Children(&'a [String]),
}

impl Mark<'_> {
    /// Whether an environment, entries that each end in NUL, has the mark.
    fn is_in(&self, environment: &[u8]) -> bool {
        environment
            .split(|byte| *byte == 0)
            .filter_map(|entry| {
                entry
                    .strip_prefix(super::MARKER.as_bytes())?
                    .strip_prefix(b"=")
            })
            .any(|value| match self {
                Self::Children(children) => children.iter().any(|child| value == child.as_bytes()),
                Self::Instance(instance) => value
                    .strip_prefix(instance.as_bytes())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-")),
            })
    }
}

/// Kills what has the mark until a scan finds no process that it has not killed before: a killed
/// one may be seen for a while, but can fork no more. Tells how many were killed.
pub(crate) fn kill_until_none_is_new(mark: &Mark<'_>) -> usize {
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS {
        let before = killed.len();
        for pid in processes() {
            if !killed.contains(&pid) && kill_if_marked(pid, mark) {
                killed.insert(pid);
            }
        }
        if killed.len() == before {
            break;
        }
    }
    killed.len()
}

/// Every process but init and this one.
fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let others = numbers.filter(|number| *number > 1);
    others
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != getpid())
}

/// The descriptor is opened first: it stands for the process whose environment is read next, even
/// if the number has a new owner by the time of the signal.
fn kill_if_marked(pid: Pid, mark: &Mark<'_>) -> bool {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Some(process),
        // A kernel before 5.3, or a sandbox: the number has to do.
        Err(Errno::NOSYS | Errno::PERM) => None,
        Err(_) => return false,
    };
    // Unreadable: another user's, or gone. A zombie's is empty.
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    if !mark.is_in(&environment) {
        return false;
    }
    match process {
        Some(process) => pidfd_send_signal(process, Signal::KILL).is_ok(),
        None => kill_process(pid, Signal::KILL).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_whole_entry() {
        let of = |entry: &str| format!("A=1\0{entry}\0Z=\0").into_bytes();
        let children = ["0123456789abcdef-7", "0123456789abcdef-1"].map(str::to_owned);
        let child = Mark::Children(&children);
        let instance = Mark::Instance("0123456789abcdef");
        for (entry, is_child, is_instance) in [
            ("MCP_GATEWAY_CHILD=0123456789abcdef-1", true, true),
            ("MCP_GATEWAY_CHILD=0123456789abcdef-12", false, true),
            ("MCP_GATEWAY_CHILD=0123456789abcdef0-1", false, false),
            ("MCP_GATEWAY_CHILD=fedcba9876543210-1", false, false),
            ("XMCP_GATEWAY_CHILD=0123456789abcdef-1", false, false),
            ("X=MCP_GATEWAY_CHILD=0123456789abcdef-1", false, false),
        ] {
            assert_eq!(child.is_in(&of(entry)), is_child, "{entry}");
            assert_eq!(instance.is_in(&of(entry)), is_instance, "{entry}");
        }
    }
}
