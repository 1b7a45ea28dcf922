//! Whether a trail is whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::chain::{Chain, LINE_BYTES, Place, TORN};
use super::fault::{Break, Fault, Summary, VerifyError};
use crate::logging::escape;

/// Reads the files in this order, the oldest first, as one trail; see [`verify`].
///
/// # Errors
///
/// If the trail is not whole, a file cannot be read, or `report` cannot be written.
pub fn verify_files<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
    report: impl Write,
) -> Result<Summary, VerifyError> {
    let mut verification = Verification::new(report);
    for path in paths {
        let path = path.as_ref();
        let name: Arc<str> = escape(path.as_os_str().as_encoded_bytes(), LINE_BYTES).into();
        let file = File::open(path).map_err(|error| VerifyError::Read {
            file: Arc::clone(&name),
            error,
        })?;
        verification.read(&name, BufReader::new(file))?;
    }
    verification.finish()
}

/// Reads a trail and stops at its first fault. In `report` it notes, a line each, what is no fault
/// and still worth knowing: where the chain begins or what digest it continues from, which lines
/// are torn, and the digest that it ends with. `name` is what `input` is called there.
///
/// However long `input` is, no more than a line of it is held.
///
/// # Errors
///
/// If the trail is not whole, `input` cannot be read, or `report` cannot be written.
pub fn verify(name: &str, input: impl BufRead, report: impl Write) -> Result<Summary, VerifyError> {
    let mut verification = Verification::new(report);
    verification.read(&name.into(), input)?;
    verification.finish()
}

/// A line's place: its file and its number.
#[derive(Clone)]
struct Spot {
    file: Arc<str>,
    line: u64,
}

impl Spot {
    fn broken(&self, fault: Fault) -> VerifyError {
        VerifyError::Broken(Break {
            file: Arc::clone(&self.file),
            line: self.line,
            fault,
        })
    }
}

struct Verification<W> {
    report: W,
    summary: Summary,
    /// Up to the line before.
    chain: Chain,
    /// The last record.
    last: Option<Spot>,
    /// The first line since then that begins as a record does and is none.
    torn: Option<Torn>,
    /// The first line since then that is no record.
    stray: Option<Spot>,
    /// The record before the last one: one of the two was changed, and the next one tells which.
    doubt: Option<Spot>,
    /// The first record of all, if it follows one that is not there, and that one's digest.
    continues: Option<(Spot, String)>,
}

struct Torn {
    spot: Spot,
    ended: bool,
}

impl<W: Write> Verification<W> {
    fn new(report: W) -> Self {
        Self {
            report,
            summary: Summary::default(),
            chain: Chain::default(),
            last: None,
            torn: None,
            stray: None,
            doubt: None,
            continues: None,
        }
    }

