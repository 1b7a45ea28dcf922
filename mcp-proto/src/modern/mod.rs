//! Requests of the revision without sessions, as they come from clients: what each says of itself,
//! and whether its head and its body say the same.
//!
//! A head is gone before the body is there, so what it mirrors is kept ([`RequestMetadata`]). Once
//! the body has been scanned, [`is_modern`] tells its era, and [`judge`] refuses what the revision
//! forbids and gives what routing goes by ([`ModernCall`]). What a tool's parameters mirror is judged
//! by [`ToolHeaders`], which the child's own list of tools is read into. [`SealKeys`] make of a child's
//! `requestState` one that only the same caller can bring back, and only for the same call.

mod call;
mod capabilities;
mod metadata;
mod seal;
mod tools;

#[cfg(test)]
mod tests;

pub(crate) use self::call::{CallKind, Level, ModernCall, ModernRefusal, is_modern, judge};
pub(crate) use self::capabilities::ClientCapabilities;
pub(crate) use self::metadata::RequestMetadata;
pub(crate) use self::seal::{CallDigest, Origin, PrincipalDigest, SealKeys, Sealed};
pub(crate) use self::tools::ToolHeaders;
