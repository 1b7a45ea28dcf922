//! What embedders rely on, whatever the runtime. Each adapter's tests include this, beside a `BINARY`
//! and a `serve` of their own.

pub(crate) mod stubborn;
pub(crate) mod verifier;
