//! The quick bench: warm and fresh calls of hello-http beside `wasmtime serve`, and an endless loop that is cut off.

use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::bench::peers::Peer;
use crate::bench::warm::{self, Subject, Warm};
use crate::bench::{deadline, machine, report};
use crate::paths;
use crate::summary::Summary;

const ROUNDS: u32 = 3;
const SUBJECTS: [Subject; 4] = [
    Subject::Ours(warm::REUSED),
    Subject::Ours(warm::FRESH),
    Subject::Peer(Peer::Wasmtime),
    Subject::Peer(Peer::WasmtimeReusing),
];

pub(super) fn run(summary: &mut Summary) -> Result<()> {
    super::prepare(summary)?;
    let wasmtime = summary.part("wasmtime, the peer", || Peer::Wasmtime.provide())?;
    let mut warm = Warm::new(&SUBJECTS, false);
    summary.part("hello-http, four servers in turn", || warm.run(ROUNDS))?;
    let deadline = summary.part("cutting off an endless loop", deadline::measure)?;
    let result = json!({
        "bench": "hello",
        "machine": machine::machine()?,
        "wasmtime": wasmtime,
        "method": warm.method(ROUNDS),
        "binary_bytes": fs::metadata(paths::binary())?.len(),
        "rows": warm.data(),
        "deadline_overshoot_ms": deadline.data,
    });
    let file = report::folder(false)?.join("hello.json");
    fs::write(&file, format!("{result:#}\n"))?;
    println!("\n{}\nwritten to bench/results/hello.json", warm.table());
    Ok(())
}
