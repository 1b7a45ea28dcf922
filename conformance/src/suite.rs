//! Plays all scripts: those with equal options one after the other against one gateway of each
//! binary, or a few if there are many, and the gateways beside each other. What the binaries answer
//! to a script must be equal.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::gateway::{Binary, Gateway};
use crate::play::play;
use crate::script::{Script, Setup};
use crate::tls::Tls;
use crate::transcript::Transcript;

/// Sets of gateways that run beside each other: most of a script's time is spent waiting.
const BESIDE: usize = 6;

/// Most scripts that one gateway is played.
const SHARE: usize = 20;

/// What came of the scripts.
#[derive(Debug, Default)]
pub struct Report {
    /// How many passed, on every binary.
    pub passed: usize,
    /// How many of these were answered by several binaries, and equally.
    pub compared: usize,
    /// How many gateways were started.
    pub gateways: usize,
    /// One text for each failure.
    pub failures: Vec<String>,
    /// The script that took longest, and how long.
    pub slowest: (Duration, String),
}

impl Report {
    /// The report as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for failure in &self.failures {
            let _ = writeln!(text, "{failure}\n");
        }
        let _ = writeln!(
            text,
            "{} scripts passed, {} of them answered equally by several binaries, {} failures; {} gateways",
            self.passed,
            self.compared,
            self.failures.len(),
            self.gateways
        );
        let (time, name) = &self.slowest;
        let _ = writeln!(text, "the slowest: {name}, {time:.1?}");
        text
    }
}

/// What the scripts are played against.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The gateway's binaries.
    pub binaries: Vec<Binary>,
    /// The binary `scripted-child`.
    pub scripted_child: PathBuf,
    /// How long anything that must happen in a gateway may take.
    pub patience: Duration,
    /// What the gateways are to speak TLS with, if they are.
    pub tls: Option<Tls>,
}

/// Plays the scripts.
pub fn run(subject: &Subject, scripts: Vec<Script>) -> Report {
    let mut groups: BTreeMap<Setup, Vec<Script>> = BTreeMap::new();
    for script in scripts {
        groups.entry(script.setup.clone()).or_default().push(script);
    }
    let mut shares: Vec<(&Setup, &[Script])> = groups
        .iter()
        .flat_map(|(setup, scripts)| scripts.chunks(SHARE).map(move |share| (setup, share)))
        .collect();
    // The longest first, so that none is left for the end.
    shares.sort_by_key(|(_, scripts)| std::cmp::Reverse(scripts.len()));
    let queue = Mutex::new(VecDeque::from(shares));
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                let next = || locked(&queue).pop_front();
                while let Some((setup, scripts)) = next() {
                    let group = run_group(subject, setup, scripts);
                    let mut report = locked(&report);
                    report.passed += group.passed;
                    report.compared += group.compared;
                    report.gateways += group.gateways;
                    report.failures.extend(group.failures);
                    report.slowest = std::mem::take(&mut report.slowest).max(group.slowest);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort();
    report
}

/// Plays scripts against a gateway of each binary, and compares.
fn run_group(subject: &Subject, setup: &Setup, scripts: &[Script]) -> Report {
    let played: Vec<Played> = thread::scope(|scope| {
        let of_binaries: Vec<_> = subject
            .binaries
            .iter()
            .map(|binary| scope.spawn(|| play_group(subject, binary, setup, scripts)))
            .collect();
        let joined = of_binaries.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|played| played.expect("whatever goes wrong is in the result"))
            .collect()
    });
    let mut report = Report::default();
    for group in &played {
        report.gateways += group.gateways;
        report.failures.extend(group.failures.iter().cloned());
        report.slowest = std::mem::take(&mut report.slowest).max(group.slowest.clone());
    }
    for (index, script) in scripts.iter().enumerate() {
        let answers: Vec<(&Binary, Option<&Transcript>)> = subject
            .binaries
            .iter()
            .zip(&played)
            .map(|(binary, group)| (binary, group.transcripts.get(&index)))
            .collect();
        let all: Option<Vec<&Transcript>> = answers.iter().map(|(_, answer)| *answer).collect();
        let Some([first, rest @ ..]) = all.as_deref() else {
            // It failed.
            continue;
        };
        let difference = rest
            .iter()
            .zip(&answers[1..])
            .find_map(|(other, (binary, _))| {
                let difference = first.difference(other)?;
                let [one, another] = difference.answers;
                let (name, other_name) = (&answers[0].0.name, &binary.name);
                let why =
                    format!("the answers differ\n    {name}: {one}\n    {other_name}: {another}");
                Some(failure(script, difference.line, &why))
            });
        match difference {
            Some(difference) => report.failures.push(difference),
            None => {
                report.passed += 1;
                report.compared += usize::from(!rest.is_empty());
            }
        }
    }
    report
}

/// What came of scripts that were played against one binary.
#[derive(Default)]
struct Played {
    /// What was answered to those that passed, by their place.
    transcripts: BTreeMap<usize, Transcript>,
    gateways: usize,
    failures: Vec<String>,
    slowest: (Duration, String),
}

fn play_group(subject: &Subject, binary: &Binary, setup: &Setup, scripts: &[Script]) -> Played {
    let (child, tls) = (&subject.scripted_child, subject.tls.as_ref());
    let start = || Gateway::start(&binary.path, child, setup, tls);
    let failed = |script: &Script, line: usize, why: &str| {
        failure(script, line, &format!("{}: {why}", binary.name))
    };
    let mut group = Played::default();
    let mut running = None;
    let mut scripts = scripts.iter().enumerate().peekable();
    while let Some((index, script)) = scripts.next() {
        let gateway = match running.take() {
            Some(gateway) => running.insert(gateway),
            None => {
                group.gateways += 1;
                match start() {
                    Ok(gateway) => running.insert(gateway),
                    Err(why) => {
                        group.failures.push(failed(script, 0, &why));
                        continue;
                    }
                }
            }
        };
        gateway.patience = subject.patience;
        let began = Instant::now();
        let played = play(script, gateway);
        let took = (began.elapsed(), shown(&script.path));
        group.slowest = std::mem::take(&mut group.slowest).max(took);
        match played {
            Ok(transcript) => {
                group.transcripts.insert(index, transcript);
            }
            Err(why) => {
                group.failures.push(failed(script, why.line, &why.why));
                // What a failed script has left behind is no fault of the next.
                running = None;
            }
        }
        if scripts.peek().is_none()
            && let Some(gateway) = running.take()
            && let Err(why) = gateway.stop()
        {
            group.failures.push(failed(script, 0, &why));
        }
    }
    group
}

fn failure(script: &Script, line: usize, why: &str) -> String {
    let at = match line {
        0 => String::new(),
        line => format!(":{line}"),
    };
    format!("{}{at}: {}\n    {why}", shown(&script.path), script.title)
}

fn shown(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
