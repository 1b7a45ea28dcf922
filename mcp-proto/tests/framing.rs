//! Lines and frames against the plainest code that does the same.

#[path = "models/framing.rs"]
mod model;

use bytes::Bytes;
use mcp_proto::envelope::{Field, Source, Span, scan};
use mcp_proto::framing::{COPY_LIMIT, Frame, Line, LineBuffer, Text, splice};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use self::model::{Kept, expected, keep, spliced};

// ---- Lines ----

/// Reads `input` in chunks of at most these sizes, over and over. Checks the memory on the way.
fn read(buffer: &mut LineBuffer, mut input: &[u8], max_line: usize, chunks: &[usize]) -> Vec<Kept> {
    let mut lines = Vec::new();
    let mut chunks = chunks.iter().cycle();
    while !input.is_empty() {
        let spare = buffer.spare();
        assert!(!spare.is_empty());
        let length = spare.len().min(input.len()).min(*chunks.next().unwrap());
        spare[..length].copy_from_slice(&input[..length]);
        // What lies behind the read must not matter.
        if let Some(next) = spare.get_mut(length) {
            *next = b'\n';
        }
        input = &input[length..];
        buffer.filled(length);
        while let Some(line) = buffer.next_line() {
            lines.push(keep(line));
        }
        assert!(buffer.next_line().is_none());
        let most = max_line + 1 + 64 * 1024;
        assert!(
            buffer.allocated() <= most,
            "{} of {most}",
            buffer.allocated()
        );
    }
    lines
}

