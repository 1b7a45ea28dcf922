//! The process that the gateway has above it where it would be PID 1, as in a container without `--init`.
//!
//! PID 1 inherits every orphan and has to reap it, and a `waitpid(-1)` in the gateway itself would take
//! the exit statuses of the runtime's children. The kernel also drops signals that PID 1 has no handler
//! for. So there the binary starts itself once more: the child is the gateway, and this process does
//! nothing but pass signals on, reap, and end as the gateway ends. It is the guard, too: with the PID 1 of
//! a namespace the kernel kills all that is left in it (pid_namespaces(7)).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc::SI_KERNEL;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, wait};

/// Whether this process is PID 1, and so has to call [`run`].
pub fn is_needed() -> bool {
    getpid() == Pid::INIT
}

/// Whether this process is the child that an init of this same program started: then it needs no guard.
pub fn is_above() -> bool {
    let program = |process| {
        let file = fs::metadata(format!("/proc/{process}/exe")).ok()?;
        Some((file.dev(), file.ino()))
    };
    let own = program("self");
    getppid() == Some(Pid::INIT) && own.is_some() && own == program("1")
}

/// Runs `gateway` as a child, until it ends. Returns its exit status, or 128 and the number of the signal
/// that killed it.
///
/// Call it before there is a second thread. `gateway` starts with all signals blocked, so that none is
/// lost meanwhile, and has to unblock them ([`unblock_signals`]).
///
/// # Errors
///
/// If `gateway` cannot be started, or the signals not be waited for.
pub fn run(mut gateway: Command) -> io::Result<u8> {
    let all = SigSet::all();
    all.thread_block()?;
    let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC)?;
    // Waited for below, with everybody else.
    let gateway = Pid::from_child(&gateway.spawn()?);
    loop {
        let signal = match signals.read_signal() {
            Ok(signal) => signal,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        match signal.as_ref().and_then(named) {
            // Several ends may be one signal.
            Some(Signal::CHILD) => {
                if let Some(status) = reap(gateway)? {
                    return Ok(status);
                }
            }
            Some(other) if signal.as_ref().is_some_and(was_sent) => {
                // It is there, at least as a zombie, since only `reap` takes it away.
                let _ = kill_process(gateway, other);
            }
            _ => {}
        }
    }
}

/// Unblocks all signals for this thread and those that it will start. To be called first in `main`: who
/// started the process may have blocked them.
///
/// # Errors
///
/// If the system refuses.
pub fn unblock_signals() -> io::Result<()> {
    Ok(SigSet::all().thread_unblock()?)
}

/// Reaps whoever has ended. Returns the gateway's status once it is among them.
fn reap(gateway: Pid) -> io::Result<Option<u8>> {
    while let Some((process, status)) = wait(WaitOptions::NOHANG)? {
        if process == gateway {
            return Ok(Some(as_a_shell_says(status)));
        }
    }
    Ok(None)
}

fn as_a_shell_says(status: WaitStatus) -> u8 {
    let killed = status.terminating_signal().map(|signal| 128 + signal);
    let status = status.exit_status().or(killed);
    status
        .and_then(|status| u8::try_from(status).ok())
        .unwrap_or(u8::MAX)
}

/// Real-time signals have no name, and mean nothing to the gateway.
fn named(signal: &siginfo) -> Option<Signal> {
    i32::try_from(signal.ssi_signo)
        .ok()
        .and_then(Signal::from_named_raw)
}

/// Whether a process sent the signal. The kernel's own are the terminal's: Ctrl-C, and its end. They go to
/// the whole foreground group, the gateway among it, and twice would mean: at once.
fn was_sent(signal: &siginfo) -> bool {
    signal.ssi_code != SI_KERNEL
}
