//! Descriptors: those that the gateway was started with and does not want, and how many it may have.
//!
//! What a careless parent leaves open is inherited by the gateway, and would be by every child. A
//! child gets 0, 1 and 2 and nothing else, so the binaries close the rest before they open
//! anything of their own.

use std::fs;
use std::io;

use mcp_proto::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a child costs: three pipes, and one or two to see its end by.
const PER_CHILD: usize = 5;

/// Listeners, the runtime's own, the log, files that are read.
const OTHERS: usize = 64;

/// Raises the soft limit of open descriptors to what `limits` may need, as far as the hard limit
/// allows. Returns what is missing, if anything is: beyond it, connections wait and sessions are
/// refused.
pub fn raise_limit(limits: &Limits) -> Option<u64> {
    // Children that are on their way out count too, up to as many again.
    let needed = limits.connections + 2 * PER_CHILD * limits.sessions + OTHERS;
    let needed = needed as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` stands for no limit.
    let allowed = maximum.unwrap_or(needed).min(needed);
    if current.is_some_and(|current| current < allowed) {
        let raised = Rlimit {
            current: Some(allowed),
            maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            return current.map(|current| needed.saturating_sub(current));
        }
    }
    (allowed < needed).then(|| needed - allowed)
}

/// Closes every descriptor above 2. Call it first in `main`, and never later: whoever owns a
/// descriptor by then would lose it.
///
/// # Errors
///
/// If `/proc/self/fd`, or `/dev/fd` where there is no `/proc`, cannot be read.
pub fn close_inherited() -> io::Result<()> {
    let directory = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd"))?;
    let inherited: Vec<i32> = directory
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&descriptor| descriptor > 2)
        .collect();
    for descriptor in inherited {
        // The listing's own descriptor is among them, and is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}
