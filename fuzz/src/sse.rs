//! `mcp_proto::sse` against a parser that is written from WHATWG HTML.
//!
//! An input is events, of which each is a byte that says what it has, an id's 20 bytes if it has one,
//! a length, and a message.

#[path = "../../mcp-proto/tests/models/event_stream.rs"]
mod model;

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use mcp_proto::envelope::{Source, Span, scan};
use mcp_proto::framing::{Frame, Text, splice};
use mcp_proto::sse::{EVENT_SUFFIX, EventId, KEEP_ALIVE, event, event_prefix, priming};

use self::model::{Event, parse};

/// Writes the events and reads them back: as many, each with its own id and message, wherever the
/// stream is cut.
pub fn check(input: &[u8]) {
    let mut program = Unstructured::new(input);
    let mut stream = Stream::default();
    // A message that breaks off is none.
    while !program.is_empty() && stream.next(&mut program).is_ok() {}
    let (events, retry) = parse(&stream.bytes);
    assert_eq!(events, stream.events);
    assert_eq!(retry, stream.retry);

    // Up to here a connection may come: what is not whole is not taken.
    for (end, count) in stream.ends.windows(2).zip(1..).flat_map(|(ends, count)| {
        let middle = ends[0] + (ends[1] - ends[0]) / 2;
        [
            (middle, count - 1),
            (ends[1] - 1, count - 1),
            (ends[1], count),
        ]
    }) {
        assert_eq!(parse(&stream.bytes[..end]).0, stream.events[..count]);
    }
}

/// What was written, and what is to be read.
struct Stream {
    bytes: Vec<u8>,
    events: Vec<Event>,
    retry: Option<u64>,
    last_id: String,
    /// Where each event ends, after a first 0.
    ends: Vec<usize>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            events: Vec::new(),
            retry: None,
            last_id: String::new(),
            ends: vec![0],
        }
    }
}

impl Stream {
    fn next(&mut self, program: &mut Unstructured<'_>) -> Result<()> {
        let kind: u8 = program.arbitrary()?;
        let id = match kind & 1 {
            0 => None,
            _ => Some(EventId {
                nonce: program.arbitrary()?,
                stream: program.arbitrary()?,
                sequence: program.arbitrary()?,
            }),
        };
        if kind & 2 != 0 {
            self.bytes.extend_from_slice(KEEP_ALIVE);
        }
        if let (Some(id), true) = (id, kind & 4 != 0) {
            let retry = Duration::from_millis(program.arbitrary::<u32>()?.into());
            self.retry = Some(retry.as_millis() as u64);
            self.write(Some(id), &priming(id, retry), String::new());
            return Ok(());
        }
        let length: u8 = program.arbitrary()?;
        let message = program.bytes(length.into())?;
        self.send(id, message);
        Ok(())
    }

    fn send(&mut self, id: Option<EventId>, message: &[u8]) {
        // A child's message goes as it is scanned; anything else as if all line breaks were
        // between tokens.
        let (span, line_breaks) = match scan(message, Source::Child) {
            Ok(document) => {
                let envelope = document.messages()[0];
                (envelope.span(), envelope.has_line_breaks())
            }
            Err(_) => (Span::whole(message), true),
        };
        let text = Text::Short(message);
        let line = splice(b"", text, span, line_breaks, &[], b"");
        let prefix = event_prefix(id);
        let whole = splice(
            prefix.as_bytes(),
            text,
            span,
            line_breaks,
            &[],
            EVENT_SUFFIX,
        );
        assert_eq!(event(id, &line).to_bytes(), whole.to_bytes());

        // In pieces it is the same.
        let (left, right) = message.split_at(message.len() / 2);
        let pieces: Frame = [left, right]
            .map(|piece| {
                let span = Span::whole(piece);
                splice(b"", Text::Short(piece), span, true, &[], b"").to_bytes()
            })
            .into_iter()
            .collect();
        if span == Span::whole(message) {
            assert_eq!(event(id, &pieces).to_bytes(), whole.to_bytes());
        }

        let data = String::from_utf8_lossy(span.of(message)).replace(['\r', '\n'], " ");
        self.write(id, &whole.to_bytes(), data);
    }

    fn write(&mut self, id: Option<EventId>, event: &Bytes, data: String) {
        if let Some(id) = id {
            self.last_id = id.to_string();
            assert_eq!(self.last_id.parse(), Ok(id));
        }
        self.bytes.extend_from_slice(event);
        self.ends.push(self.bytes.len());
        self.events.push(Event {
            kind: "message".to_owned(),
            data,
            last_id: self.last_id.clone(),
        });
    }
}
