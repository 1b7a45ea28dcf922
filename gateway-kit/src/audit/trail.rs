//! The chain that grows in a sink, through the sink's failures.

use std::io;
use std::mem;
use std::time::SystemTime;

use mcp_proto::AuditRecord;
use tracing::error;

use super::chain::{Chain, Place};
use super::line;
use super::sink::{Sink, Tail};

/// How much is written at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What is to be written.
pub(super) enum Entry {
    /// The chain begins, for this reason.
    Begins(Option<&'static str>),
    /// The line before was not written to its end.
    Torn,
    /// So many records were not written.
    Lost(u64),
    /// A record, and when it was made.
    Record(SystemTime, AuditRecord),
}

/// The chain and its sink.
pub(super) struct Trail {
    sink: Sink,
    chain: Chain,
    /// What must stand before the next record.
    owed: Owed,
    /// How many records were not written so far, told or not.
    unkept: u64,
}

/// What must be written before anything else.
#[derive(Default)]
struct Owed {
    /// The end of a line that has none.
    newline: bool,
    begins: Option<Option<&'static str>>,
    torn: bool,
    lost: u64,
}

impl Trail {
    pub(super) fn new(sink: Sink, tail: Tail) -> Self {
        let mut trail = Self {
            sink,
            chain: Chain::default(),
            owed: Owed::default(),
            unkept: 0,
        };
        match tail {
            Tail::Empty => trail.owed.begins = Some(None),
            Tail::Torn { unended } => trail.begin_after(unended, "last-line-is-no-record"),
            Tail::Record {
                chain,
                torn,
                unended,
            } => {
                trail.chain = chain;
                trail.owed.torn = torn;
                trail.owed.newline = unended;
            }
        }
        trail
    }

    fn begin_after(&mut self, unended: bool, reason: &'static str) {
        self.owed.begins = Some(Some(reason));
        self.owed.newline = unended;
    }

    /// How many records were not written, and are not told yet.
    pub(super) fn lost(&self) -> u64 {
        self.owed.lost
    }

    /// How many records were not written so far.
    pub(super) fn unkept(&self) -> u64 {
        self.unkept
    }

    /// Opens the sink anew. What was written goes on there; where another chain stands, this one
    /// begins anew.
    pub(super) fn reopen(&mut self) {
        match self.sink.reopen() {
            Ok(None) => {}
            Ok(Some(Tail::Empty)) => self.owed.newline = false,
            Ok(Some(Tail::Record { chain, unended, .. })) if chain.prev() == self.chain.prev() => {
                self.owed.newline = unended;
            }
            Ok(Some(Tail::Record { unended, .. } | Tail::Torn { unended })) => {
                self.begin_after(unended, "file-has-other-lines");
            }
            Err(error) => error!(%error, "the audit file is not opened anew; the old one is kept"),
        }
    }

    /// Writes `entries`, and before them what is owed.
    ///
    /// # Errors
    ///
    /// If the sink fails. What was not written is owed from then on; records are only counted.
    pub(super) fn write(&mut self, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        let mut entries = self.take_entries().into_iter().chain(entries).peekable();
        let mut outcome = self.write_chunk(&mut entries);
        while outcome.is_ok() && entries.peek().is_some() {
            outcome = self.write_chunk(&mut entries);
        }
        entries.for_each(|entry| self.owe(entry));
        outcome
    }

    /// What is owed, but for the newline.
    fn take_entries(&mut self) -> Vec<Entry> {
        let newline = self.owed.newline;
        let owed = mem::replace(
            &mut self.owed,
            Owed {
                newline,
                ..Owed::default()
            },
        );
        let mut entries = Vec::new();
        match owed.begins {
            Some(reason) => entries.push(Entry::Begins(reason)),
            None if owed.torn => entries.push(Entry::Torn),
            None => {}
        }
        if owed.lost > 0 {
            entries.push(Entry::Lost(owed.lost));
        }
        entries
    }