/// A run of bytes, mostly a line.
fn piece(max_line: usize) -> impl Strategy<Value = Vec<u8>> {
    let around = |length: usize| length.saturating_sub(3)..length + 4;
    let line = prop_oneof![
        4 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(select(b" \t\r\nx".to_vec()), 0..6),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (around(max_line), any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => (around(COPY_LIMIT), Just(b'x')).prop_map(|(length, byte)| vec![byte; length]),
        1 => (0..4 * COPY_LIMIT, select(b"x ".to_vec())).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let end = select(vec!["\n", "\n", "\r\n", "\r\r\n", "\n\n", ""]);
    (line, end).prop_map(|(mut line, end)| {
        line.extend_from_slice(end.as_bytes());
        line
    })
}

fn input() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let max_line = prop_oneof![
        Just(10_usize),
        Just(1000),
        Just(20_000),
        Just(50_000),
        Just(1 << 20)
    ];
    max_line.prop_flat_map(|max_line| {
        let pieces = prop::collection::vec(piece(max_line), 0..20);
        (Just(max_line), pieces.prop_map(|pieces| pieces.concat()))
    })
}

fn chunks() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        1_usize..20,
        Just(1),
        1_usize..2000,
        Just(4096),
        1_usize..100_000,
        Just(usize::MAX),
    ];
    prop_oneof![
        size.clone().prop_map(|size| vec![size]),
        prop::collection::vec(size, 1..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn lines_are_those_of_splitting_however_they_come((max_line, input) in input(), chunks in chunks()) {
        let mut buffer = LineBuffer::new(max_line);
        prop_assert_eq!(buffer.allocated(), 0);
        let lines = read(&mut buffer, &input, max_line, &chunks);
        let (expected, unfinished) = expected(&input, max_line);
        prop_assert_eq!(lines, expected);
        prop_assert_eq!(buffer.unfinished(), unfinished);
    }

    #[test]
    fn releasing_at_any_time_loses_nothing((max_line, input) in input(), chunk in 1_usize..30_000) {
        let mut buffer = LineBuffer::new(max_line);
        let mut lines = Vec::new();
        for part in input.chunks(chunk) {
            lines.extend(read(&mut buffer, part, max_line, &[usize::MAX]));
            let unfinished = buffer.unfinished();
            buffer.release();
            prop_assert_eq!(buffer.unfinished(), unfinished);
            prop_assert!(unfinished > 0 || buffer.allocated() == 0);
        }
        prop_assert_eq!(lines, expected(&input, max_line).0);
    }
}

/// Puts all of `input` in, as far as there is room for it in one read.
fn fill(buffer: &mut LineBuffer, input: &[u8]) {
    buffer.spare()[..input.len()].copy_from_slice(input);
    buffer.filled(input.len());
}

#[test]
fn lines_lose_their_end_and_blank_ones_are_skipped() {
    let mut buffer = LineBuffer::new(100);
    fill(&mut buffer, b"{}\r\n\n \t\r\n\r\r\n {\r} \n\xff\r\r\nhalf");
    for line in [&b"{}"[..], b" {\r} ", b"\xff\r"] {
        assert_eq!(
            buffer.next_line().map(keep),
            Some(Kept::Short(line.to_vec()))
        );
    }
    assert!(buffer.next_line().is_none());
    assert_eq!(buffer.unfinished(), 4);
    fill(&mut buffer, b" line\n");
    assert_eq!(
        buffer.next_line().map(keep),
        Some(Kept::Short(b"half line".to_vec()))
    );
}

#[test]
fn a_line_at_the_limit_is_whole_and_one_beyond_is_reported_once() {
    let mut buffer = LineBuffer::new(4);
    for (input, expected) in [
        ("1234\n", Kept::Short(b"1234".to_vec())),
        ("1234\r\n", Kept::Short(b"1234".to_vec())),
        ("12345\n", Kept::Oversized(5)),
        ("12345\r\n", Kept::Oversized(6)),
        ("     \n", Kept::Oversized(5)),
        ("1234\n", Kept::Short(b"1234".to_vec())),
    ] {
        for chunks in [1, 2, 3, 4, 5, 6, 7] {
            let lines = read(&mut buffer, input.as_bytes(), 4, &[chunks]);
            assert_eq!(
                lines,
                std::slice::from_ref(&expected),
                "{input:?} by {chunks}"
            );
        }
    }
}

#[test]
fn an_endless_line_costs_the_limit_and_no_more() {
    let max_line = 300_000;
    let mut buffer = LineBuffer::new(max_line);
    let flood = vec![b'x'; 20 << 20];
    assert_eq!(read(&mut buffer, &flood, max_line, &[usize::MAX]), []);
    assert_eq!(buffer.unfinished(), 20 << 20);
    // The room that the line took is given back, even before it ends.
    buffer.spare();
    assert!(buffer.allocated() <= 64 * 1024);
    let lines = read(&mut buffer, b"y\n{}\n", max_line, &[1]);
    assert_eq!(
        lines,
        [Kept::Oversized((20 << 20) + 1), Kept::Short(b"{}".to_vec())]
    );
}

#[test]
fn a_long_line_in_small_reads_takes_linear_time() {
    // With a search from the line's start at every read, this would take many minutes.
    let max_line = 8 << 20;
    let mut input = vec![b'x'; max_line];
    input.push(b'\n');
    let mut buffer = LineBuffer::new(max_line);
    let lines = read(&mut buffer, &input, max_line, &[3]);
    assert!(matches!(&lines[..], [Kept::Long(line)] if *line == input[..max_line]));
}

#[test]
fn reads_grow_when_they_are_filled_and_begin_small() {
    let mut buffer = LineBuffer::new(1 << 20);
    assert_eq!(buffer.spare().len(), 8 * 1024);
    fill(&mut buffer, b"{}\n");
    assert!(buffer.next_line().is_some());
    assert_eq!(buffer.spare().len(), 8 * 1024);
    for _ in 0..5 {
        let spare = buffer.spare();
        spare.fill(b'\n');
        let length = spare.len();
        buffer.filled(length);
        assert!(buffer.next_line().is_none());
    }
    assert_eq!(buffer.spare().len(), 64 * 1024);
    buffer.release();
    assert_eq!(buffer.allocated(), 0);
    assert_eq!(buffer.spare().len(), 8 * 1024);
}

#[test]
fn release_keeps_what_is_held() {
    let mut buffer = LineBuffer::new(100);
    fill(&mut buffer, b"hal");
    buffer.release();
    assert!(buffer.allocated() > 0);
    fill(&mut buffer, b"f\n");
    assert_eq!(
        buffer.next_line().map(keep),
        Some(Kept::Short(b"half".to_vec()))
    );
    buffer.release();
    assert_eq!(buffer.allocated(), 0);
}

#[test]
fn a_long_line_stays_what_it_was_and_pins_little() {
    let max_line = 1 << 20;
    for length in [COPY_LIMIT, 40_000, 500_000] {
        let mut buffer = LineBuffer::new(max_line);
        let long = vec![b'a'; length];
        let mut input = b"{}\n".to_vec();
        input.extend_from_slice(&long);
        input.extend_from_slice(b"\r\nshort\nrest");
        let lines = read(&mut buffer, &input, max_line, &[usize::MAX]);
        let after = read(&mut buffer, &vec![b'z'; 100_000], max_line, &[usize::MAX]);
        assert_eq!(after, []);
        let [Kept::Short(_), Kept::Long(line), Kept::Short(short)] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!((&line[..], &short[..]), (&long[..], &b"short"[..]));
        assert_eq!(buffer.unfinished(), 4 + 100_000);
        // Nobody else holds it: what is pinned is what it can be turned into.
        let pinned = line.clone();
        drop(lines);
        let pinned = pinned
            .try_into_mut()
            .expect("it is the only one")
            .capacity();
        assert_eq!(pinned, length);
    }
}

#[test]
fn a_large_buffer_is_not_given_away_with_a_line_that_is_a_part_of_it() {
    let mut buffer = LineBuffer::new(1 << 20);
    read(&mut buffer, &vec![b'\n'; 1 << 20], 1 << 20, &[usize::MAX]);
    assert_eq!(buffer.spare().len(), 64 * 1024);
    for (length, left) in [(COPY_LIMIT, 64 * 1024), (60_000, 0)] {
        let mut input = vec![b'x'; length];
        input.push(b'\n');
        fill(&mut buffer, &input);
        assert!(matches!(buffer.next_line(), Some(Line::Long(line)) if line.len() == length));
        assert_eq!(buffer.allocated(), left);
    }
    // Nor with one that is less than half of it, wherever it stands.
    read(&mut buffer, &vec![b'\n'; 1 << 20], 1 << 20, &[usize::MAX]);
    let mut input = vec![b'\n'; 40_000];
    input.extend_from_slice(&[b'x'; 20_000]);
    input.push(b'\n');
    fill(&mut buffer, &input);
    assert!(matches!(buffer.next_line(), Some(Line::Long(line)) if line.len() == 20_000));
    assert_eq!(buffer.allocated(), 64 * 1024);
}

#[test]
#[should_panic(expected = "a read of 8190 bytes into 8189")]
fn more_than_was_given_cannot_have_been_filled() {
    let mut buffer = LineBuffer::new(100);
    fill(&mut buffer, b"hal");
    buffer.spare();
    buffer.filled(8190);
}

#[test]
fn what_is_held_is_not_moved_while_there_is_room() {
    let mut buffer = LineBuffer::new(1 << 20);
    let start = buffer.spare().as_ptr();
    let at = |buffer: &mut LineBuffer| buffer.spare().as_ptr().addr() - start.addr();
    fill(&mut buffer, b"{}\nhal");
    assert!(buffer.next_line().is_some() && buffer.next_line().is_none());
    assert_eq!(at(&mut buffer), 6);
    // At less than half of what is read at once, it is.
    fill(&mut buffer, &[b'x'; 4 * 1024 - 6]);
    assert!(buffer.next_line().is_none());
    assert_eq!(at(&mut buffer), 4 * 1024);
    fill(&mut buffer, b"x");
    assert!(buffer.next_line().is_none());
    assert_eq!(at(&mut buffer), 4 * 1024 + 1 - 3);
}

#[test]
fn a_line_is_text_unless_it_is_gone() {
    let long = Bytes::from_static(b"long");
    let text = Line::Short(b"short").text();
    assert!(matches!(text, Some(Text::Short(b"short"))));
    assert!(matches!(Line::Long(long.clone()).text(), Some(Text::Long(text)) if *text == long));
    assert!(Line::Oversized { length: 9 }.text().is_none());
}

// ---- Frames ----

/// Sorted, disjoint spans inside `message`.
fn spans(message: Span, cuts: &[Index]) -> Vec<Span> {
    let mut cuts: Vec<_> = cuts
        .iter()
        .map(|cut| message.start + cut.index(message.len() + 1) as u32)
        .collect();
    cuts.sort_unstable();
    // Of two empty spans at one place, the naive way could not tell which is first.
    cuts.dedup();
    cuts.chunks_exact(2)
        .map(|cut| Span {
            start: cut[0],
            end: cut[1],
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn a_splice_is_what_the_plain_way_gives(
        length in prop_oneof![0_usize..100, COPY_LIMIT - 60..COPY_LIMIT + 60, 0..4 * COPY_LIMIT],
        seed in any::<u8>(),
        bounds in any::<[Index; 2]>(),
        wide in any::<bool>(),
        line_breaks in any::<bool>(),
        cuts in prop::collection::vec(any::<Index>(), 0..9),
        texts in prop::collection::vec("[a-z]{0,60}", 5),
        prefix in "[a-z:\n]{0,70}",
        suffix in "[a-z\n]{0,4}",
    ) {
        let document: Vec<u8> = (0..length)
            .map(|at| match (at as u8).wrapping_mul(31).wrapping_add(seed) {
                0..=3 if line_breaks => b'\n',
                4..=6 if line_breaks => b'\r',
                b'\r' | b'\n' => b' ',
                byte => byte,
            })
            .collect();
        let mut bounds = bounds.map(|bound| bound.index(length + 1) as u32);
        bounds.sort_unstable();
        let message = if wide { Span::whole(&document) } else { Span { start: bounds[0], end: bounds[1] } };
        let spans = spans(message, &cuts);
        let edits: Vec<_> = spans.iter().copied().zip(texts.iter().map(String::as_bytes)).collect();
        let (prefix, suffix) = (prefix.as_bytes(), suffix.as_bytes());

        let expected = spliced(prefix, &document, message, line_breaks, &edits, suffix);
        let shared = Bytes::from(document.clone());
        for text in [Text::Short(&document), Text::Long(&shared)] {
            let frame = splice(prefix, text, message, line_breaks, &edits, suffix);
            prop_assert_eq!(frame.slices().concat(), &expected[..]);
            prop_assert_eq!(frame.to_bytes(), &expected[..]);
            prop_assert_eq!((frame.len(), frame.is_empty()), (expected.len(), expected.is_empty()));
            prop_assert!(frame.slices().iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(frame.clone().into_slices().collect::<Vec<_>>(), frame.slices());
            let is_sliced = matches!(text, Text::Long(_)) && expected.len() >= COPY_LIMIT && !line_breaks;
            if is_sliced {
                // Copied are the gateway's own bytes, and little of the message around them.
                let inside = shared.as_ptr_range();
                let copied = frame.slices().iter().filter(|piece| !inside.contains(&piece.as_ptr()));
                let copied: usize = copied.map(Bytes::len).sum();
                prop_assert!(copied <= 5 * 60 + 74 + 5 * 1024, "{copied} copied");
            } else {
                prop_assert!(frame.slices().len() <= 1);
            }
            prop_assert_eq!(frame.compact().slices().concat(), expected.clone());
        }
    }
}

#[test]
fn one_post_is_one_line() {
    // Forwarded as it is, the second line of this would be a call of its own.
    let body = b"{\"a\":\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"evil\"}\n,\"jsonrpc\":\"2.0\",\r\"method\":\
        \"tools/call\", \"id\": \"x\\n\"\r\n}\n";
    let scanned = scan(body, Source::Client).unwrap();
    let [envelope] = scanned.messages() else {
        panic!("one message")
    };
    assert!(envelope.has_line_breaks());
    let id = envelope.get(Field::Id).unwrap();
    assert_eq!(id.of(body), b"\"x\\n\"");

    let edits = [(id, &b"77"[..])];
    let frame = splice(b"", Text::Short(body), envelope.span(), true, &edits, b"\n");
    let line = frame.to_bytes();
    assert_eq!(line.iter().filter(|byte| b"\r\n".contains(byte)).count(), 1);

    let mut buffer = LineBuffer::new(1000);
    fill(&mut buffer, &line);
    let Some(Kept::Short(line)) = buffer.next_line().map(keep) else {
        panic!("no line")
    };
    assert!(buffer.next_line().is_none() && buffer.unfinished() == 0);
    let mut sent: serde_json::Value = serde_json::from_slice(body).unwrap();
    sent["id"] = 77.into();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&line).unwrap(),
        sent
    );
}

#[test]
fn a_message_of_a_batch_is_cut_out() {
    let document = Bytes::from_static(
        b"[\n{\"jsonrpc\":\"2.0\",\"method\":\"a\"} , {\"jsonrpc\":\"2.0\",\"method\":\"b\"}]",
    );
    let scanned = scan(&document, Source::Client).unwrap();
    let lines = scanned.messages().iter().map(|envelope| {
        splice(
            b"",
            Text::Long(&document),
            envelope.span(),
            envelope.has_line_breaks(),
            &[],
            b"\n",
        )
        .to_bytes()
    });
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            &b"{\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n"[..],
            b"{\"jsonrpc\":\"2.0\",\"method\":\"b\"}\n"
        ]
    );
}

