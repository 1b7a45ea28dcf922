//! A virtual world for `mcp-proto`: a clock that only moves when told to, connections, pipes and
//! children that exist only here, and a driver that makes every choice from a seed.
//!
//! [`World`] drives the real machines as an adapter does. [`Scene`] is a world whose clients and
//! children a test plays line by line. [`Play`] is a world whose clients and children act by
//! themselves, as a seed says, and in which a reference model watches every byte. [`check`] plays a
//! seed as often as it takes to tell that the ten properties hold; the dice are drawn from the seed's
//! number, or from a fuzzer's bytes.

mod check;
mod outside;
mod play;
mod process;
mod request;
mod rng;
mod scene;
mod world;

pub use check::check;
pub use outside::{answer, jwt};
pub use play::{Outcome, Play, PlayOptions, View};
pub use process::Child;
pub use request::{Event as StreamEvent, Events, Request, Response};
pub use rng::{Rng, Seed, hash};
pub use scene::{Ask, Asked, Scene, Session, policy};
pub use world::{Batches, Cuts, Event, Manner, Measure, Wakes, World};
