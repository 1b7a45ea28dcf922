//! The document as tables for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::logging::escape;

/// Most bytes of a cell: a principal may have any length.
const CELL_BYTES: usize = 64;

/// A column: its head, the member that it shows, and how.
type Column = (&'static str, &'static str, fn(&Value) -> String);

const SESSIONS: &[Column] = &[
    ("SESSION", "session", text),
    ("PRINCIPAL", "principal", text),
    ("IP", "ip", text),
    ("AGE", "age_seconds", duration),
    ("IDLE", "idle_seconds", duration),
    ("CALLS", "calls", text),
    ("STREAMS", "streams", text),
    ("CHILD", "child", text),
];

const CHILDREN: &[Column] = &[
    ("CHILD", "child", text),
    ("PID", "pid", text),
    ("STATE", "state", text),
    ("AGE", "age_seconds", duration),
    ("STDIN", "stdin_waiting_bytes", text),
    ("SESSION", "session", text),
];

const REFUSALS: &[Column] = &[
    ("TIME", "time", text),
    ("REASON", "reason", text),
    ("IP", "ip", text),
    ("REQUEST", "request", text),
];

/// The document's tables; `None` if it is another document.
pub(super) fn of(document: &Value) -> Option<String> {
    let reason = match document["ready"].as_bool()? {
        true => "ready".to_owned(),
        false => format!("not ready: {}", text(&document["reason"])),
    };
    let mut shown = format!(
        "{} {}, {reason}, up {}\n",
        text(&document["service"]),
        text(&document["version"]),
        duration(&document["uptime_seconds"]),
    );
    let rate = |member: &str| document[member].as_f64();
    let _ = writeln!(
        shown,
        "{:.1} requests/s, {:.1} errors/s over the last minute; {} waiting for room",
        rate("requests_per_second")?,
        rate("errors_per_second")?,
        text(&document["requests_waiting"]),
    );
    for (title, member, columns) in [
        ("sessions", "sessions", SESSIONS),
        ("children", "children", CHILDREN),
        ("last refusals", "last_refusals", REFUSALS),
    ] {
        let rows = document[member].as_array()?;
        let _ = write!(shown, "\n{title}: {}\n", rows.len());
        if !rows.is_empty() {
            push_table(&mut shown, columns, rows);
        }
    }
    Some(shown)
}

fn push_table(shown: &mut String, columns: &[Column], rows: &[Value]) {
    let head = columns.iter().map(|&(head, ..)| head.to_owned()).collect();
    let cells = |row: &Value| {
        let cell = |&(_, member, show): &Column| show(&row[member]);
        columns.iter().map(cell).collect::<Vec<_>>()
    };
    let mut table = vec![head];
    table.extend(rows.iter().map(cells));
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns.len())
        .map(|it| width(it).unwrap_or(0))
        .collect();
    for row in &table {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
}

/// Text as it is, but for what must not reach a terminal.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escape(text.as_bytes(), CELL_BYTES),
        other => escape(other.to_string().as_bytes(), CELL_BYTES),
    }
}

fn duration(seconds: &Value) -> String {
    match seconds.as_u64() {
        Some(seconds) => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_line_up_and_write_nothing_to_the_terminal() {
        let document = json!({
            "service": "demo", "version": "1.2", "ready": false, "reason": "draining",
            "uptime_seconds": 3700, "requests_per_second": 12.34, "errors_per_second": 0.0,
            "requests_waiting": 0, "children": [],
            "sessions": [
                {"session": "ab", "principal": "\u{1b}[31mann", "ip": "::1", "age_seconds": 61,
                 "idle_seconds": 0, "calls": 1, "streams": 2, "child": 3},
                {"session": "abcd", "principal": null, "ip": "10.0.0.1", "age_seconds": 1,
                 "idle_seconds": 0, "calls": 0, "streams": 0, "child": 4},
            ],
            "last_refusals": [{"time": "t", "reason": "bad-host", "ip": null, "request": "r"}],
        });
        assert_eq!(
            of(&document).unwrap(),
            "\
demo 1.2, not ready: draining, up 1h 1m 40s
12.3 requests/s, 0.0 errors/s over the last minute; 0 waiting for room

sessions: 2
SESSION  PRINCIPAL    IP        AGE    IDLE  CALLS  STREAMS  CHILD
ab       \\x1b[31mann  ::1       1m 1s  0s    1      2        3
abcd     -            10.0.0.1  1s     0s    0      0        4

children: 0

last refusals: 1
TIME  REASON    IP  REQUEST
t     bad-host  -   r
"
        );
    }

    #[test]
    fn another_document_is_none() {
        for document in [json!({}), json!([]), json!({"ready": true})] {
            assert_eq!(of(&document), None);
        }
    }
}
