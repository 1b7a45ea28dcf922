//! What a gateway answered in the course of a script, in a form in which it equals what any other
//! gateway answered: all of it, but for what is of the moment or made up by chance.

use std::net::SocketAddr;

use crate::request_ids;
use crate::text::{find, show};
use crate::wire::{Event, Response};

/// Fields whose values are of the moment, or made up by chance.
const PASSING: [&str; 3] = ["date", "mcp-session-id", "retry-after"];

/// A member of `/health` that counts seconds.
const UPTIME: &[u8] = b"\"uptime_seconds\":";

/// What a gateway answered, in the order in which the script looked at it.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// How the gateway's own address appears in what it says.
    address: String,
    entries: Vec<Entry>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// The line of the script that looked at it; 0 for what belongs to no line.
    line: usize,
    /// What it was.
    bytes: Vec<u8>,
}

/// Where two transcripts part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the script.
    pub line: usize,
    /// What the one gateway answered and the other did not.
    pub answers: [String; 2],
}

impl Transcript {
    /// An empty one, of the gateway at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address: format!(":{}", address.port()),
            entries: Vec::new(),
        }
    }

    /// Adds a response, with whatever of its body was read with it.
    ///
    /// Fields come in any order, their names in any case: they are sorted. `whole` says that the
    /// body was read, so that Content-Length must be its size, which may depend on what is of the
    /// moment.
    pub fn response(&mut self, line: usize, response: &Response, whole: bool) {
        let mut fields: Vec<String> = response
            .fields
            .iter()
            .map(|(name, value)| match name.as_str() {
                passing if PASSING.contains(&passing) => format!("{name}: *"),
                "x-request-id" => format!("{name}: {}", request_ids::told(value)),
                "content-length" if !whole || *value == response.body.len().to_string() => {
                    format!("{name}: *")
                }
                _ => format!("{name}: {value}"),
            })
            .collect();
        fields.sort();
        let head = [&[response.status_line()][..], &fields, &[String::new()]].concat();
        let head = head.join("\r\n");
        let bytes = [head.as_bytes(), b"\r\n", &response.body].concat();
        self.add(line, bytes);
    }

    /// Adds an event. The first part of an id names the session, by chance.
    pub fn event(&mut self, line: usize, event: &Event) {
        let fields: Vec<String> = event
            .fields
            .iter()
            .map(
                |(name, value)| match (name.as_str(), value.split_once('-')) {
                    ("id", Some((_, place))) => format!("id: *-{place}"),
                    _ => format!("{name}: {value}"),
                },
            )
            .collect();
        self.add(line, fields.join("\n").into_bytes());
    }

    /// Adds anything else.
    pub fn note(&mut self, line: usize, what: &str) {
        self.add(line, what.as_bytes().to_vec());
    }

    fn add(&mut self, line: usize, bytes: Vec<u8>) {
        let bytes = replaced(&bytes, self.address.as_bytes(), b":{port}");
        let bytes = request_ids::told_in(&without_uptime(bytes));
        self.entries.push(Entry { line, bytes });
    }

    /// Where this and another part, if they do.
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        let told = |entry: Option<&Entry>| match entry {
            Some(entry) => show(&entry.bytes),
            None => "nothing".to_owned(),
        };
        (0..self.entries.len().max(other.entries.len()))
            .map(|index| (self.entries.get(index), other.entries.get(index)))
            .find(|(one, another)| one != another)
            .map(|(one, another)| Difference {
                line: one.or(another).map_or(0, |entry| entry.line),
                answers: [told(one), told(another)],
            })
    }
}

fn without_uptime(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(at) = find(&bytes, UPTIME) {
        let start = at + UPTIME.len();
        let digits = bytes[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let end = start + digits.count();
        bytes.splice(start..end, *b"*");
    }
    bytes
}

fn replaced(text: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, part) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(by);
        rest = &rest[at + part.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_head;

    fn response(fields: &[&str], body: &str) -> Response {
        let length = format!("Content-Length: {}", body.len());
        let lines = [&["HTTP/1.1 200 OK", &length][..], fields, &["", ""]].concat();
        let mut response = parse_head(lines.join("\r\n").into_bytes()).unwrap();
        response.body = body.into();
        response
    }

    fn told(port: u16, response: &Response) -> Transcript {
        let mut transcript = Transcript::new(([127, 0, 0, 1], port).into());
        transcript.response(7, response, true);
        transcript
    }

    #[test]
    fn what_is_of_the_moment_makes_no_difference() {
        let one = response(
            &[
                "Date: Mon",
                "X: a",
                "Mcp-Session-Id: 1",
                "X-Request-Id: 3f9a12c4-9",
            ],
            r#"{"at":"http://127.0.0.1:80/","uptime_seconds":9,"request_id":"3f9a12c4-9"}"#,
        );
        let two = response(
            &[
                "x: a",
                "mcp-session-id: 2",
                "x-request-id: 0012c49a-10",
                "date: Tue",
            ],
            r#"{"at":"http://127.0.0.1:8080/","uptime_seconds":10,"request_id":"0012c49a-10"}"#,
        );
        assert_eq!(told(80, &one).difference(&told(8080, &two)), None);
    }

    #[test]
    fn all_else_makes_one() {
        let same = || response(&["X: a", "Y: b"], "body");
        let one = told(80, &same());
        for (fields, body) in [
            (&["X: a"][..], "body"),
            (&["X: a", "Y: c"], "body"),
            (&["X: a", "Y: b", "Y: b"], "body"),
            (&["X: a", "Y: b"], "bodies"),
            (&["X: a", "Y: b"], ""),
            (&["X: a", "Y: b", "X-Request-Id: mine"], "body"),
        ] {
            let difference = one.difference(&told(80, &response(fields, body)));
            assert_eq!(difference.map(|difference| difference.line), Some(7));
        }
        let mut longer = told(80, &same());
        longer.event(9, &Event::default());
        let difference = one.difference(&longer).unwrap();
        assert_eq!((difference.line, &*difference.answers[0]), (9, "nothing"));
    }

    #[test]
    fn of_an_event_id_the_place_counts() {
        let told = |id: &str| {
            let mut transcript = Transcript::new(([127, 0, 0, 1], 80).into());
            let fields = vec![("id".to_owned(), id.to_owned())];
            transcript.event(1, &Event { fields });
            transcript
        };
        assert_eq!(told("0a-1-2").difference(&told("ff-1-2")), None);
        assert!(told("0a-1-2").difference(&told("0a-1-3")).is_some());
    }
}
