//! How records are chained, for whoever writes them and whoever verifies them.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The class of the records that tell of the trail itself.
pub(super) const CLASS: &str = "CHAIN";
/// The event of a record that nothing precedes.
pub(super) const BEGINS: &str = "chain-begins";
/// The event of a record that follows a line which was not written to its end.
pub(super) const TORN: &str = "torn-line";
/// The event of a record that stands for those that could not be written.
pub(super) const LOST: &str = "records-lost";

/// Most bytes of a line that can be a record. What is written is far shorter.
pub(super) const LINE_BYTES: usize = 64 * 1024;

/// A chain as far as it goes: what the next record must carry.
///
/// A record's `prev` is the SHA-256 of all that stands between the beginning of the record before
/// and the newline before its own. That is one line, unless torn ones follow it.
#[derive(Clone, Default)]
pub(super) struct Chain(Option<Link>);

#[derive(Clone)]
struct Link {
    /// The last record's.
    seq: u64,
    /// Over the last record, and the torn lines after it.
    text: Sha256,
}

impl Chain {
    /// What `seq` of the next record is.
    pub(super) fn seq(&self) -> u64 {
        self.0.as_ref().map_or(1, |link| link.seq + 1)
    }

    /// What `prev` of the next record is, in 64 lower-case hexadecimal digits.
    pub(super) fn prev(&self) -> String {
        let digest = match &self.0 {
            Some(link) => link.text.clone().finalize().into(),
            None => [0; 32],
        };
        hex(digest)
    }

    /// Goes on past `line`, a record whose `seq` this is.
    pub(super) fn follow(&mut self, seq: u64, line: &[u8]) {
        let text = Sha256::new_with_prefix(line);
        self.0 = Some(Link { seq, text });
    }

    /// Goes on past a line that is no whole record.
    pub(super) fn follow_torn(&mut self, line: &[u8]) {
        if let Some(link) = &mut self.0 {
            link.text.update(b"\n");
            link.text.update(line);
        }
    }
}

fn hex(digest: [u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What a line says of its place in the chain.
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) prev: String,
    pub(super) event: String,
}

impl Place {
    /// Reads a line; `None` if it is no whole record.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let Value::Object(mut fields) = serde_json::from_slice(line).ok()? else {
            return None;
        };
        let mut text = |name| match fields.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (prev, event) = (text("prev")?, text("event")?);
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        // Nothing could follow the last number.
        let seq = fields.get("seq")?.as_u64().filter(|seq| *seq < u64::MAX)?;
        (prev.len() == 64 && prev.bytes().all(digit)).then_some(Self { seq, prev, event })
    }

    /// Whether the record says that nothing precedes it.
    pub(super) fn claims_no_predecessor(&self) -> bool {
        self.prev.bytes().all(|digit| digit == b'0')
    }

    /// Whether it may say so.
    pub(super) fn begins(&self) -> bool {
        self.claims_no_predecessor() && self.event == BEGINS && self.seq == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prev_is_the_digest_of_the_line_before() {
        let mut chain = Chain::default();
        assert_eq!((chain.seq(), chain.prev()), (1, "0".repeat(64)));
        chain.follow(1, b"abc");
        // FIPS 180-4's own example.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((chain.seq(), chain.prev().as_str()), (2, abc));
        let mut whole = Chain::default();
        whole.follow(1, b"abc\n{\"ti");
        chain.follow_torn(b"{\"ti");
        assert_eq!(chain.prev(), whole.prev());
    }

    #[test]
    fn only_a_whole_record_has_a_place() {
        let line = format!(r#"{{"event":"x","seq":7,"prev":"{}"}}"#, "0a".repeat(32));
        assert_eq!(Place::read(line.as_bytes()).unwrap().seq, 7);
        for end in 0..line.len() {
            assert!(Place::read(&line.as_bytes()[..end]).is_none());
        }
        for (from, to) in [
            ("7", "-7"),
            ("7", "18446744073709551615"),
            ("0a0a", "0A0a"),
            ("0a0a", "0a0"),
            ("\"x\"", "1"),
        ] {
            let wrong = line.replacen(from, to, 1);
            assert!(Place::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