#[test]
fn a_long_message_is_not_copied() {
    let document = Bytes::from(vec![b'x'; 5 << 20]);
    let edits = [(Span { start: 20, end: 21 }, &b"1234"[..])];
    let frame = splice(
        b"data: ",
        Text::Long(&document),
        Span::whole(&document),
        false,
        &edits,
        b"\n\n",
    );
    let lengths: Vec<_> = frame.slices().iter().map(Bytes::len).collect();
    assert_eq!(lengths, [6 + 20 + 4, (5 << 20) - 21, 2]);
    assert_eq!(frame.slices()[1].as_ptr(), document[21..].as_ptr());
    // Parked, it is a copy of just its length.
    let parked = frame.compact();
    assert_eq!(parked.slices().len(), 1);
    assert!(
        !document
            .as_ptr_range()
            .contains(&parked.slices()[0].as_ptr())
    );
}

#[test]
fn a_message_is_sliced_from_the_limit_on() {
    let document = Bytes::from(vec![b'x'; COPY_LIMIT]);
    for (length, slices) in [(COPY_LIMIT - 1, 1), (COPY_LIMIT, 3)] {
        let message = Span {
            start: 0,
            end: (length - 3 - 2) as u32,
        };
        let frame = splice(b"12>", Text::Long(&document), message, false, &[], b"\n\n");
        assert_eq!((frame.len(), frame.slices().len()), (length, slices));
    }
    // Between two edits, from 1 KiB on.
    for (kept, slices) in [(1023, 2), (1024, 4)] {
        let edits = [
            (Span { start: 0, end: 1 }, &b"a"[..]),
            (
                Span {
                    start: 1 + kept,
                    end: 2 + kept,
                },
                b"b",
            ),
        ];
        let all = Span::whole(&document);
        let frame = splice(b"", Text::Long(&document), all, false, &edits, b"");
        assert_eq!(frame.slices().len(), slices, "{frame:?}");
    }
}

