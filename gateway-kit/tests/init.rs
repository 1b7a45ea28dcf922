//! The init passes signals on, reaps orphans, and ends as the gateway ends.
//!
//! What is PID 1 in a container is here a subreaper, which inherits orphans as well. The test's binary is run
//! again in that role, and in that of the gateway, which is a line of shell.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests wait for what is outside")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gateway_kit::init;
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

const SCRIPT: &str = "INIT_TEST_SCRIPT";

/// This test's binary again, as one of the roles below.
fn role(role: &str, script: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", role, "--ignored", "--nocapture"])
        .env(SCRIPT, script);
    command
}

#[test]
#[ignore = "a process of the tests below"]
fn be_the_init() {
    let Ok(script) = std::env::var(SCRIPT) else {
        return;
    };
    set_child_subreaper(Some(getpid())).unwrap();
    let status = init::run(role("be_the_gateway", &script)).unwrap();
    std::process::exit(status.into());
}

#[test]
#[ignore = "a process of the tests below"]
fn be_the_gateway() {
    let Ok(script) = std::env::var(SCRIPT) else {
        return;
    };
    init::unblock_signals().unwrap();
    // A shell cannot trap what was ignored when it started, as INT and QUIT are for a job in the background.
    let error = Command::new("env")
        .args(["--default-signal", "sh", "-c", &script])
        .exec();
    panic!("there is no env: {error}");
}

struct Init {
    process: Child,
    /// The lines of the script's stdout, among those of the test's binary.
    lines: Box<dyn Iterator<Item = String>>,
}

impl Init {
    fn of(script: &str) -> Self {
        let mut command = role("be_the_init", script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // An init has one thread; the test's binary has two, and so gets all signals blocked from here.
        SigSet::all().thread_block().unwrap();
        let spawned = command.spawn();
        SigSet::all().thread_unblock().unwrap();
        let mut process = spawned.unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            lines: Box::new(stdout.lines().map_while(Result::ok)),
        }
    }

    fn wait_for(&mut self, line: &str) {
        assert!(self.lines.any(|it| it == line), "{line} does not come");
    }

    fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        drop(self.process.stdin.take());
        self.process.wait().unwrap()
    }
}

/// The children of a process, with their states, from `/proc`; those that are dead and not reaped are there, too.
fn children(parent: u32) -> Vec<(Pid, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            // The name, in brackets, may hold anything.
            let (before, fields) = stat.rsplit_once(") ")?;
            let mut fields = fields.split(' ');
            let state = fields.next()?.to_owned();
            let process = before.split(' ').next()?.parse().ok()?;
            (fields.next()? == parent.to_string()).then_some((Pid::from_raw(process)?, state))
        })
        .collect()
}

#[test]
fn it_ends_as_the_gateway_ends() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 128 + 9)] {
        assert_eq!(Init::of(script).end().code(), Some(code), "{script}");
    }
}

#[test]
fn signals_reach_the_gateway_and_leave_the_init_alone() {
    let signals = [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("TERM", Signal::TERM),
    ];
    let traps: String = signals
        .iter()
        .map(|(name, _)| format!("trap 'echo; echo got {name}' {name}; "))
        .collect();
    // A shell runs its traps between two commands.
    let script = format!("{traps} echo; echo ready; while sleep 0.01; do :; done");
    let mut init = Init::of(&script);
    init.wait_for("ready");
    for (name, signal) in signals {
        init.kill(signal);
        init.wait_for(&format!("got {name}"));
    }
    assert_eq!(init.process.try_wait().unwrap(), None);
    // This one no shell can catch, and an init cannot either: it goes to the gateway.
    for (gateway, _) in children(init.process.id()) {
        kill_process(gateway, Signal::KILL).unwrap();
    }
    let status = init.end();
    assert_eq!((status.code(), status.signal()), (Some(128 + 9), None));
}

#[test]
fn a_hundred_orphans_are_reaped_and_leave_no_zombie() {
    let orphans = "i=0; while [ $i -lt 100 ]; do (sleep 0.01 &); i=$((i+1)); done";
    let mut init = Init::of(&format!(
        "{orphans}; echo; echo ready; read -r line; exit 3"
    ));
    init.wait_for("ready");
    let began = Instant::now();
    while children(init.process.id()).len() > 1 {
        assert!(began.elapsed() < Duration::from_secs(30), "orphans remain");
        thread::sleep(Duration::from_millis(5));
    }
    let left = children(init.process.id());
    assert!(left.len() == 1 && left[0].1 != "Z", "{left:?}");
    init.process
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"\n")
        .unwrap();
    assert_eq!(init.end().code(), Some(3));
}

#[test]
fn the_gateway_has_no_signal_blocked() {
    let mut init = Init::of("echo; grep SigBlk /proc/self/status; read -r line");
    init.wait_for("SigBlk:\t0000000000000000");
    assert_eq!(init.end().code(), Some(1));
}
