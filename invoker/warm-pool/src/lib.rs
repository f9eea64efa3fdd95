//! Which instances stay warm, and which one goes when there is no more room.
//!
//! A pure state machine: no lock, no clock, no randomness, no engine. The invoker wraps it in a mutex and gives it real
//! instances; `cargo xtask simulate` gives it nothing but names and drives it over recorded traffic. So what is measured
//! there is what runs here.
//!
//! [`WarmPool`] holds the rules that are the same for all: nobody gets an instance twice, the memory of all instances
//! stays in one budget, `max_instances` and `min_warm` of a version. [`Policy`] holds the two that can be chosen: how long an
//! idle instance is kept, and which one is given up first.

mod config;
mod history;
mod policy;
mod pool;
mod shelf;

#[cfg(test)]
mod choices;
#[cfg(test)]
mod properties;

pub use config::Bounds;
pub use policy::Policy;
pub use pool::{Seat, Taken, Wanted, WarmPool};
pub use shelf::Counts;