#[test]
fn frames_of_one_piece_are_that_piece() {
    assert!(Frame::default().slices().is_empty() && Frame::default().is_empty());
    assert_eq!(Frame::from(&b"static"[..]).to_bytes(), "static");
    let piece = Bytes::from(b"piece".to_vec());
    let frame: Frame = [Bytes::new(), piece.clone(), Bytes::new()]
        .into_iter()
        .collect();
    assert_eq!(frame.to_bytes().as_ptr(), piece.as_ptr());
    let none: Frame = [Bytes::new()].into_iter().collect();
    assert!(none.slices().is_empty());
}

#[test]
fn parked_frames_pin_no_larger_buffer() {
    let large = Bytes::from(vec![b'x'; 64 * 1024]);
    let parked = Frame::from(large.slice(..100)).compact();
    drop(large);
    let bytes = parked.into_slices().next().unwrap();
    assert_eq!(
        bytes.try_into_mut().expect("it is the only one").capacity(),
        100
    );
}

#[test]
fn an_edit_may_insert_and_may_cover_all() {
    let text = Text::Short(b"abc");
    let all = Span::whole(text.as_bytes());
    let edit = |span: Span| splice(b"<", text, all, false, &[(span, b"-")], b">").to_bytes();
    assert_eq!(edit(Span { start: 0, end: 0 }), "<-abc>");
    assert_eq!(edit(Span { start: 3, end: 3 }), "<abc->");
    assert_eq!(edit(all), "<->");
    assert!(splice(b"", text, Span::default(), false, &[], b"").is_empty());
}

