//! Events against a parser that is written from WHATWG HTML, section 9.2, and knows nothing of how
//! they are made.

#[path = "models/event_stream.rs"]
mod model;

use std::time::Duration;

use bytes::Bytes;
use mcp_proto::envelope::{Source, Span, scan};
use mcp_proto::framing::{COPY_LIMIT, Frame, Text, splice};
use mcp_proto::sse::{
    EVENT_SUFFIX, EventId, InvalidEventId, KEEP_ALIVE, event, event_prefix, priming,
};
use proptest::prelude::*;

use self::model::{Event, parse};

fn id() -> impl Strategy<Value = EventId> {
    let number = || prop_oneof![any::<u64>(), 0..100_u64, Just(u64::MAX)];
    (any::<u32>(), number(), number()).prop_map(|(nonce, stream, sequence)| EventId {
        nonce,
        stream,
        sequence,
    })
}

/// Whatever a peer may try, as one message that is spliced: CR and LF are spaces then.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => proptest::sample::select(vec![
            "\n\n", "\r\n\r\n", "\r", "\r\r", "data: x", "id: 1", "retry: 1", "event: y", ":", " ",
            "\u{2028}", "\u{2029}", "\u{85}", "\u{b}", "\u{c}", "\u{feff}", "\0", "\\n\\n",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,10}",
        1 => Just("x".repeat(COPY_LIMIT)),
    ];
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

