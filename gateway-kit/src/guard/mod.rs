//! The small process that leaves no child behind when the gateway is killed.
//!
//! A gateway that is sent SIGKILL can do nothing any more, and the kernel's parent-death signal
//! reaches only direct children. So a second process, the guard, holds the reading end of a pipe
//! whose writing end only the gateway has: however the gateway ends, the pipe ends with it. The
//! guard then kills
//!
//! 1. the process groups that the gateway has registered, and
//! 2. on Linux, every process that has the gateway's mark in its environment: those that left
//!    their group with `setsid`, and those that were spawned but not yet registered.
//!
//! A process that is between fork and exec has no mark yet, but it also still holds the pipe
//! (descriptors close on exec), so that the end of the pipe means that there is none.
//!
//! What escapes: a process that left its group and has also overwritten or cleared its
//! environment; and, elsewhere than on Linux, any that left its group.

mod handle;
#[cfg(target_os = "linux")]
mod scan;

pub use handle::GuardHandle;

use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::thread;
use std::time::Duration;

/// The variable that marks a gateway's children: `MCP_GATEWAY_CHILD=<instance>-<child's number>`,
/// where the instance is a random text that the gateway makes at its start.
pub const MARKER: &str = "MCP_GATEWAY_CHILD";

/// The shortest marker that is looked for: a short one could be another gateway's too.
const SHORTEST_MARKER: usize = 8;

/// The pauses before each scan; the last one repeats.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(200),
];

/// Most scans; what is still there after them cannot be killed.
const SCANS: usize = 20;

/// Watches over the children of the gateway that writes to `input`, and returns once they are
/// dead; `marker` is the instance in their environment.
///
/// # Errors
///
/// If `marker` is too short or has other characters than letters, digits and `-`.
pub fn run(marker: &str, input: impl Read) -> io::Result<()> {
    if !is_marker(marker) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a marker"));
    }
    for group in registered(input) {
        kill_group(group);
    }
    let mut clean = 0;
    let pauses = PAUSES.iter().chain(PAUSES.last().into_iter().cycle());
    for pause in pauses.take(SCANS) {
        thread::sleep(*pause);
        clean = if kill_instance(marker) == 0 {
            clean + 1
        } else {
            0
        };
        if clean == 2 {
            break;
        }
    }
    Ok(())
}

/// Kills every process that has `MCP_GATEWAY_CHILD=<marker>` in its environment, for one of these
/// markers, and tells how many they were: what children leave behind that left its group. Always 0
/// elsewhere than on Linux. A text that is no marker is passed over.
///
/// It reads the environment of each process of this user, however many markers there are: call it
/// where blocking for some milliseconds does no harm, and for many children at once.
pub fn kill_marked(mut markers: Vec<String>) -> usize {
    markers.retain(|marker| is_marker(marker));
    #[cfg(target_os = "linux")]
    if !markers.is_empty() {
        return scan::kill_until_none_is_new(&scan::Mark::Children(&markers));
    }
    0
}

fn kill_instance(marker: &str) -> usize {
    #[cfg(target_os = "linux")]
    return scan::kill_until_none_is_new(&scan::Mark::Instance(marker));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = marker;
        0
    }
}

fn is_marker(marker: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    marker.len() >= SHORTEST_MARKER && marker.bytes().all(plain)
}

/// The groups that stand registered when the input ends. A line that is neither `+PGID` nor
/// `-PGID` is passed over: to stop for it would be to stop watching.
fn registered(input: impl Read) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    for line in BufReader::new(input).split(b'\n') {
        // A pipe that cannot be read any more has ended.
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        let Some((sign, number)) = line.split_at_checked(1) else {
            continue;
        };
        match (sign, number.parse()) {
            ("+", Ok(group)) => groups.insert(group),
            ("-", Ok(group)) => groups.remove(&group),
            _ => false,
        };
    }
    groups
}

/// Never init's group nor the guard's own. A group that has gone is no error.
fn kill_group(group: i32) {
    let Some(pid) = Pid::from_raw(group).filter(|_| group > 1) else {
        return;
    };
    if pid != getpgrp() {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_what_was_not_unregistered() {
        let groups = registered(&b"+10\n+11\nnonsense\n\n+\n-10\n+12\n-99\n+1"[..]);
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), [1, 11, 12]);
    }

    #[test]
    fn a_marker_that_could_be_anybodys_is_refused() {
        for marker in ["", "abc", "0123456789abcde=", "0123456789 abcdef"] {
            assert!(run(marker, io::empty()).is_err(), "{marker}");
            assert_eq!(kill_marked(vec![marker.to_owned()]), 0);
        }
        assert!(run("ffffffffffffffff", io::empty()).is_ok());
    }
}
