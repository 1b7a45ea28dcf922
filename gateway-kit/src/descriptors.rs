//! Descriptors that the gateway was started with and does not want.
//!
//! What a careless parent leaves open is inherited by the gateway, and would be by every child. A
//! child gets 0, 1 and 2 and nothing else, so the binaries close the rest before they open
//! anything of their own.

use std::fs;
use std::io;

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
