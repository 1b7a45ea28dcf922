//! Where lines go, and what stands there already.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::chain::{Chain, LINE_BYTES, Place};

/// How much of a file's end is looked at: room for a whole record and a torn one.
const TAIL_BYTES: usize = 2 * LINE_BYTES;

/// How long, and how often, a descriptor that does not block is tried again when it is full.
const FULL_TRIES: u32 = 100;
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Where lines go.
pub(super) enum Sink {
    /// To something that is open for good.
    Stream(Box<dyn Write + Send>),
    /// To a file that can be opened again.
    File {
        /// Open for appending, and locked.
        file: File,
        path: PathBuf,
    },
}

/// What every record begins with.
const RECORD_START: &[u8] = b"{\"time\":\"";

/// What stands in a file already.
pub(super) enum Tail {
    /// Nothing.
    Empty,
    /// A record, to be followed.
    Record {
        chain: Chain,
        /// Whether torn lines follow the record.
        torn: bool,
        /// Whether the last line lacks its newline.
        unended: bool,
    },
    /// Torn lines and nothing else: a first record that was not written to its end.
    Torn {
        /// Whether the last line lacks its newline.
        unended: bool,
    },
}

impl Sink {
    /// The process's stdout, past the buffer and the lock that `std` has for it: a reader that
    /// stands still must stop nobody else who writes there.
    pub(super) fn stdout() -> io::Result<Self> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::Stream(Box::new(File::from(descriptor))))
    }

    /// The file at `path`, which is created if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, another process has it, or what it ends in is no trail.
    pub(super) fn file(path: &Path) -> io::Result<(Self, Tail)> {
        let file = open(path)?;
        let tail = lock(&file).and_then(|()| read_tail(&file));
        let tail = tail.map_err(|error| told(path, &error))?;
        let path = path.to_owned();
        Ok((Self::File { file, path }, tail))
    }

    /// Opens the file anew. `None` if there is none, or if it is the one that is open.
    ///
    /// # Errors
    ///
    /// As [`Sink::file`]; the one that was open stays so.
    pub(super) fn reopen(&mut self) -> io::Result<Option<Tail>> {
        let Self::File { file, path } = self else {
            return Ok(None);
        };
        let new = open(path)?;
        let identity = |file: &File| file.metadata().map(|it| (it.dev(), it.ino()));
        // The lock would be refused: this process has it.
        if identity(&new)? == identity(file)? {
            return Ok(None);
        }
        let tail = lock(&new).and_then(|()| read_tail(&new));
        let tail = tail.map_err(|error| told(path, &error))?;
        *file = new;
        Ok(Some(tail))
    }

    /// Writes all of `bytes`, or tells how many were written before it failed.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let output: &mut dyn Write = match self {
            Self::Stream(stream) => stream,
            Self::File { file, .. } => file,
        };
        let mut written = 0;
        let mut tries = 0;
        while written < bytes.len() {
            match output.write(&bytes[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(more) => (written, tries) = (written + more, 0),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    // Whoever shares a pipe with this process may have made it so.
                    io::ErrorKind::WouldBlock if tries < FULL_TRIES => {
                        tries += 1;
                        thread::sleep(FULL_PAUSE);
                    }
                    _ => return Err((written, error)),
                },
            }
        }
        output.flush().map_err(|error| (written, error))
    }
}

/// The error with the file that it is about.
fn told(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("audit file {}: {error}", path.display()),
    )
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path).map_err(|error| told(path, &error))
}

/// Two chains in one file would be none.
fn lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => io::Error::new(
            io::ErrorKind::WouldBlock,
            "another process writes to it; give each gateway a file of its own",
        ),
        error => error.into(),
    })
}

fn read_tail(file: &File) -> io::Result<Tail> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(Tail::Empty);
    }
    let begin = metadata.len().saturating_sub(TAIL_BYTES as u64);
    let length = usize::try_from(metadata.len() - begin).unwrap_or(TAIL_BYTES);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, begin)?;
    let whole = match bytes.iter().position(|byte| *byte == b'\n') {
        _ if begin == 0 => &bytes[..],
        Some(end) => &bytes[end + 1..],
        None => &[],
    };
    tail(whole, bytes.last() != Some(&b'\n')).ok_or_else(|| {
        // Somebody's own file, by a slip: nothing must be added to it.
        let why = "not an audit trail; give another path, or move it away";
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// What `text` ends in; it begins with a line's beginning. `None` if that is no trail.
fn tail(text: &[u8], unended: bool) -> Option<Tail> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut torn: Vec<&[u8]> = Vec::new();
    for line in text.rsplit(|byte| *byte == b'\n') {
        if let Some(place) = Place::read(line) {
            let mut chain = Chain::default();
            chain.follow(place.seq, line);
            torn.iter().rev().for_each(|line| chain.follow_torn(line));
            let torn = unended || !torn.is_empty();
            return Some(Tail::Record {
                chain,
                torn,
                unended,
            });
        }
        // Whatever a record's torn line is, it begins as records do.
        if !line.starts_with(b"{") {
            return None;
        }
        torn.push(line);
    }
    let begins = |line: &[u8]| line.starts_with(RECORD_START) || RECORD_START.starts_with(line);
    torn.into_iter()
        .all(begins)
        .then_some(Tail::Torn { unended })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_was_not_rotated_is_not_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let (mut sink, _) = Sink::file(&path).unwrap();
        assert!(sink.reopen().unwrap().is_none());
        fs::rename(&path, directory.path().join("audit.1")).unwrap();
        assert!(matches!(sink.reopen().unwrap(), Some(Tail::Empty)));
        assert!(Sink::file(&path).is_err());
        assert!(Sink::file(&directory.path().join("audit.1")).is_ok());
    }

    #[test]
    fn a_tail_is_followed_over_its_torn_lines_and_over_nothing_else() {
        let record = format!(r#"{{"event":"x","seq":7,"prev":"{}"}}"#, "0a".repeat(32));
        for (after, follows) in [
            ("", Some((false, true))),
            ("\n", Some((false, false))),
            ("\n{\"ti", Some((true, true))),
            ("\n{\"ti\n{\"t\n", Some((true, false))),
            ("\n\n", None),
            ("\nelse\n", None),
            ("\n{\"ti\nelse", None),
        ] {
            let text = format!("else\n{record}{after}");
            let found = tail(text.as_bytes(), !text.ends_with('\n'));
            let mut expected = Chain::default();
            expected.follow(7, format!("{record}{after}").trim_end().as_bytes());
            match (found, follows) {
                (None, None) => {}
                (
                    Some(Tail::Record {
                        chain,
                        torn,
                        unended,
                    }),
                    Some((lines, end)),
                ) => {
                    assert_eq!(chain.prev(), expected.prev(), "{after:?}");
                    assert_eq!((torn, unended), (lines || end, end), "{after:?}");
                }
                _ => panic!("{after:?}"),
            }
        }
    }
}
