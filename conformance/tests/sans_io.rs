//! `mcp-proto` and `gateway-kit` reach no runtime, and read no clock but where a reason is given.
//!
//! That they read none elsewhere, hold no lock and show no hash map's order is what clippy says by
//! the `clippy.toml` of each; `conformance/sans-io/run` proves that it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Runtimes, executors and reactors, and what moves bytes for one of them. A name stands for all that
/// begin with it, if it ends in a dash.
const RUNTIMES: &[&str] = &[
    "actix-",
    "async-",
    "blocking",
    "compio",
    "futures-executor",
    "futures-lite",
    "glommio",
    "h2",
    "h3",
    "hyper",
    "hyper-",
    "mio",
    "monoio",
    "polling",
    "pollster",
    "quinn",
    "reqwest",
    "smol",
    "tokio",
    "tokio-",
    "tower",
];

/// Clocks and chance, which the core is given as arguments.
const OUTSIDE: &[&str] = &[
    "chrono",
    "fastrand",
    "getrandom",
    "instant",
    "jiff",
    "log",
    "parking_lot",
    "quanta",
    "rand",
    "time",
    "tracing",
    "uuid",
    "web-time",
];

/// The files in which gateway-kit reads a clock, or gives another reason for what its lints refuse,
/// and how often.
const REASONS: &[(&str, usize)] = &[
    ("access/log.rs", 1),
    ("audit/log.rs", 1),
    ("audit/trail.rs", 1),
    ("child.rs", 1),
    ("driver/clock.rs", 1),
    ("fetch/mod.rs", 1),
    ("health.rs", 1),
    ("metrics/mod.rs", 1),
    ("outside.rs", 1),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What `cargo metadata` says, with every feature on and for every platform.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features"])
        .current_dir(root())
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// How a package reaches each of the named ones by its normal dependencies, the shortest way.
fn ways(metadata: &Value, package: &str, named: &[&str]) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let names: BTreeMap<String, String> = packages
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let start = names.iter().find(|(_, name)| *name == package);
    let (start, _) = start.unwrap_or_else(|| panic!("no package is named {package}"));
    let is_named = |name: &str| {
        named.iter().any(|&known| match known.strip_suffix('-') {
            Some(_) => name.starts_with(known),
            None => name == known,
        })
    };
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([start.clone()]);
    let mut next = vec![(start.clone(), package.to_owned())];
    while !next.is_empty() {
        for (id, way) in std::mem::take(&mut next) {
            for dependency in list(&nodes[&id]["deps"]) {
                let kinds = list(&dependency["dep_kinds"]);
                let id = text(&dependency["pkg"]);
                if kinds.iter().any(|kind| kind["kind"].is_null()) && seen.insert(id.clone()) {
                    let way = format!("{way} > {}", names[&id]);
                    if is_named(&names[&id]) {
                        found.push(way.clone());
                    }
                    next.push((id, way));
                }
            }
        }
    }
    found
}

/// How often a crate's sources say that one of the lints of its `clippy.toml` does not count, by file.
fn exceptions(sources: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut directories = vec![sources.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("it is a directory") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("sources are text");
            let count = text.matches("clippy::disallowed_").count()
                + text.matches("clippy::iter_over_hash_type").count()
                + text.matches("(clippy::all").count();
            if count > 0 {
                let name = path.strip_prefix(sources).expect("it is below");
                found.insert(name.display().to_string(), count);
            }
        }
    }
    found
}

#[test]
fn no_runtime_is_reached() {
    let metadata = metadata();
    let none: [String; 0] = [];
    assert_eq!(ways(&metadata, "mcp-proto", RUNTIMES), none);
    assert_eq!(ways(&metadata, "mcp-proto", OUTSIDE), none);
    assert_eq!(ways(&metadata, "gateway-kit", RUNTIMES), none);
    // The adapters do, so that a name which nobody has would be noticed.
    assert!(!ways(&metadata, "gateway-tokio", &["tokio"]).is_empty());
    assert!(!ways(&metadata, "gateway-smol", &["async-"]).is_empty());
}

#[test]
fn every_exception_is_known() {
    let known = REASONS
        .iter()
        .map(|&(file, count)| (file.to_owned(), count));
    assert_eq!(exceptions(&root().join("gateway-kit/src")), known.collect());
    assert_eq!(exceptions(&root().join("mcp-proto/src")), BTreeMap::new());
}

/// A workspace in which a crate reaches a runtime by a library, and by its tests and build script.
#[test]
fn a_runtime_that_is_reached_is_found() {
    let package = |name: &str| json!({"id": name, "name": name});
    let on = |name: &str, kinds: &[Value]| {
        let kinds: Vec<_> = kinds.iter().map(|kind| json!({"kind": kind})).collect();
        json!({"pkg": name, "dep_kinds": kinds})
    };
    let (normal, dev, build) = (json!(null), json!("dev"), json!("build"));
    let names = ["core", "library", "tokio-util", "smol", "mio", "tokio"];
    let metadata = json!({
        "packages": names.map(package),
        "resolve": {"nodes": [
            {"id": "core", "deps": [
                on("library", &[dev.clone(), normal.clone()]),
                on("smol", &[dev]),
                on("mio", &[build]),
            ]},
            {"id": "library", "deps": [on("tokio-util", std::slice::from_ref(&normal))]},
            {"id": "tokio-util", "deps": [on("tokio", &[normal])]},
            {"id": "smol", "deps": []},
            {"id": "mio", "deps": []},
            {"id": "tokio", "deps": []},
        ]},
    });
    assert_eq!(
        ways(&metadata, "core", RUNTIMES),
        [
            "core > library > tokio-util",
            "core > library > tokio-util > tokio"
        ]
    );
    assert!(ways(&metadata, "library", &["mio"]).is_empty());
}
