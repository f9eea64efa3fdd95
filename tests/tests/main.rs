//! The black-box tests, one file per theme, in one program: linking a dozen of them would take longer than running them.
//! `cargo xtask test --no-lint -- deadline` runs one theme. (`cargo test -p` would build the engine anew: other features.)

mod cli;
mod crash;
mod deadline;
mod deploy;
mod invoke;
mod isolation;
mod javascript;
mod logs;
mod openapi;
mod recover;
mod refuse;
mod reuse;
mod shutdown;
mod tidy;
mod usage;
