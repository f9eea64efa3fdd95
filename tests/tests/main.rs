//! The black-box tests, one file per theme, in one program: linking a dozen of them would take longer than running them.
//! `cargo test --release -p mayfly-tests deadline` runs one theme.

mod cli;
mod crash;
mod deadline;
mod deploy;
mod invoke;
mod javascript;
mod logs;
mod openapi;
mod recover;
mod refuse;
mod reuse;
mod shutdown;
mod tidy;
mod usage;
