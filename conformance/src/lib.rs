//! Byte scripts: what a client sends, in which pieces and when, and what must come back.
//!
//! The scripts stand in `scripts/`, their format in `scripts/README.md`. [`suite`] runs all of them
//! against each of the binaries that [`gateway::locate`] finds, whose answers must be equal.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`script`] | reads a script |
//! | [`text`] | escapes, variables and globs |
//! | [`json`] | whether one JSON value holds another |
//! | [`wire`] | a connection: what was received, as responses and events |
//! | [`tls`] | a certificate for a gateway, and whoever believes it |
//! | [`gateway`] | a gateway process and what it logs |
//! | [`request_ids`] | ids of requests, of which those that were made up are not compared |
//! | [`play`] | plays one script against one gateway |
//! | [`transcript`] | what a gateway answered, to be compared with what another did |
//! | [`suite`] | plays all scripts, those with equal options against one gateway |

pub mod gateway;
pub mod json;
pub mod play;
pub mod request_ids;
pub mod script;
pub mod suite;
pub mod text;
pub mod tls;
pub mod transcript;
pub mod wire;
