//! An MCP server on stdio that is not the bottleneck: it answers what one read brought in one
//! write, and searches for what it needs instead of parsing. It understands our own gateway and
//! load generator only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use benches::wire;

fn main() -> io::Result<()> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; 64 * 1024];
    let mut held = 0;
    let mut answers = Vec::new();
    loop {
        if held == buffer.len() {
            buffer.resize(2 * held, 0);
        }
        let read = input.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        let end = held + read;
        let mut start = 0;
        // Nothing that was held has a line's end.
        let mut searched = held;
        while let Some(found) = memchr::memchr(b'\n', &buffer[searched..end]) {
            answer(&mut answers, &buffer[start..searched + found]);
            start = searched + found + 1;
            searched = start;
        }
        buffer.copy_within(start..end, 0);
        held = end - start;
        if !answers.is_empty() {
            output.write_all(&answers)?;
            answers.clear();
        }
    }
}

fn answer(out: &mut Vec<u8>, message: &[u8]) {
    let Some(id) = wire::integer(message, wire::ID) else {
        return;
    };
    if wire::string(message, wire::METHOD) == Some(b"initialize") {
        wire::push_initialized(out, id);
    } else {
        if let Some(token) = wire::integer(&message[..message.len().min(256)], wire::PROGRESS_TOKEN)
        {
            let total = wire::number(message, wire::NOTIFICATIONS).unwrap_or(0);
            for progress in 1..=total {
                wire::push_progress(out, token, progress, total);
                out.push(b'\n');
            }
        }
        wire::push_answer(
            out,
            id,
            wire::string(message, wire::TEXT).unwrap_or_default(),
        );
    }
    out.push(b'\n');
}
