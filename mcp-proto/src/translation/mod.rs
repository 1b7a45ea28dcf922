//! Between the revisions with sessions ("legacy", up to 2025-11-25) and 2026-07-28 ("modern").

pub(crate) mod legacy_server;
