//! The guard, over real processes.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests wait for what is outside")]

use gateway_kit::guard::{GuardHandle, MARKER, kill_marked, run};
use std::fs;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Two processes beside the shell: one that left its group, and one that did not.
const TREE: &str = "setsid sleep 1000 & sleep 1000";
const TREE_SIZE: usize = 3;

/// Names the processes that a test makes, whatever their mark.
const TEST: &str = "GUARD_TEST";

/// So that a failure does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// The processes that have `NAME=VALUE` in their environment; zombies have none.
fn with_entry(name: &str, value: &str) -> Vec<i32> {
    let entry = format!("{name}={value}");
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let mut entries = environment.split(|byte| *byte == 0);
        if let Some(pid) = pid
            && entries.any(|it| it == entry.as_bytes())
        {
            found.push(pid);
        }
    }
    found
}

fn wait_for(name: &str, value: &str, count: usize) {
    let began = Instant::now();
    while with_entry(name, value).len() != count {
        assert!(
            began.elapsed() < PATIENCE,
            "{:?} remain",
            with_entry(name, value)
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// A name that no other run of these tests has, in the form of an instance.
fn unique(test: u8) -> String {
    let nanos = UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let pid = std::process::id() & 0xff_ffff;
    format!("{pid:06x}{nanos:08x}{test:02x}")
}

/// A tree in a group of its own.
fn tree(test: &str, mark: Option<&str>) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", TREE]).env(TEST, test).process_group(0);
    if let Some(mark) = mark {
        command.env(MARKER, mark);
    }
    command.stdin(Stdio::null()).spawn().unwrap()
}

/// Ends whatever a test left.
struct Cleanup(String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        for pid in with_entry(TEST, &self.0) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

#[test]
fn the_mark_finds_what_no_group_was_registered_for() {
    let name = unique(1);
    let _cleanup = Cleanup(name.clone());
    let mut one = tree(&name, Some(&format!("{name}-1")));
    let mut two = tree(&name, Some(&format!("{name}-2")));
    wait_for(TEST, &name, 2 * TREE_SIZE);
    run(&name, std::io::empty()).unwrap();
    wait_for(TEST, &name, 0);
    one.wait().unwrap();
    two.wait().unwrap();
}

#[test]
fn a_registered_group_dies_without_a_mark_and_an_unregistered_one_lives() {
    let name = unique(2);
    let _cleanup = Cleanup(name.clone());
    let (dies, lives) = (format!("{name}-dies"), format!("{name}-lives"));
    let _cleanup_more = (Cleanup(dies.clone()), Cleanup(lives.clone()));
    let (mut first, mut second) = (tree(&dies, None), tree(&lives, None));
    wait_for(TEST, &dies, TREE_SIZE);
    wait_for(TEST, &lives, TREE_SIZE);
    let (a, b) = (first.id(), second.id());
    run(&name, format!("+{a}\n+{b}\n-{b}\n").as_bytes()).unwrap();
    // Only the one that left its group remains.
    wait_for(TEST, &dies, 1);
    first.wait().unwrap();
    assert_eq!(with_entry(TEST, &lives).len(), TREE_SIZE);
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn one_childs_mark_finds_its_own_and_no_others() {
    let name = unique(3);
    let _cleanup = Cleanup(name.clone());
    let marks = [1, 12].map(|number| format!("{name}-{number}"));
    let [mut one, mut other] = marks.each_ref().map(|mark| tree(&name, Some(mark)));
    wait_for(MARKER, &marks[0], TREE_SIZE);
    wait_for(MARKER, &marks[1], TREE_SIZE);
    assert_eq!(kill_marked(vec![marks[0].clone()]), TREE_SIZE);
    wait_for(MARKER, &marks[0], 0);
    assert_eq!(with_entry(MARKER, &marks[1]).len(), TREE_SIZE);
    assert_eq!(kill_marked(vec![marks[1].clone()]), TREE_SIZE);
    one.wait().unwrap();
    other.wait().unwrap();
}

/// This test's binary again, as one of the roles below.
fn role(role: &str, name: &str) -> Vec<String> {
    let exe = std::env::current_exe().unwrap();
    let exe = exe.to_str().unwrap();
    let variable = format!("GUARD_TEST_NAME={name}");
    [&variable, exe, "--exact", role, "--ignored", "--nocapture"]
        .map(ToOwned::to_owned)
        .into()
}

fn role_name() -> Option<String> {
    std::env::var("GUARD_TEST_NAME").ok()
}

fn guard(name: &str) -> GuardHandle {
    GuardHandle::spawn_program(Path::new("/usr/bin/env"), role("be_the_guard", name)).unwrap()
}

#[test]
#[ignore = "a process of the tests below"]
fn be_the_guard() {
    if let Some(name) = role_name() {
        run(&name, stdin()).unwrap();
    }
}

#[test]
#[ignore = "a process of the tests below"]
fn be_the_gateway() {
    let Some(name) = role_name() else { return };
    let guard = guard(&name);
    let children = [1, 2].map(|number| tree(&name, Some(&format!("{name}-{number}"))));
    guard.register(children[0].id()).unwrap();
    wait_for(TEST, &name, 2 * TREE_SIZE);
    writeln!(stdout(), "\nready").unwrap();
    // Until it is killed.
    loop {
        thread::sleep(PATIENCE);
    }
}

#[test]
fn a_gateway_that_is_killed_leaves_nobody_behind() {
    let name = unique(4);
    let _cleanup = Cleanup(name.clone());
    let mut gateway = Command::new("/usr/bin/env")
        .args(role("be_the_gateway", &name))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    wait_for(TEST, &name, 0);
    // The guard itself ends too.
    wait_for("GUARD_TEST_NAME", &name, 0);
}

#[test]
fn a_gateway_that_ends_in_order_has_its_guard_finish_first() {
    let name = unique(5);
    let _cleanup = Cleanup(name.clone());
    let handle = guard(&name);
    let mut child = tree(&name, Some(&format!("{name}-1")));
    handle.register(child.id()).unwrap();
    handle.finish().unwrap();
    child.wait().unwrap();
    wait_for(TEST, &name, 0);
    // One that is dropped without being waited for ends as well.
    drop(guard(&name));
    wait_for("GUARD_TEST_NAME", &name, 0);
}