#[test]
fn edits_out_of_order_or_outside_are_a_fault_of_the_caller() {
    let span = |start, end| Span { start, end };
    for edits in [
        vec![(span(2, 3), &b"x"[..]), (span(1, 2), b"y")],
        vec![(span(1, 3), &b"x"[..]), (span(2, 4), b"y")],
        vec![(span(0, 1), &b"x"[..])],
        vec![(span(4, 6), &b"x"[..])],
    ] {
        let spliced = std::panic::catch_unwind(|| {
            splice(b"", Text::Short(b"abcdef"), span(1, 5), false, &edits, b"")
        });
        assert!(spliced.is_err(), "{edits:?}");
    }
}

fn buffer_holding(bytes: &[u8]) -> LineBuffer {
    let mut buffer = LineBuffer::new(100);
    fill(&mut buffer, &[b"x\n", bytes].concat());
    assert!(buffer.next_line().is_some());
    buffer
}

#[test]
fn debug_forms_show_no_payload() {
    let bytes = Bytes::from_static(b"secret");
    let frame: Frame = [bytes.clone(), bytes.clone()].into_iter().collect();
    let shown = [
        format!("{frame:?}"),
        format!("{:?}", Frame::from(bytes.clone())),
        format!("{:?}", Text::Long(&bytes)),
        format!("{:?}", Line::Short(&bytes)),
        format!("{:?}", Line::Long(bytes.clone())),
        format!("{:?}", Line::Oversized { length: 6 }),
        format!("{:?}", buffer_holding(&bytes)),
    ];
    assert!(
        shown
            .iter()
            .all(|shown| !shown.contains("secret") && shown.contains('6')),
        "{shown:?}"
    );
}
