//! The names that machines and drivers use for one another.

use std::fmt;

/// One HTTP request, as the driver names it. Never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExchangeId(pub u64);

/// One child process, as the [`Gateway`](crate::Gateway) names it. Never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UpstreamId(pub(crate) u64);

impl UpstreamId {
    /// The number, for logs and for marking the child's process.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// An `Mcp-Session-Id`: 128 bits from a CSPRNG, written as 32 lower-case hex digits (MCP
/// 2025-11-25, transports, "Session Management": visible ASCII, cryptographically secure).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// The id made of these random bytes.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads a header's value; `None` for whatever [`SessionId::to_text`] would not write.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The header's value.
    pub fn to_text(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

/// A session id is a credential: its debug form shows none of it.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_reads_what_it_writes_and_nothing_else() {
        let id = SessionId::from_bytes(*b"\x00\x01\x7f\x80\xff56789abcdef");
        assert_eq!(SessionId::parse(&id.to_text()), Some(id));
        assert!(id.to_text().iter().all(|byte| (0x21..=0x7e).contains(byte)));
        for wrong in [
            &b""[..],
            b"0001",
            b"00017F80ff35363738396162636465aa",
            b"0001gf80ff35363738396162636465aa",
        ] {
            assert_eq!(SessionId::parse(wrong), None);
        }
        assert!(!format!("{id:?}").contains("7f80"));
    }
}