    fn owe(&mut self, entry: Entry) {
        match entry {
            Entry::Begins(reason) => self.owed.begins = Some(reason),
            Entry::Torn => self.owed.torn = true,
            Entry::Lost(count) => self.owed.lost += count,
            Entry::Record(..) => {
                self.owed.lost += 1;
                self.unkept += 1;
            }
        }
    }

    fn write_chunk(&mut self, entries: &mut impl Iterator<Item = Entry>) -> io::Result<()> {
        let before = self.chain.clone();
        let mut bytes = Vec::new();
        if self.owed.newline {
            bytes.push(b'\n');
        }
        let mut rendered = Vec::new();
        while bytes.len() < CHUNK_BYTES
            && let Some(entry) = entries.next()
        {
            bytes.extend_from_slice(self.render(&entry).as_bytes());
            bytes.push(b'\n');
            rendered.push(entry);
        }
        match self.sink.write(&bytes) {
            Ok(()) => {
                self.owed.newline = false;
                Ok(())
            }
            Err((written, error)) => {
                self.chain = before;
                self.settle(&bytes[..written], rendered);
                Err(error)
            }
        }
    }

    fn render(&mut self, entry: &Entry) -> String {
        #[expect(
            clippy::disallowed_methods,
            reason = "a trail's own records say when they were written"
        )]
        let now = SystemTime::now();
        let chain = &mut self.chain;
        match entry {
            Entry::Begins(reason) => line::begins(*reason, now, chain),
            Entry::Torn => line::torn(now, chain),
            Entry::Lost(count) => line::lost(*count, now, chain),
            Entry::Record(time, record) => line::record(record, *time, chain),
        }
    }

    /// Takes stock after a failure: of what `rendered` became, `written` reached the sink.
    fn settle(&mut self, mut written: &[u8], rendered: Vec<Entry>) {
        if self.owed.newline
            && let Some((_, rest)) = written.split_first()
        {
            self.owed.newline = false;
            written = rest;
        }
        let mut rendered = rendered.into_iter();
        for piece in written.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.owed.newline = line.len() == piece.len();
            // It may lack its newline and nothing else.
            if let Some(place) = Place::read(line) {
                self.chain.follow(place.seq, line);
                rendered.next();
            } else {
                self.chain.follow_torn(line);
                self.owed.torn = true;
            }
        }
        rendered.for_each(|entry| self.owe(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify_files;
    use mcp_proto::AuditEvent;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::PathBuf;

    /// A disk with room for so many bytes.
    struct Disk {
        file: fs::File,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.room);
            if length == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= length;
            self.file.write(&bytes[..length])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record() -> Entry {
        let record = AuditRecord::new(AuditEvent::SessionOpened);
        Entry::Record(SystemTime::UNIX_EPOCH, record)
    }

    #[test]
    fn a_new_file_continues_what_a_full_disk_tore() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        let open = |path: &PathBuf| OpenOptions::new().append(true).create(true).open(path);
        for room in (0..900).step_by(7) {
            let _ = (fs::remove_file(&old), fs::remove_file(&new));
            let disk = Disk {
                file: open(&old).unwrap(),
                room,
            };
            let mut trail = Trail::new(Sink::Stream(Box::new(disk)), Tail::Empty);
            let failed = trail.write([record(), record(), record()]).is_err();
            let lost = trail.lost();
            assert_eq!(failed, lost > 0, "{room}");
            trail.sink = Sink::File {
                file: open(&old).unwrap(),
                path: new.clone(),
            };
            trail.reopen();
            trail.write([record()]).unwrap();
            assert_eq!(trail.lost(), 0);
            let summary = verify_files([&old, &new], io::sink()).unwrap();
            assert_eq!(summary.beginnings, 1, "{room}");
            assert_eq!(summary.others, 0, "{room}");
            let told = fs::read_to_string(&new).unwrap();
            assert_eq!(
                told.contains(&format!("\"count\":{lost},")),
                failed,
                "{room}"
            );
            assert_eq!(told.matches("session-opened").count(), 1);
        }
    }
}
