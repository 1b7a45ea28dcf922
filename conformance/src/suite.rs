//! Plays all scripts: those with equal options one after the other against one gateway, or a few if
//! there are many, and the gateways beside each other.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::play::play;
use crate::script::{FrontEnd, Script, Setup};

/// Gateways that run beside each other: most of a script's time is spent waiting.
const BESIDE: usize = 6;

/// Most scripts that one gateway is played.
const SHARE: usize = 20;

/// What came of the scripts.
#[derive(Debug, Default)]
pub struct Report {
    /// How many passed.
    pub passed: usize,
    /// How many are for another front end.
    pub left_out: usize,
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
            "{} scripts passed, {} failed, {} left out (another front end); {} gateways",
            self.passed,
            self.failures.len(),
            self.left_out,
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
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// The binary `scripted-child`.
    pub scripted_child: PathBuf,
    /// What stands in front of the gateway.
    pub front_end: FrontEnd,
    /// How long anything that must happen in the gateway may take.
    pub patience: Duration,
}

/// Plays the scripts.
pub fn run(subject: &Subject, scripts: Vec<Script>) -> Report {
    let mut report = Report::default();
    let mut groups: BTreeMap<Setup, Vec<Script>> = BTreeMap::new();
    for script in scripts {
        if script
            .front_end
            .is_some_and(|only| only != subject.front_end)
        {
            report.left_out += 1;
        } else {
            groups.entry(script.setup.clone()).or_default().push(script);
        }
    }
    let mut shares: Vec<(&Setup, &[Script])> = groups
        .iter()
        .flat_map(|(setup, scripts)| scripts.chunks(SHARE).map(move |share| (setup, share)))
        .collect();
    report.gateways = shares.len();
    // The longest first, so that none is left for the end.
    shares.sort_by_key(|(_, scripts)| std::cmp::Reverse(scripts.len()));
    let queue = Mutex::new(VecDeque::from(shares));
    let report = Mutex::new(report);
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                let next = || locked(&queue).pop_front();
                while let Some((setup, scripts)) = next() {
                    let group = run_group(subject, setup, scripts);
                    let mut report = locked(&report);
                    report.passed += group.passed;
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

fn run_group(subject: &Subject, setup: &Setup, scripts: &[Script]) -> Report {
    let start = || Gateway::start(&subject.gateway, &subject.scripted_child, setup);
    let mut report = Report::default();
    let mut running = None;
    for script in scripts {
        let gateway = match running.take().map_or_else(start, Ok) {
            Ok(gateway) => running.insert(gateway),
            Err(why) => {
                report.failures.push(failure(script, 0, &why));
                continue;
            }
        };
        gateway.patience = subject.patience;
        let began = Instant::now();
        let played = play(script, gateway);
        let took = (began.elapsed(), shown(&script.path));
        report.slowest = std::mem::take(&mut report.slowest).max(took);
        match played {
            Ok(()) => report.passed += 1,
            Err(why) => {
                report.failures.push(failure(script, why.line, &why.why));
                // What a failed script has left behind is no fault of the next.
                running = None;
            }
        }
    }
    if let Some(gateway) = running
        && let Err(why) = gateway.stop()
        && let Some(script) = scripts.last()
    {
        report.failures.push(failure(script, 0, &why));
    }
    report
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
