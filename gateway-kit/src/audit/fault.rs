//! What a verification finds.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::chain::LINE_BYTES;

/// What a whole trail consists of.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Records.
    pub records: u64,
    /// Times that the chain begins, with nothing to vouch for what stands before.
    pub beginnings: u64,
    /// Lines that were not written to their end.
    pub torn: u64,
    /// Lines that do not begin with `{`: somebody else's.
    pub others: u64,
}

/// Why a trail is not known to be whole.
#[derive(Debug)]
pub enum VerifyError {
    /// It is not whole.
    Broken(Break),
    /// A file cannot be read.
    Read {
        /// Its name.
        file: Arc<str>,
        /// Why.
        error: io::Error,
    },
    /// The report cannot be written.
    Report(io::Error),
}

/// The first fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The file's name.
    pub file: Arc<str>,
    /// The line that is to be suspected, from 1.
    pub line: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong at a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The line is not what was written.
    Changed,
    /// The line, or `prev` of the last record, is not what was written.
    ChangedOrLast,
    /// So many records are missing before the line.
    Missing(u64),
    /// The line belongs elsewhere, or stands there too.
    OutOfOrder,
    /// The record follows one of a file that was given later.
    WrongOrder,
    /// The line is no record, and what follows does not follow it.
    NoRecord,
    /// The line is longer than any record.
    TooLong,
    /// The line says that nothing precedes it, and is no `chain-begins` record.
    FalseBeginning,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            beginnings,
            torn,
            others,
        } = self;
        write!(
            f,
            "{records} records; the chain begins: {beginnings}, torn lines: {torn}, \
             other lines: {others}"
        )
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(fault) => write!(f, "{fault}"),
            Self::Read { file, error } => write!(f, "{file}: cannot be read: {error}"),
            Self::Report(error) => write!(f, "the report cannot be written: {error}"),
        }
    }
}

impl std::error::Error for VerifyError {}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        match self.fault {
            Fault::Changed => write!(f, "the record was changed"),
            Fault::ChangedOrLast => write!(f, "the record, or prev of the last one, was changed"),
            Fault::Missing(1) => write!(f, "1 record before this one was removed or moved"),
            Fault::Missing(count) => {
                write!(f, "{count} records before this one were removed or moved")
            }
            Fault::OutOfOrder => write!(f, "the record was moved or repeated"),
            Fault::WrongOrder => write!(
                f,
                "the chain does not go from file to file: wrong order? give the oldest file first"
            ),
            Fault::NoRecord => write!(f, "the line is no record, or none any more"),
            Fault::TooLong => write!(f, "the line is longer than any record ({LINE_BYTES} bytes)"),
            Fault::FalseBeginning => {
                write!(
                    f,
                    "the record has no predecessor, and is no whole chain-begins"
                )
            }
        }
    }
}
