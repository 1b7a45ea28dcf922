//! What is made of the metrics: the dashboard and the alerts name only what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gateway_kit::metrics::{Levels, Metrics};

/// Every name that a series of the gateway's has.
fn served() -> BTreeSet<String> {
    let text = Metrics::new("1", 0).to_text(&Levels::default());
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let names = series.filter_map(|line| line.split(['{', ' ']).next());
    names.map(str::to_owned).collect()
}

/// The words of a file that begin as the gateway's metrics do.
fn named(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file);
    let text = fs::read_to_string(&path).expect("it is there");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_word(c));
    let of_metrics = |word: &&str| {
        ["mcp_gateway_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    words.filter(of_metrics).map(str::to_owned).collect()
}

#[test]
fn what_is_drawn_and_alerted_on_is_served() {
    let served = served();
    for file in ["grafana/mcp-gateway.json", "prometheus/alerts.yaml"] {
        let named = named(file);
        assert!(named.len() > 5, "{file}");
        let missing: Vec<_> = named.difference(&served).collect();
        assert!(missing.is_empty(), "{file} has {missing:?}");
    }
}

#[test]
fn all_that_is_served_is_drawn() {
    let drawn = named("grafana/mcp-gateway.json");
    let parts = ["_bucket", "_sum", "_count"];
    for name in served() {
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        let bucket = base.map(|base| format!("{base}_bucket"));
        assert!(drawn.contains(&bucket.unwrap_or(name.clone())), "{name}");
    }
}

#[test]
fn the_dashboard_is_for_any_data_source() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana/mcp-gateway.json");
    let text = fs::read_to_string(path).expect("it is there");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            assert!(!panel["targets"].as_array().expect("targets").is_empty());
        }
    }
}
