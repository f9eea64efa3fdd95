//! Which event is delivered next, and what becomes of one whose attempt has ended.
//!
//! Decisions only: no clock, no store, no task. Time and randomness come as parameters, so that thousands of lives of an
//! event can be played in a test within a second. The controller does what is decided here (`controller/src/events`).

mod lanes;
mod retry;

pub use lanes::{Lanes, Turn};
pub use retry::{Ending, Fault, History, Next, PolicyError, RetryPolicy};

#[cfg(test)]
mod lanes_model;
#[cfg(test)]
mod retry_model;