fn one_line(text: &str) -> Frame {
    splice(
        b"",
        Text::Short(text.as_bytes()),
        Span::whole(text.as_bytes()),
        true,
        &[],
        b"",
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn events_are_read_as_they_were_written(
        messages in prop::collection::vec((prop::option::of(id()), hostile(), any::<bool>()), 1..6),
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        let mut last_id = String::new();
        for (id, message, keep_alive) in &messages {
            let frame = event(*id, &one_line(message));
            // Spliced together at once, it is the same.
            let (prefix, shared) = (event_prefix(*id), Bytes::from(message.clone()));
            let all = Span::whole(&shared);
            let at_once = splice(prefix.as_bytes(), Text::Long(&shared), all, true, &[], EVENT_SUFFIX);
            prop_assert_eq!(frame.to_bytes(), at_once.to_bytes());
            prop_assert!(frame.slices().len() == 1 || frame.len() >= COPY_LIMIT);

            stream.extend_from_slice(&frame.to_bytes());
            if *keep_alive {
                stream.extend_from_slice(KEEP_ALIVE);
            }
            if let Some(id) = id {
                last_id = id.to_string();
            }
            let data = message.replace(['\r', '\n'], " ");
            expected.push(Event { kind: "message".to_owned(), data, last_id: last_id.clone() });
        }
        prop_assert_eq!(parse(&stream), (expected, None));
    }

    #[test]
    fn an_event_that_is_cut_short_is_no_event(id in id(), message in "[a-z]{1,40}", cut in any::<prop::sample::Index>()) {
        let whole = event(Some(id), &one_line(&message)).to_bytes();
        let (events, _) = parse(&whole[..cut.index(whole.len())]);
        prop_assert_eq!(events, []);
    }

    #[test]
    fn ids_read_back(id in id()) {
        let text = id.to_string();
        prop_assert_eq!(text.parse(), Ok(id));
        // They stand in a header and in a line.
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
        prop_assert!(text.len() <= 50);
        let prefix = event_prefix(Some(id));
        let written = format!("id: {text}\ndata: ");
        prop_assert_eq!(prefix.as_bytes(), written.as_bytes());
    }

    #[test]
    fn ids_are_written_in_one_way_only(text in "[0-9a-f]{7,9}-[0-9]{1,2}-[0-9]{1,2}|[-+ 0-9A-Fa-f]{8,14}") {
        if let Ok(id) = text.parse::<EventId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn priming_gives_an_id_and_a_retry_time(id in id(), milliseconds in 0..10_000_000_u64) {
        let (events, retry) = parse(&priming(id, Duration::from_millis(milliseconds)));
        let empty = Event { kind: "message".to_owned(), data: String::new(), last_id: id.to_string() };
        prop_assert_eq!(events, vec![empty]);
        prop_assert_eq!(retry, Some(milliseconds));
    }
}

#[test]
fn the_bytes_are_as_documented() {
    let id = EventId {
        nonce: 0x2a,
        stream: 3,
        sequence: 14,
    };
    assert_eq!(
        priming(id, Duration::from_secs(3)),
        "id: 0000002a-3-14\nretry: 3000\ndata: \n\n"
    );
    let message = Frame::from(&b"{}"[..]);
    assert_eq!(
        event(Some(id), &message).to_bytes(),
        "id: 0000002a-3-14\ndata: {}\n\n"
    );
    assert_eq!(event(None, &message).to_bytes(), "data: {}\n\n");
    assert_eq!(event_prefix(None).as_bytes(), b"data: ");
    assert_eq!(parse(KEEP_ALIVE), (vec![], None));
    let longest = EventId {
        nonce: u32::MAX,
        stream: u64::MAX,
        sequence: u64::MAX,
    };
    assert!(
        event_prefix(Some(longest))
            .as_bytes()
            .ends_with(b"-18446744073709551615\ndata: ")
    );
}

#[test]
fn what_display_does_not_write_is_no_id() {
    assert!("0000002a-3-14".parse::<EventId>().is_ok());
    assert!("ffffffff-18446744073709551615-0".parse::<EventId>().is_ok());
    for text in [
        "",
        "-",
        "--",
        "0000002a",
        "0000002a-3",
        "0000002a-3-",
        "0000002a--14",
        "-3-14",
        "0000002A-3-14",
        "002a-3-14",
        "00000002a-3-14",
        "+000002a-3-14",
        "0000002g-3-14",
        "0000002a-03-14",
        "0000002a-3-014",
        "0000002a-+3-14",
        "0000002a-3-14 ",
        " 0000002a-3-14",
        "0000002a-3-14-1",
        "0000002a-3--14",
        "0000002a-00-0",
        "0000002a-3-18446744073709551616",
        "0000002a_3_14",
        "0000002a-3-1\u{664}",
        "0000002a-3-14\n",
    ] {
        assert!(text.parse::<EventId>().is_err(), "{text:?}");
    }
}

#[test]
fn a_childs_line_with_carriage_returns_is_one_event() {
    let line = b"{\"jsonrpc\":\"2.0\",\r\r\"id\":1,\rid: 9\rdata: {}\r\r\"result\":{}}";
    assert!(scan(line, Source::Child).is_err());
    let line = b"{\"jsonrpc\":\"2.0\",\r\r\"id\":1\r,\"result\":\"\\r\\rdata: \xe2\x80\xa8\"\r\r}";
    let scanned = scan(line, Source::Child).unwrap();
    let [envelope] = scanned.messages() else {
        panic!("one message")
    };
    let frame = splice(
        event_prefix(None).as_bytes(),
        Text::Short(line),
        envelope.span(),
        envelope.has_line_breaks(),
        &[],
        EVENT_SUFFIX,
    );
    let (events, _) = parse(&frame.to_bytes());
    let [event] = &events[..] else {
        panic!("{events:?}")
    };
    let (sent, read): (serde_json::Value, serde_json::Value) = (
        serde_json::from_slice(line).unwrap(),
        serde_json::from_str(&event.data).unwrap(),
    );
    assert_eq!(sent, read);
}

#[test]
fn a_long_message_is_not_copied() {
    let long = Bytes::from(vec![b'x'; 100_000]);
    let frame = event(None, &long.clone().into());
    let lengths: Vec<_> = frame.slices().iter().map(Bytes::len).collect();
    assert_eq!(lengths, [6, 100_000, 2]);
    assert_eq!(frame.slices()[1].as_ptr(), long.as_ptr());
}

#[test]
fn an_event_is_copied_into_one_allocation_just_below_the_limit() {
    for id in [
        None,
        Some(EventId {
            nonce: 1,
            stream: 2,
            sequence: 3,
        }),
    ] {
        let around = event_prefix(id).as_bytes().len() + EVENT_SUFFIX.len();
        for (length, slices) in [(COPY_LIMIT - 1, 1), (COPY_LIMIT, 3)] {
            let message = Frame::from(vec![b'x'; length - around]);
            let event = event(id, &message);
            assert_eq!((event.len(), event.slices().len()), (length, slices));
        }
    }
}

#[test]
fn what_is_shown_to_people_tells_something() {
    assert_eq!(InvalidEventId.to_string(), "not an event id of this server");
    let prefix = event_prefix(Some(EventId {
        nonce: 1,
        stream: 2,
        sequence: 3,
    }));
    assert_eq!(
        format!("{prefix:?}"),
        r#"EventPrefix("id: 00000001-2-3\ndata: ")"#
    );
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a message is one line")]
fn a_message_that_is_not_one_line_is_a_fault_of_the_caller() {
    event(None, &Frame::from(&b"{}\n"[..]));
}
