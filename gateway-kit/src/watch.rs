//! Small files that are read again and again, so that what is written into them comes into force.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// How often a file is read again.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// More than any of these files can need.
pub(crate) const MOST_BYTES: u64 = 1024 * 1024;

/// Why a file has no content to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// It cannot be read.
    Unreadable(io::ErrorKind),
    /// It is a directory, a pipe or a device.
    NotAFile,
    /// It has more than a megabyte.
    TooLong,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As the system has it, whose words are looked for.
            Self::Unreadable(io::ErrorKind::NotFound) => {
                f.write_str("cannot be read: No such file or directory")
            }
            Self::Unreadable(io::ErrorKind::PermissionDenied) => {
                f.write_str("cannot be read: Permission denied")
            }
            Self::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
            Self::NotAFile => f.write_str("is not a plain file"),
            Self::TooLong => write!(f, "is longer than {MOST_BYTES} bytes"),
        }
    }
}

impl std::error::Error for FileError {}

/// What is in the file. Opening a pipe would wait for its writer, so the kind is looked at before.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |error: io::Error| FileError::Unreadable(error.kind());
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileError::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(FileError::TooLong);
    }
    Ok(bytes)
}

/// A thread that looks at files again. It ends when this is dropped; what it has begun to tell by
/// then is still told.
#[derive(Debug)]
#[must_use = "the files are not watched any more when this is dropped"]
pub struct Watch {
    _alive: Sender<()>,
}

impl Watch {
    /// Calls `look` after each `interval`, on a thread of this name. It is an error if no thread can
    /// be had.
    pub(crate) fn start(
        name: &str,
        interval: Duration,
        mut look: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (alive, dropped) = mpsc::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while dropped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    look();
                }
            })?;
        Ok(Self { _alive: alive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(content(directory.path()), Err(FileError::NotAFile));
        let missing = content(&directory.path().join("x"));
        assert_eq!(missing, Err(FileError::Unreadable(io::ErrorKind::NotFound)));
        let long = directory.path().join("long");
        let most = usize::try_from(MOST_BYTES).unwrap();
        fs::write(&long, "#".repeat(most)).unwrap();
        assert_eq!(content(&long).map(|bytes| bytes.len()), Ok(most));
        fs::write(&long, "#".repeat(most + 1)).unwrap();
        assert_eq!(content(&long), Err(FileError::TooLong));
    }
}
