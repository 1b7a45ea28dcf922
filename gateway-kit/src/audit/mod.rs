//! The audit trail: who did what, one line of JSON a record, chained by hashes.
//!
//! A line's `prev` is the SHA-256 of the line before, in lower-case hexadecimal digits, and its
//! `seq` is one more. So nobody changes, removes or moves a line without rewriting all that follow
//! it. The chain has no key: whoever can rewrite all that follow can forge it. Only a digest that
//! is kept elsewhere (the one that [`verify`] ends with), or lines that are shipped elsewhere at
//! once, show that.
//!
//! Where nothing precedes, a record `chain-begins` has 64 zeros for its `prev`. A file is continued
//! over restarts and [`AuditWriter::reopen`]; stdout begins anew each time. The chain cannot tell a
//! restart from someone who cut off the end and began anew, nor does anything vouch for the last
//! line.
//!
//! A line that was not written to its end, as when the disk is full, stays as it is and is ended. A
//! record `torn-line` follows, whose `prev` is the digest of both the record before and the torn
//! line, newline between. Records that could not be written are counted, and a record
//! `records-lost` stands for them.
//!
//! ```no_run
//! use gateway_kit::AuditSink;
//! use gateway_kit::audit::AuditLog;
//! use mcp_proto::{AuditEvent, AuditRecord};
//!
//! let mut log = AuditLog::open(&AuditSink::Stdout, |working| {
//!     eprintln!("audit records are kept: {working}");
//! })?;
//! log.begin()?;
//! log.writer().write(AuditRecord::new(AuditEvent::SessionOpened));
//! drop(log);
//! # Ok::<(), std::io::Error>(())
//! ```

mod chain;
mod fault;
mod line;
mod log;
mod sink;
mod trail;
mod verify;

pub use fault::{Break, Fault, Summary, VerifyError};
pub(crate) use line::{LAST_SECOND, bounded, push_json};
pub use log::{AuditLog, AuditWriter};
pub use verify::{verify, verify_files};
