//! `mcp_proto::framing` against splitting and joining.
//!
//! An input is a program. An even first byte makes one that reads into a `LineBuffer`: a limit, and
//! then operations of which each is a byte with what it needs. An odd one makes a splice: lengths,
//! edits, and then the document.

#[path = "../../mcp-proto/tests/models/framing.rs"]
mod model;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use mcp_proto::envelope::Span;
use mcp_proto::framing::{COPY_LIMIT, LineBuffer, Text, splice};

use self::model::{Kept, expected, keep, spliced};

/// The limits of lines: none, below and above what is copied, and above what is read at once.
const MOST: [usize; 6] = [0, 1, 7, 1000, COPY_LIMIT + 3, 70_000];

/// Does what `input` says.
pub fn check(input: &[u8]) {
    let mut program = Unstructured::new(input);
    // A program that breaks off is none.
    let _ = match program.arbitrary::<u8>().unwrap_or(0) % 2 {
        0 => check_lines(program),
        _ => check_splice(program),
    };
}

/// A step of a program that reads.
enum Operation<'a> {
    /// These bytes come.
    Read(&'a [u8]),
    /// This byte comes so many times.
    Repeat(u8, usize),
    /// The driver gives memory back.
    Release,
}

impl<'a> Operation<'a> {
    fn next(program: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match program.arbitrary()? {
            length @ 0..0xf0_u8 => Self::Read(program.bytes(length.into())?),
            0xf0..0xff => Self::Repeat(program.arbitrary()?, program.arbitrary::<u16>()?.into()),
            0xff => Self::Release,
        })
    }
}

/// Lines are those of splitting, however they come, and memory stays within its bound.
fn check_lines(mut program: Unstructured<'_>) -> Result<()> {
    let max_line = *program.choose(&MOST)?;
    let mut buffer = LineBuffer::new(max_line);
    let (mut input, mut lines) = (Vec::new(), Vec::new());
    while !program.is_empty() {
        let read = match Operation::next(&mut program)? {
            Operation::Read(bytes) => bytes.to_vec(),
            Operation::Repeat(byte, count) => vec![byte; count],
            Operation::Release => {
                buffer.release();
                Vec::new()
            }
        };
        input.extend_from_slice(&read);
        fill(&mut buffer, &read, max_line, &mut lines);
        let (expected, unfinished) = expected(&input, max_line);
        assert_eq!(lines, expected);
        assert_eq!(buffer.unfinished(), unfinished);
    }
    Ok(())
}

fn fill(buffer: &mut LineBuffer, mut bytes: &[u8], max_line: usize, lines: &mut Vec<Kept>) {
    while !bytes.is_empty() {
        let spare = buffer.spare();
        let length = spare.len().min(bytes.len());
        assert!(length > 0, "there is always room");
        spare[..length].copy_from_slice(&bytes[..length]);
        // What lies behind the read must not matter.
        spare[length..].fill(b'\n');
        bytes = &bytes[length..];
        buffer.filled(length);
        while let Some(line) = buffer.next_line() {
            lines.push(keep(line));
        }
        let most = max_line + 1 + 64 * 1024;
        assert!(buffer.allocated() <= most, "{}", buffer.allocated());
    }
}

/// A splice is what joining gives, in pieces of which none is empty.
fn check_splice(mut program: Unstructured<'_>) -> Result<()> {
    let line_breaks: bool = program.arbitrary()?;
    let prefix = bytes(&mut program, 80)?;
    let suffix = bytes(&mut program, 4)?;
    // The message's ends and those of edits, as distances from one to the next.
    let edits: Vec<_> = (0..program.int_in_range(0..=4)?)
        .map(|_| {
            Ok((
                distance(&mut program)?,
                distance(&mut program)?,
                bytes(&mut program, 80)?,
            ))
        })
        .collect::<Result<_>>()?;
    let (before, last, after) = (
        distance(&mut program)?,
        distance(&mut program)?,
        distance(&mut program)?,
    );
    let text = program.take_rest();

    let mut at = before;
    let edits: Vec<_> = edits
        .into_iter()
        .map(|(kept, removed, edit)| {
            let start = at + kept;
            at = start + removed;
            (span(start, at), edit)
        })
        .collect();
    // Of two edits at one place, the plainest code could not tell which is first.
    if edits
        .windows(2)
        .any(|pair| pair[0].0.start == pair[1].0.start)
    {
        return Ok(());
    }
    let message = span(before, at + last);
    let document: Vec<u8> = text
        .iter()
        .chain(b"x")
        .copied()
        .cycle()
        .take(at + last + after)
        .map(|byte| match byte {
            b'\r' | b'\n' if !line_breaks => b' ',
            byte => byte,
        })
        .collect();

    let expected = spliced(prefix, &document, message, line_breaks, &edits, suffix);
    let shared = Bytes::from(document.clone());
    for text in [Text::Short(&document), Text::Long(&shared)] {
        let frame = splice(prefix, text, message, line_breaks, &edits, suffix);
        assert_eq!(frame.to_bytes(), expected);
        assert_eq!(frame.slices().concat(), expected);
        assert_eq!(
            (frame.len(), frame.is_empty()),
            (expected.len(), expected.is_empty())
        );
        assert!(frame.slices().iter().all(|piece| !piece.is_empty()));
        assert_eq!(
            frame.clone().into_slices().collect::<Vec<_>>(),
            frame.slices()
        );
        let parked = frame.compact();
        assert!(parked.slices().len() <= 1);
        assert_eq!(parked.to_bytes(), expected);
    }
    Ok(())
}

fn span(start: usize, end: usize) -> Span {
    Span {
        start: start as u32,
        end: end as u32,
    }
}

/// At most this many bytes of the program.
fn bytes<'a>(program: &mut Unstructured<'a>, most: u8) -> Result<&'a [u8]> {
    let length: u8 = program.int_in_range(0..=most)?;
    program.bytes(length.into())
}

/// A small number, or one about which parts of a message are sliced instead of copied.
fn distance(program: &mut Unstructured<'_>) -> Result<usize> {
    Ok(match program.arbitrary::<u8>()? {
        small @ 0..0xf0 => small.into(),
        0xf0..0xf8 => 1000 + usize::from(program.arbitrary::<u8>()?),
        0xf8.. => COPY_LIMIT - 128 + usize::from(program.arbitrary::<u8>()?),
    })
}
