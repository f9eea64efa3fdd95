//! Attacks, each with a bystander who must not notice: see docs/hostile.md for the list, the defences and the figures.
//!
//! `cargo xtask test --no-lint -- hostile::` runs them. One after the other: they measure, so each wants the machine for
//! itself. `HOSTILE_LONG=1` makes the repeated ones ten times longer and adds those that take minutes; `SOAK_SECONDS`
//! stretches the soak. Each prints one line of figures, shown with `--nocapture`.

mod arena;
mod bystander;
mod cache;
mod compile;
mod compute;
mod isolation;
mod memory;
mod modules;
mod output;
mod payload;
mod raw;
mod residue;
mod reuse;
mod sizes;
mod slow;
mod smuggle;
mod soak;
mod stack;
mod storm;
mod wire;
