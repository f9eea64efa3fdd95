//! The black-box tests, one file per theme, in one program: linking a dozen of them would take longer than running them.
//! `cargo xtask test --no-lint -- deadline` runs one theme. (`cargo test -p` would build the engine anew: other features.)

mod chaos;
mod cli;
mod code;
mod conformance;
mod crash;
mod deadline;
mod deploy;
mod events;
mod failures;
mod hostile;
mod invoke;
mod isolation;
mod javascript;
mod logs;
mod metrics;
mod openapi;
mod outbound;
mod pool;
mod preview;
mod queues;
mod rabbitmq;
mod recover;
mod refuse;
mod reuse;
mod schedules;
mod shutdown;
mod snapshot;
mod storage;
mod tidy;
mod usage;
mod webhooks;
