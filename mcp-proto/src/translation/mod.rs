//! Between the eras: a client of one, a stdio server of the other.
//!
//! The revisions up to 2025-11-25 ("legacy") have a handshake, sessions, and requests from the server
//! to the client; 2026-07-28 ("modern") has none of them: each request says all that is to know of
//! its client, and what a server needs to know it asks for in the result. The machines of this module
//! play a server of one era on top of a peer of the other. They know of no process and no HTTP:
//! messages go in, and messages come out.

mod json;
pub(crate) mod legacy_server;
pub(crate) mod modern_server;

use crate::framing::Frame;

/// What a translating machine wants done.
#[derive(Debug)]
pub(crate) enum TranslationOutput {
    /// Write this line, its LF included, to the child.
    ToChild(Frame),
    /// Take this message as if it were a line of the other era's child, without a line end.
    ToClient(Frame),
}
