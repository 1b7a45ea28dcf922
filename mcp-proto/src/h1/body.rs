//! Where a request's body ends, and what of it is data.
//!
//! ```text
//! Size ──;──> Extension ──┐           ┌───────────────CRLF──────────────┐
//!   └────────CR───────────┴──> SizeLf ┤                                 │
//!                                     ├──size──> Data ──> DataCr ──> DataLf ──> Size
//!                                     └──zero──> Trailer ──CR──> EndLf ──> (end)
//!                                                   └──> TrailerName ──> TrailerValue ──CR──> TrailerLf ──> Trailer
//! ```
//!
//! RFC 9112 section 7.1 is read strictly: every line ends in CRLF, nothing stands around a size, and
//! there are no control characters in extensions and trailers.

use std::ops::Range;

use super::syntax::{is_field_byte, is_token_byte};
use super::{Limits, Violation};

/// Reads a body, whatever pieces it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BodyReader {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks are to come.
    Chunked(Chunks),
}

/// What [`BodyReader::step`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes that were read; none if there are none, or the body has ended.
    pub(super) read: usize,
    /// Where among these the data is.
    pub(super) data: Range<usize>,
}

impl BodyReader {
    /// For a body in chunks.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks {
            state: ChunkState::Size { any: false },
            size: 0,
            line: 0,
            framing: 0,
            trailers: 0,
            total: 0,
        })
    }

    /// Whether nothing of the body is to come.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == ChunkState::Ended,
        }
    }

    /// Reads on, up to the end of the next piece of data.
    pub(super) fn step(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, Violation> {
        match self {
            Self::Length(left) => {
                let read = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= read as u64;
                Ok(Step {
                    read,
                    data: 0..read,
                })
            }
            Self::Chunked(chunks) => chunks.step(bytes, limits),
        }
    }
}

/// Reads chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    state: ChunkState,
    /// The chunk's size, and then what is left of it.
    size: usize,
    /// Bytes of the line that tells the size.
    line: usize,
    /// Bytes of the body that were no data.
    framing: usize,
    /// Trailers that have ended.
    trailers: usize,
    /// Data in all, that of the chunk that has begun included.
    total: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Size { any: bool },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Ended,
}

impl Chunks {
    fn step(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, Violation> {
        let mut read = 0;
        while let Some(&byte) = bytes.get(read) {
            match self.state {
                ChunkState::Data => {
                    let data = read..bytes.len().min(read.saturating_add(self.size));
                    self.size -= data.len();
                    if self.size == 0 {
                        self.state = ChunkState::DataCr;
                    }
                    return Ok(Step {
                        read: data.end,
                        data,
                    });
                }
                ChunkState::Ended => break,
                _ => self.state = self.framing(byte, limits)?,
            }
            read += 1;
        }
        Ok(Step {
            read,
            data: read..read,
        })
    }

    /// Takes a byte that is no data.
    fn framing(&mut self, byte: u8, limits: &Limits) -> Result<ChunkState, Violation> {
        self.framing += 1;
        if self.framing > limits.chunk_framing_bytes {
            return Err(Violation::MalformedBody);
        }
        match self.state {
            ChunkState::Size { .. } | ChunkState::Extension | ChunkState::SizeLf => {
                self.line += 1;
                if self.line > limits.chunk_line_bytes {
                    return Err(Violation::MalformedBody);
                }
            }
            _ => self.line = 0,
        }
        Ok(match (self.state, byte) {
            (ChunkState::Size { .. }, byte) if byte.is_ascii_hexdigit() => {
                self.lengthen(byte, limits)?;
                ChunkState::Size { any: true }
            }
            (ChunkState::Size { any: true }, b';') => ChunkState::Extension,
            (ChunkState::Size { any: true } | ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Extension, byte) if is_field_byte(byte) => ChunkState::Extension,
            (ChunkState::SizeLf, b'\n') if self.size == 0 => ChunkState::Trailer,
            (ChunkState::SizeLf, b'\n') => {
                self.total += self.size;
                ChunkState::Data
            }
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => ChunkState::Size { any: false },
            (ChunkState::Trailer, b'\r') => ChunkState::EndLf,
            (ChunkState::EndLf, b'\n') => ChunkState::Ended,
            (ChunkState::Trailer | ChunkState::TrailerName, byte) if is_token_byte(byte) => {
                ChunkState::TrailerName
            }
            (ChunkState::TrailerName, b':') => ChunkState::TrailerValue,
            (ChunkState::TrailerValue, b'\r') => ChunkState::TrailerLf,
            (ChunkState::TrailerValue, byte) if is_field_byte(byte) => ChunkState::TrailerValue,
            (ChunkState::TrailerLf, b'\n') if self.trailers < limits.head_fields => {
                self.trailers += 1;
                ChunkState::Trailer
            }
            _ => return Err(Violation::MalformedBody),
        })
    }

    /// Takes a digit of a chunk's size. One that goes beyond the limit is refused at once, before
    /// any of its data.
    fn lengthen(&mut self, digit: u8, limits: &Limits) -> Result<(), Violation> {
        let digit = char::from(digit).to_digit(16).unwrap_or_default() as usize;
        let size = self
            .size
            .checked_mul(16)
            .and_then(|size| size.checked_add(digit));
        match size {
            Some(size) if size <= limits.body_bytes.saturating_sub(self.total) => {
                self.size = size;
                Ok(())
            }
            _ => Err(Violation::BodyTooLarge),
        }
    }
}
