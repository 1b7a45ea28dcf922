//! The tokens of JSON: RFC 8259's grammar, but for what nests.

use super::text;
use super::{ScanReason, Span};

/// Why the pass ends early: [`ScanReason::NotJson`] or [`ScanReason::TooDeep`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop(pub(super) ScanReason);

pub(super) const NOT_JSON: Stop = Stop(ScanReason::NotJson);

impl From<Stop> for ScanReason {
    fn from(stop: Stop) -> Self {
        stop.0
    }
}

/// A place in a document that is UTF-8.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    /// The bytes of `text`.
    pub(super) bytes: &'a [u8],
    /// The index of the next byte.
    pub(super) at: usize,
    /// Whether CR or LF were skipped since this was last reset.
    pub(super) line_breaks: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            line_breaks: false,
        }
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        self.skip_space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(NOT_JSON)
        }
    }

    /// Reads the rest of a string, and says whether it has escapes (RFC 8259, section 7).
    pub(super) fn string(&mut self) -> Result<bool, Stop> {
        let mut escaped = false;
        loop {
            self.at = text::plain_end(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => escaped = true,
                _ => return Err(NOT_JSON),
            }
            self.at += match self.bytes.get(self.at + 1..) {
                Some([b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..]) => 2,
                Some([b'u', rest @ ..])
                    if rest.len() >= 4 && rest[..4].iter().all(u8::is_ascii_hexdigit) =>
                {
                    6
                }
                _ => return Err(NOT_JSON),
            };
        }
    }

    /// Reads a number (RFC 8259, section 6).
    pub(super) fn number(&mut self) -> Result<(), Stop> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Stop> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(NOT_JSON)
        } else {
            Ok(())
        }
    }

    pub(super) fn literal(&mut self, literal: &str) -> Result<(), Stop> {
        if !self.bytes[self.at..].starts_with(literal.as_bytes()) {
            return Err(NOT_JSON);
        }
        self.at += literal.len();
        Ok(())
    }

    /// Reads the value that begins here, of a document that is known to be JSON.
    pub(super) fn skip_value(&mut self) -> Result<(), Stop> {
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or(NOT_JSON)? {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                    continue;
                }
                b'}' | b']' => {
                    self.at += 1;
                    depth = depth.checked_sub(1).ok_or(NOT_JSON)?;
                }
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    let rest = &self.bytes[self.at..];
                    let ends = |byte: &u8| b" \t\n\r,]}".contains(byte);
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Skips white space (RFC 8259, section 2).
    pub(super) fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.line_breaks |= byte == b'\n' || byte == b'\r';
            self.at += 1;
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// From `start` to the next byte. [`scan`] has made sure that indices fit.
    pub(super) fn span(&self, start: usize) -> Span {
        Span {
            start: start as u32,
            end: self.at as u32,
        }
    }
}