    fn read(&mut self, name: &Arc<str>, mut input: impl BufRead) -> Result<(), VerifyError> {
        let mut line = Vec::new();
        let mut spot = Spot {
            file: Arc::clone(name),
            line: 0,
        };
        let failed = |error| VerifyError::Read {
            file: Arc::clone(name),
            error,
        };
        loop {
            line.clear();
            let mut bounded = input.by_ref().take(LINE_BYTES as u64 + 1);
            if bounded.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                return self.check_order();
            }
            spot.line += 1;
            let ended = line.pop_if(|byte| *byte == b'\n').is_some();
            if line.first() != Some(&b'{') {
                if !ended {
                    skip_line(&mut input).map_err(failed)?;
                }
                self.other(&spot)?;
            } else if line.len() > LINE_BYTES {
                return Err(spot.broken(Fault::TooLong));
            } else if let Some(place) = Place::read(&line) {
                self.record(&spot, &place)?;
                self.chain.follow(place.seq, &line);
                self.last = Some(spot.clone());
                (self.torn, self.stray) = (None, None);
                self.summary.records += 1;
                if !ended {
                    self.note(&spot, "the last line has no newline")?;
                }
            } else {
                self.torn(&spot, ended, &line)?;
            }
        }
    }

    fn other(&mut self, spot: &Spot) -> Result<(), VerifyError> {
        if self.summary.others == 0 {
            self.note(spot, "the first line that is somebody else's")?;
        }
        self.summary.others += 1;
        self.stray.get_or_insert_with(|| spot.clone());
        Ok(())
    }

    fn torn(&mut self, spot: &Spot, ended: bool, line: &[u8]) -> Result<(), VerifyError> {
        self.note(spot, "the line was not written to its end")?;
        self.summary.torn += 1;
        self.chain.follow_torn(line);
        self.stray.get_or_insert_with(|| spot.clone());
        let spot = spot.clone();
        self.torn.get_or_insert(Torn { spot, ended });
        Ok(())
    }

    /// Checks that the record at `spot` may stand there.
    fn record(&mut self, spot: &Spot, place: &Place) -> Result<(), VerifyError> {
        if place.claims_no_predecessor() {
            return self.beginning(spot, place);
        }
        let Some(last) = &self.last else {
            return self.continuation(spot, place);
        };
        let follows = place.prev == self.chain.prev();
        if let Some(before) = &self.doubt {
            // If this record vouches for the last one, `prev` of that one was right about the record
            // before it.
            let changed = if follows { before } else { last };
            return Err(changed.broken(Fault::Changed));
        }
        let missing = place.seq.checked_sub(self.chain.seq());
        match (follows, missing) {
            (true, Some(0)) => Ok(()),
            (true, _) => Err(spot.broken(Fault::Changed)),
            (false, None) if !Arc::ptr_eq(&last.file, &spot.file) => {
                Err(spot.broken(Fault::WrongOrder))
            }
            (false, None) => Err(spot.broken(Fault::OutOfOrder)),
            (false, Some(0)) => match &self.torn {
                Some(torn) => Err(torn.spot.broken(Fault::NoRecord)),
                None => {
                    self.doubt = Some(last.clone());
                    Ok(())
                }
            },
            (false, Some(missing)) => Err(match &self.stray {
                Some(stray) => stray.broken(Fault::NoRecord),
                None => spot.broken(Fault::Missing(missing)),
            }),
        }
    }

    fn beginning(&mut self, spot: &Spot, place: &Place) -> Result<(), VerifyError> {
        if !place.begins() {
            return Err(spot.broken(Fault::FalseBeginning));
        }
        // A torn line in a chain has its successor in that chain.
        if self.last.is_some() {
            self.check_end()?;
        }
        self.summary.beginnings += 1;
        if self.last.is_some() {
            self.note(
                spot,
                "the chain begins anew: a restart, or the end before it was cut off",
            )
        } else {
            self.note(spot, "the chain begins")
        }
    }

    fn continuation(&mut self, spot: &Spot, place: &Place) -> Result<(), VerifyError> {
        match &self.torn {
            // It belongs to the chain of the file before.
            Some(torn) if place.event != TORN => Err(torn.spot.broken(Fault::NoRecord)),
            _ => {
                let (seq, prev) = (place.seq, &place.prev);
                let what = format!("the chain continues, with seq {seq}, from digest {prev}");
                self.continues = Some((spot.clone(), place.prev.clone()));
                self.note(spot, &what)
            }
        }
    }

    /// Checks, at a file's end, that this is not where an earlier file goes on from.
    fn check_order(&self) -> Result<(), VerifyError> {
        match &self.continues {
            Some((spot, prev)) if *prev == self.chain.prev() => Err(spot.broken(Fault::WrongOrder)),
            _ => Ok(()),
        }
    }

    /// Checks that nothing waits for a record that does not come.
    fn check_end(&self) -> Result<(), VerifyError> {
        match (&self.doubt, &self.torn) {
            (Some(before), _) => Err(before.broken(Fault::ChangedOrLast)),
            (None, Some(torn)) if torn.ended => Err(torn.spot.broken(Fault::NoRecord)),
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Summary, VerifyError> {
        self.check_end()?;
        let told = writeln!(self.report, "whole: {}", self.summary);
        let told = told.and_then(|()| match self.last {
            Some(_) => {
                let (seq, prev) = (self.chain.seq() - 1, self.chain.prev());
                writeln!(self.report, "the chain ends with seq {seq}, digest {prev}")
            }
            None => Ok(()),
        });
        told.map_err(VerifyError::Report)?;
        Ok(self.summary)
    }

    fn note(&mut self, spot: &Spot, what: &str) -> Result<(), VerifyError> {
        writeln!(self.report, "{}:{}: {what}", spot.file, spot.line).map_err(VerifyError::Report)
    }
}

/// Passes over the rest of a line, whatever its length.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let passed = end.map_or(buffer.len(), |end| end + 1);
        input.consume(passed);
        if end.is_some() || passed == 0 {
            return Ok(());
        }
    }
}
