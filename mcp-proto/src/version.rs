//! The protocol revisions and the rules that differ between them.

/// The revision without sessions that is served.
pub const MODERN: &str = "2026-07-28";

/// The two kinds of revision (2026-07-28, versioning, "Terminology").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Era {
    /// Sessions that `initialize` opens: 2025-11-25 and before.
    Legacy,
    /// Version, identity and capabilities in the `_meta` of each request: from 2026-07-28 on.
    Modern,
}

/// A protocol revision with sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// 2024-11-05: spoken by old children only; its own HTTP transport is not served.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, batches.
    V2025_03_26,
    /// 2025-06-18: the `MCP-Protocol-Version` header; no more batches.
    V2025_06_18,
    /// 2025-11-25: priming events, polling, tasks.
    V2025_11_25,
}

impl Version {
    /// Every revision, oldest first.
    pub const ALL: [Self; 4] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
    ];

    /// The newest revision with sessions.
    pub const LATEST: Self = Self::V2025_11_25;

    /// The revision as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// Reads an `MCP-Protocol-Version` header or a `protocolVersion` member.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str().as_bytes() == text)
    }

    /// Whether a POST may hold a batch: 2025-03-26 requires it, the others have none.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// Whether an event stream begins with an event id and empty data, so that the client can
    /// resume it before anything was sent (2025-11-25, transports). Older clients may take the
    /// empty data for a message.
    pub fn has_priming_events(self) -> bool {
        self >= Self::V2025_11_25
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revision_reads_back() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str().as_bytes()), Some(version));
        }
        assert_eq!(Version::parse(MODERN.as_bytes()), None);
        assert_eq!(Version::parse(b"2025-11-25 "), None);
    }
}
