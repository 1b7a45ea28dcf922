//! What the machines decide, told as scenarios: clients and children are played line by line.

mod admission;
mod authentication;
mod calls;
mod children;
mod eras;
mod routing;
mod sessions;
mod streams;
