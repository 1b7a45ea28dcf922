//! The audit trail, over real files and sinks that fail.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests wait for what is outside")]

use gateway_kit::AuditSink;
use gateway_kit::audit::{AuditLog, Fault, Summary, VerifyError, verify, verify_files};
use mcp_proto::auth::{Identity, Principal, VerifierKind};
use mcp_proto::{AuditEvent, AuditRecord, Caller, Refusal, RequestId, SessionEnd};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// So that a failure does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let began = Instant::now();
    while !met() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What was written, and how the writes are to go; past the plan they succeed.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<(Vec<u8>, VecDeque<Step>)>>);

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    Fail,
}

impl Output {
    fn planned(plan: Vec<Step>) -> Self {
        Self(Arc::new(Mutex::new((Vec::new(), plan.into()))))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    fn plan_is_over(&self) -> bool {
        self.0.lock().unwrap().1.is_empty()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut output = self.0.lock().unwrap();
        let length = match output.1.pop_front() {
            Some(Step::Fail) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Step::Take(most)) => most.clamp(1, bytes.len()),
            None => bytes.len(),
        };
        output.0.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the owner was told.
#[derive(Clone, Default)]
struct States(Arc<Mutex<Vec<bool>>>);

impl States {
    fn listener(&self) -> impl Fn(bool) + Send + Sync + 'static {
        let states = self.clone();
        move |working| states.0.lock().unwrap().push(working)
    }

    fn all(&self) -> Vec<bool> {
        self.0.lock().unwrap().clone()
    }
}

fn begun(mut log: AuditLog) -> AuditLog {
    log.begin().unwrap();
    log
}

fn plain(name: &str) -> AuditRecord {
    AuditRecord {
        request: RequestId::parse(b"3f9a12c4-1"),
        name: Some(name.into()),
        ..AuditRecord::new(AuditEvent::SessionOpened)
    }
}

fn file_log(path: &Path) -> AuditLog {
    begun(AuditLog::open(&AuditSink::File(path.to_owned()), |_| {}).unwrap())
}

/// Hands `names` over, waits until all of them are in the file, and ends the trail.
fn run(path: &Path, names: &[&str]) {
    let log = file_log(path);
    hand_over(&log, path, names);
    drop(log);
}

fn hand_over(log: &AuditLog, path: &Path, names: &[&str]) {
    for name in names {
        log.writer().write(plain(name));
    }
    if let Some(last) = names.last() {
        let last = format!("\"name\":\"{last}\"");
        wait_until("the records are written", || {
            fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n') && text.contains(&last))
        });
    }
}

/// A trail of these records in memory.
fn trail(records: Vec<AuditRecord>) -> Vec<u8> {
    let output = Output::default();
    let log = begun(AuditLog::to_output(output.clone(), |_| {}));
    let lines = records.len() + 1;
    for record in records {
        log.writer().write(record);
    }
    wait_until("the records are written", || {
        let bytes = output.bytes();
        bytes.iter().filter(|byte| **byte == b'\n').count() == lines
    });
    drop(log);
    output.bytes()
}

fn numbered(count: usize) -> Vec<u8> {
    trail((0..count).map(|n| plain(&format!("tool {n}"))).collect())
}

fn lines(trail: &[u8]) -> Vec<&[u8]> {
    let trail = trail.strip_suffix(b"\n").unwrap_or(trail);
    trail.split(|byte| *byte == b'\n').collect()
}

fn joined(lines: &[&[u8]]) -> Vec<u8> {
    let mut trail = lines.join(&b'\n');
    trail.push(b'\n');
    trail
}

fn check(trail: &[u8]) -> Result<Summary, VerifyError> {
    verify("trail", trail, io::sink())
}

/// The line and the fault that are found.
fn fault(trail: &[u8]) -> (u64, Fault) {
    match check(trail) {
        Err(VerifyError::Broken(found)) => (found.line, found.fault),
        other => panic!("{other:?}"),
    }
}

/// What is noted about a trail that is whole.
fn notes(paths: &[PathBuf]) -> String {
    let mut report = Vec::new();
    verify_files(paths, &mut report).unwrap();
    String::from_utf8(report).unwrap()
}

fn json(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

fn hostile() -> impl Strategy<Value = String> {
    let marks = prop::sample::select(vec![
        "\n",
        "\r",
        "\0",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "\u{9b}",
        "\u{200b}",
        "\u{2028}",
        "\u{202e}",
        "\u{2066}",
        "\u{feff}",
        "\u{61c}",
        "\"",
        "\\",
        "{",
        "}\n{",
        "\",\"seq\":0",
        "é",
    ]);
    prop_oneof![
        any::<String>(),
        prop::collection::vec(marks, 0..300).prop_map(|marks| marks.concat()),
    ]
}

fn event() -> impl Strategy<Value = AuditEvent> {
    prop_oneof![
        Just(AuditEvent::Authenticated(VerifierKind::Jwt)),
        prop::sample::select(Refusal::ALL.to_vec()).prop_map(AuditEvent::Refused),
        Just(AuditEvent::SessionEnded(SessionEnd::Deleted)),
        any::<u64>().prop_map(|count| AuditEvent::LineSkipped { count }),
    ]
}

fn caller() -> impl Strategy<Value = Caller> {
    let identity = (hostile(), hostile(), prop::option::of(hostile()));
    let identity = identity.prop_map(|(issuer, subject, client_id)| {
        Arc::new(Identity {
            principal: Principal {
                issuer,
                subject,
                client_id,
            },
            scopes: Vec::new(),
            expires_at: None,
        })
    });
    (any::<std::net::IpAddr>(), prop::option::of(identity))
        .prop_map(|(address, identity)| Caller { address, identity })
}

prop_compose! {
    fn record()(
        event in event(),
        request in prop::option::of("[A-Za-z0-9._~+/=:@-]{1,128}"),
        caller in prop::option::of(caller()),
        method in prop::option::of(hostile()),
        name in prop::option::of(hostile()),
    ) -> AuditRecord {
        AuditRecord {
            request: request.and_then(|id| RequestId::parse(id.as_bytes())),
            caller,
            method: method.map(Into::into),
            name: name.map(Into::into),
            ..AuditRecord::new(event)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_recorded_each_line_is_plain_json_and_follows_the_one_before(
        records in prop::collection::vec(record(), 0..20),
    ) {
        let expected = records.len() as u64 + 1;
        let trail = trail(records);
        let text = str::from_utf8(&trail).unwrap();
        let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
        prop_assert!(!text.chars().any(|c| c != '\n' && c.is_control() || hidden(c)));
        let mut prev = "0".repeat(64);
        for (seq, line) in (1_u64..).zip(lines(&trail)) {
            let record = json(line);
            prop_assert_eq!(&record["seq"], &Value::from(seq));
            prop_assert_eq!(&record["prev"], &Value::from(prev));
            prev = Sha256::digest(line).iter().map(|byte| format!("{byte:02x}")).collect();
        }
        prop_assert_eq!(check(&trail).unwrap().records, expected);
    }

    #[test]
    fn a_changed_byte_is_found_where_it_is(
        count in 1..6_usize, at: prop::sample::Index, change in 1..=255_u8,
    ) {
        let mut trail = numbered(count);
        let starts: Vec<_> = std::iter::once(0)
            .chain((0..trail.len()).filter(|&at| trail[at] == b'\n').map(|at| at + 1))
            .collect();
        // Nothing vouches for the last line; and a first line that does not begin as a record does
        // is somebody else's.
        let at = 1 + at.index(starts[count] - 1);
        let line = starts.iter().filter(|start| **start <= at).count() as u64;
        trail[at] ^= change;
        prop_assert_eq!(fault(&trail).0, line, "{}", String::from_utf8_lossy(&trail));
    }

    #[test]
    fn removed_lines_are_found_where_they_were(
        count in 3..8_usize, at: prop::sample::Index, length: prop::sample::Index,
    ) {
        let trail = numbered(count);
        let mut lines = lines(&trail);
        // Not the first, which the file before might have, nor the last.
        let at = 1 + at.index(count - 1);
        let length = 1 + length.index(count - at);
        lines.drain(at..at + length);
        let expected = (at as u64 + 1, Fault::Missing(length as u64));
        prop_assert_eq!(fault(&joined(&lines)), expected);
    }

    #[test]
    fn swapped_lines_are_found_where_the_first_was(
        count in 3..8_usize, one: prop::sample::Index, other: prop::sample::Index,
    ) {
        let trail = numbered(count);
        let mut lines = lines(&trail);
        let (one, other) = (1 + one.index(count), 1 + other.index(count));
        prop_assume!(one != other);
        lines.swap(one, other);
        let (line, fault) = fault(&joined(&lines));
        prop_assert_eq!(line, one.min(other) as u64 + 1);
        prop_assert!(matches!(fault, Fault::Missing(_)));
    }

    #[test]
    fn a_trail_that_was_cut_anywhere_is_continued(cut: prop::sample::Index) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let before = numbered(3);
        let kept = cut.index(before.len() + 1);
        fs::write(&path, &before[..kept]).unwrap();
        run(&path, &["after"]);
        let after = fs::read(&path).unwrap();
        prop_assert!(after.starts_with(&before[..kept]));
        let summary = check(&after).unwrap();
        let first = lines(&before)[0].len();
        // What is cut from the first record leaves nothing to follow.
        let torn = !matches!(before[..kept].last(), None | Some(b'\n'));
        prop_assert_eq!(summary.beginnings, 1, "{}", String::from_utf8_lossy(&after));
        let told = String::from_utf8_lossy(&after).contains("\"torn-line\"");
        prop_assert_eq!(told, torn && kept >= first);
    }

    #[test]
    fn a_sink_that_fails_costs_records_and_says_how_many(
        plan in prop::collection::vec(
            prop_oneof![
                Just(Step::Fail),
                (1..400_usize).prop_map(Step::Take),
                (1..100_000_usize).prop_map(Step::Take),
            ],
            0..24,
        ),
        burst in prop_oneof![1..4_u64, 200..400_u64],
    ) {
        let output = Output::planned(plan.clone());
        let states = States::default();
        let log = begun(AuditLog::to_output(output.clone(), states.listener()));
        let mut handed_over = 0;
        while !output.plan_is_over() {
            for _ in 0..burst {
                log.writer().write(plain("lost or not"));
            }
            handed_over += burst;
            thread::sleep(Duration::from_millis(1));
        }
        wait_until("the last is written", || {
            // The queue may still be full.
            log.writer().write(plain("last"));
            handed_over += 1;
            String::from_utf8_lossy(&output.bytes()).contains("\"last\"")
        });
        drop(log);
        let bytes = output.bytes();
        let summary = check(&bytes).unwrap();
        prop_assert_eq!(summary.beginnings, 1);
        let (mut kept, mut lost) = (0, 0);
        for line in lines(&bytes) {
            let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
            match record["event"].as_str().unwrap() {
                "session-opened" => kept += 1,
                "records-lost" => lost += record["count"].as_u64().unwrap(),
                _ => {}
            }
        }
        prop_assert_eq!(kept + lost, handed_over);
        let states = states.all();
        let failed = plan.iter().any(|step| matches!(step, Step::Fail));
        prop_assert!(states.first() != Some(&true) && !(failed && states.is_empty()));
        prop_assert!(states.iter().zip(states.iter().skip(1)).all(|(one, next)| one != next));
        prop_assert_ne!(states.last(), Some(&false));
    }
}

#[test]
fn restarts_and_rotation_continue_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (
        directory.path().join("audit"),
        directory.path().join("audit.1"),
    );
    run(&path, &["one", "two"]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = file_log(&path);
    hand_over(&log, &path, &["three"]);
    // Nothing was rotated.
    log.writer().reopen();
    hand_over(&log, &path, &["four"]);
    fs::rename(&path, &old).unwrap();
    log.writer().write(plain("five"));
    log.writer().reopen();
    hand_over(&log, &path, &["six"]);
    drop(log);
    run(&path, &["seven"]);

    assert!(fs::read_to_string(&old).unwrap().contains("\"five\""));
    let summary = verify_files([&old, &path], io::sink()).unwrap();
    assert_eq!((summary.records, summary.beginnings), (8, 1));
    let tail = notes(&[old]);
    let digest = tail.trim_end().rsplit(' ').next().unwrap();
    assert!(notes(&[path]).contains(&format!("continues, with seq 7, from digest {digest}")));
}

#[test]
fn whoever_closed_a_trail_can_open_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    for _ in 0..200 {
        drop(file_log(&path));
    }
    assert_eq!(check(&fs::read(&path).unwrap()).unwrap().beginnings, 1);
}

#[test]
fn a_file_that_another_has_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let _first = file_log(&path);
    let second = AuditLog::open(&AuditSink::File(path.clone()), |_| {});
    let error = second.map(|_| ()).unwrap_err().to_string();
    let expected = format!(
        "audit file {}: another process writes to it; give each gateway a file of its own",
        path.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let sink = AuditSink::File("/nonexistent/audit".into());
    let error = AuditLog::open(&sink, |_| {}).map(|_| ()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("audit file /nonexistent/audit: No such file")
    );
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (
        directory.path().join("audit"),
        directory.path().join("audit.1"),
    );
    let log = file_log(&path);
    hand_over(&log, &path, &["one"]);
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    log.writer().reopen();
    hand_over(&log, &old, &["two"]);
    drop(log);
    assert_eq!(check(&fs::read(&old).unwrap()).unwrap().records, 3);
}

#[test]
fn a_file_that_is_no_trail_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let sink = AuditSink::File(path.clone());
    let old = directory.path().join("audit.1");
    let trail = String::from_utf8(numbered(2)).unwrap();
    for text in [
        "root:x:0:0:root:/root:/bin/bash\n".to_owned(),
        "no newline".to_owned(),
        "\n".to_owned(),
        "{\"a\":1}".to_owned(),
        "{\"time\":\"2026\nelse\n".to_owned(),
        format!("{{{}", "x".repeat(300_000)),
        trail + "and more\n",
    ] {
        fs::write(&path, &text).unwrap();
        let error = AuditLog::open(&sink, |_| {}).map(|_| ()).unwrap_err();
        let expected = format!(
            "audit file {}: not an audit trail; give another path, or move it away",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
        fs::remove_file(&path).unwrap();
        let log = file_log(&path);
        hand_over(&log, &path, &["one"]);
        fs::rename(&path, &old).unwrap();
        fs::write(&path, &text).unwrap();
        log.writer().reopen();
        hand_over(&log, &old, &["two"]);
        drop(log);
        assert_eq!(check(&fs::read(&old).unwrap()).unwrap().records, 3);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn what_ends_in_no_record_of_this_chain_is_continued_by_a_chain_that_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    for (text, reopened) in [
        ("{\"ti".to_owned(), false),
        ("{\"time\":\"2026\n{\n".to_owned(), false),
        (String::from_utf8(numbered(2)).unwrap(), true),
        ("{\"time\":\"".to_owned(), true),
    ] {
        let _ = fs::remove_file(&path);
        if reopened {
            let log = file_log(&path);
            hand_over(&log, &path, &["elsewhere"]);
            fs::remove_file(&path).unwrap();
            fs::write(&path, &text).unwrap();
            log.writer().reopen();
            hand_over(&log, &path, &["one"]);
        } else {
            fs::write(&path, &text).unwrap();
            run(&path, &["one"]);
        }
        let written = fs::read(&path).unwrap();
        let rest = written.strip_prefix(text.as_bytes()).unwrap();
        let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        let begins = json(lines(rest)[0]);
        assert_eq!(begins["event"], "chain-begins");
        assert!(begins["reason"].is_string());
        assert_eq!(check(rest).unwrap().records, 2);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_stops_nobody() {
    let states = States::default();
    let sink = AuditSink::File("/dev/full".into());
    let log = begun(AuditLog::open(&sink, states.listener()).unwrap());
    for _ in 0..10_000 {
        log.writer().write(plain("lost"));
    }
    wait_until("the owner is told", || !states.all().is_empty());
    drop(log);
    assert_eq!(states.all(), [false]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_left_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let states = States::default();
    let sink = AuditSink::File(path.clone());
    let log = begun(AuditLog::open(&sink, states.listener()).unwrap());
    log.writer().write(plain("lost"));
    wait_until("the owner is told", || !states.all().is_empty());
    fs::remove_file(&path).unwrap();
    log.writer().reopen();
    hand_over(&log, &path, &["kept"]);
    drop(log);
    assert_eq!(states.all(), [false, true]);
    let written = fs::read(&path).unwrap();
    let events = lines(&written)
        .into_iter()
        .map(|line| json(line)["event"].clone());
    let expected = ["chain-begins", "records-lost", "session-opened"];
    assert_eq!(events.collect::<Vec<_>>(), expected);
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn stdout_in_a_process_of_its_own() {
    println!("http://127.0.0.1:8080/mcp");
    let log = begun(AuditLog::open(&AuditSink::Stdout, |_| {}).unwrap());
    log.writer().write(plain("one"));
    drop(log);
}

#[test]
fn stdout_carries_a_chain_among_other_lines() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "--quiet"]);
    let output = command
        .arg("stdout_in_a_process_of_its_own")
        .output()
        .unwrap();
    let summary = check(&output.stdout).unwrap();
    assert_eq!((summary.records, summary.beginnings), (2, 1), "{output:?}");
    assert!(summary.others > 0);
}

/// A sink that takes nothing as long as the lock is held.
struct Stuck(Arc<Mutex<()>>, Output);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _free = self.0.lock().unwrap();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_stands_still_costs_records_and_stops_nobody() {
    let (lock, output, states) = (Arc::default(), Output::default(), States::default());
    let stuck = Stuck(Arc::clone(&lock), output.clone());
    let held = lock.lock().unwrap();
    let log = begun(AuditLog::to_output(stuck, states.listener()));
    for _ in 0..20_000 {
        log.writer().write(plain("lost or not"));
    }
    assert_eq!(states.all(), [false]);
    drop(held);
    wait_until("the owner is told", || states.all() == [false, true]);
    log.writer().write(plain("last"));
    wait_until("the last is written", || {
        String::from_utf8_lossy(&output.bytes()).contains("\"last\"")
    });
    drop(log);
    let bytes = output.bytes();
    check(&bytes).unwrap();
    let records: Vec<_> = lines(&bytes).into_iter().map(json).collect();
    let lost = records
        .iter()
        .position(|it| it["event"] == "records-lost")
        .unwrap();
    // The gap is told where it is: after all that found room.
    assert_eq!(lost, records.len() - 2);
    let count = records[lost]["count"].as_u64().unwrap() as usize;
    assert_eq!(records.len() - 3 + count, 20_000);
}

#[test]
fn the_end_does_not_wait_for_a_reader_that_stands_still() {
    let lock: Arc<Mutex<()>> = Arc::default();
    let _held = lock.lock().unwrap();
    let stuck = Stuck(Arc::clone(&lock), Output::default());
    let log = begun(AuditLog::to_output(stuck, |_| {}));
    let writer = log.writer();
    drop(log);
    writer.write(plain("to nobody"));
}

#[test]
fn a_trail_that_is_off_keeps_nothing() {
    let log = AuditLog::open(&AuditSink::Off, |_| panic!("there is nothing to tell"));
    let log = log.unwrap();
    log.writer().write(plain("nowhere"));
    log.writer().reopen();
    drop(log);
}

#[test]
fn lines_of_others_are_counted() {
    let mut trail = b"http://127.0.0.1:8080/mcp\n".to_vec();
    trail.extend(numbered(2));
    trail.extend(b"\nbye");
    let summary = check(&trail).unwrap();
    assert_eq!((summary.records, summary.others), (3, 3));
    // In a record's place they are none.
    let mut lines = lines(&trail);
    lines[2] = b"made up";
    assert_eq!(fault(&joined(&lines)), (3, Fault::NoRecord));
    let long = [&b"x".repeat(200_000)[..], b"\n", &numbered(2)].concat();
    assert_eq!(check(&long).unwrap().others, 1);
}

#[test]
fn a_line_without_an_end_is_not_held() {
    let trail = [&numbered(1)[..], b"{", &b" ".repeat(1 << 20)].concat();
    assert_eq!(fault(&trail), (3, Fault::TooLong));
}

#[test]
fn what_vouches_for_nothing_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let twice = [numbered(1), numbered(1), b"{\"time\":\"2026".to_vec()].concat();
    fs::write(&path, twice).unwrap();
    let notes = notes(std::slice::from_ref(&path));
    let path = path.display();
    let expected = [
        format!("{path}:1: the chain begins\n"),
        format!("{path}:3: the chain begins anew: a restart, or the end before it was cut off\n"),
        format!("{path}:5: the line was not written to its end\n"),
        "whole: 4 records; the chain begins: 2, torn lines: 1, other lines: 0\n".to_owned(),
    ];
    for note in expected {
        assert!(notes.contains(&note), "{note}{notes}");
    }
}

#[test]
fn files_in_the_wrong_order_are_told_apart_from_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two, three] = ["1", "2", "3"].map(|name| directory.path().join(name));
    let path = directory.path().join("audit");
    for old in [&one, &two] {
        run(&path, &["a", "b"]);
        let log = file_log(&path);
        fs::rename(&path, old).unwrap();
        log.writer().reopen();
        hand_over(&log, &path, &["after"]);
        drop(log);
    }
    fs::rename(&path, &three).unwrap();
    verify_files([&one, &two, &three], io::sink()).unwrap();
    for (files, file) in [
        (vec![&two, &one], &two),
        (vec![&three, &two, &one], &two),
        (vec![&three, &two], &two),
        (vec![&three, &one, &two], &three),
        (vec![&two, &one, &three], &two),
    ] {
        let error = verify_files(files, io::sink()).unwrap_err().to_string();
        assert!(
            error.ends_with("wrong order? give the oldest file first"),
            "{error}"
        );
        assert!(
            error.starts_with(&format!("{}:1: ", file.display())),
            "{error}"
        );
    }
    // The gateway stood still when the file was moved away.
    run(&path, &["anew"]);
    let summary = verify_files([&two, &three, &path], io::sink()).unwrap();
    assert_eq!(summary.beginnings, 1);
}

#[test]
fn a_beginning_is_not_made_of_any_record() {
    let trail = String::from_utf8(numbered(2)).unwrap();
    let (zeros, lines) = ("0".repeat(64), trail.lines().collect::<Vec<_>>());
    let prev = json(lines[2].as_bytes())["prev"]
        .as_str()
        .unwrap()
        .to_owned();
    let forged = trail.replace(&prev, &zeros);
    assert_eq!(fault(forged.as_bytes()), (3, Fault::FalseBeginning));
}

#[test]
fn a_repeated_line_is_found() {
    let trail = numbered(3);
    let mut lines = lines(&trail);
    lines.insert(3, lines[1]);
    assert_eq!(fault(&joined(&lines)), (4, Fault::OutOfOrder));
}

#[test]
fn a_fault_is_told_in_one_line() {
    let mut trail = numbered(3);
    let at = trail.len() / 2;
    trail[at] ^= 1;
    let line = check(&trail).unwrap_err().to_string();
    assert!(line.starts_with("trail:") && !line.contains('\n'), "{line}");
    let missing = verify_files(["/nonexistent\n"], io::sink()).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("/nonexistent\\n: cannot be read: ")
    );
}

#[test]
fn nothing_is_written_before_the_trail_begins_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let sink = AuditSink::File(path.clone());
    let log = AuditLog::open(&sink, |_| {}).unwrap();
    log.writer()
        .write(AuditRecord::new(AuditEvent::SessionOpened));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    drop(log);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("session-opened"), "{text}");
}
