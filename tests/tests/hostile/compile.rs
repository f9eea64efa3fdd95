//! G8, G9, G10: files that are made to cost the one who reads them.

use std::fs;
use std::time::Instant;

use mayfly_tests::Done;

use super::arena::{Arena, billed_ms, long_form};
use super::memory::refusal;
use super::modules::{Module, number};

const END: u8 = 0x0b;
const MIB: u64 = 1 << 20;
/// Wall time of one compilation, and the upload before it, in seconds.
const COMPILE_SECONDS_MAX: u64 = 125;
/// What the server itself may need meanwhile, in bytes: the file, on its way in and out.
const SERVER_BYTES_MAX: u64 = 96 * MIB;
const NESTING: usize = 20_000;
/// The sample that needs more memory than a compiler may have.
const BEYOND_LIMITS: &str = "loops with a thousand parameters each";

/// G8. Modules that cost a compiler far more than it cost to make them. The server's own limits are 90 s of processor
/// time and 4 GiB; of the samples of the short form one needs more than that, and the others end before, whichever way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compile_bombs() {
    let arena = Arena::open().await;
    let scale = if long_form() { 1 } else { 10 };
    let samples = [
        ("one large function", large_function(7_600_000 / scale)),
        ("very many locals", many_locals(50_000 / scale)),
        ("a large br_table", large_br_table(1_000_000 / scale)),
        ("very many functions", many_functions(1_000_000 / scale)),
        ("blocks nested 100,000 deep", nested_blocks(100_000)),
        (BEYOND_LIMITS, wide_loops(500)),
    ];
    let figures = arena
        .endures("G8", async || {
            let mut figures = Vec::new();
            for (what, sample) in &samples {
                let began = Instant::now();
                let (done, grown) = arena.growth_during(arena.deploy_bytes("bomb", sample, &[])).await;
                let took = began.elapsed();
                if *what == BEYOND_LIMITS {
                    done.failed(1, "compile_limit");
                }
                assert!(took.as_secs() <= COMPILE_SECONDS_MAX, "{what}: {took:?}");
                assert!(grown <= SERVER_BYTES_MAX, "{what}: {grown} bytes more");
                let left = children_of(arena.platform.process_id());
                assert_eq!(left, 0, "{what}: a compiler is left behind");
                let values = format!(
                    "{} after {:.1} s; the server grew by {} MiB",
                    ended(&done),
                    took.as_secs_f64(),
                    grown / MIB
                );
                figures.push((format!("{what}, {} KiB", sample.len() >> 10), values));
            }
            Ok(figures)
        })
        .await;
    Arena::report_all("G8", &figures, "125 s; no process left");
}

fn ended(done: &Done) -> String {
    match done.code {
        0 => "compiled".to_owned(),
        _ => refusal(&done.stderr),
    }
}

/// G9. Types within types: what reads them must not use up its stack, nor its memory. Apart from their types the files
/// could be deployed; components within components have no limit of their own, and then the file must do what it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_types() {
    let arena = Arena::open().await;
    let samples = [
        ("lists of lists", nested_lists(NESTING), Some("invalid_wasm")),
        ("tuples that double", doubling_tuples(40), Some("invalid_wasm")),
        ("components within components", nested_components(5_000), None),
    ];
    let figures = arena
        .endures("G9", async || {
            let mut figures = Vec::new();
            for (what, sample, refused) in &samples {
                let began = Instant::now();
                let (done, grown) = arena.growth_during(arena.deploy_bytes("nested", sample, &[])).await;
                let took = began.elapsed();
                let ended = match refused {
                    Some(code) => {
                        done.failed(1, code);
                        refusal(&done.stderr)
                    }
                    None => {
                        done.ok();
                        let status = arena.platform.get("/nested").await.status;
                        assert_eq!(status, 200, "{what}");
                        format!("deployed, and answers {status}")
                    }
                };
                assert!(grown <= SERVER_BYTES_MAX, "{what}: {grown} bytes more");
                assert!(took.as_secs() < 10, "{what}: {took:?}");
                figures.push(((*what).to_owned(), format!("{ended}, after {} ms", took.as_millis())));
            }
            Ok(figures)
        })
        .await;
    Arena::report_all("G9", &figures, "refused at deploy, or does what it does; 10 s");
}

/// G10. Modules that ask for too much before their first instruction, and one that never gets to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costly_starts() {
    let arena = Arena::open().await;
    let module = |memory_pages, data_segments| Module {
        memory_pages,
        block_width: 0,
        bodies: vec![vec![0]],
        data_segments,
    };
    let greedy = arena.deploy_bytes("greedy", &module(65_536, 0).bytes(), &[]).await;
    assert_eq!(greedy.code, 1, "{greedy:?}");
    Arena::report(
        "G10",
        "a memory of at least 4 GiB",
        &refusal(&greedy.stderr),
        "refused at deploy",
    );

    // Within what can be had, and more than this function has.
    arena
        .deploy_bytes("large", &module(4_096, 0).bytes(), &["--memory", "64"])
        .await
        .ok();
    let (answer, grown) = arena.growth_during(arena.platform.get("/large")).await;
    answer.is_problem(500, "memory_exceeded");
    assert!(grown < 16 * MIB, "{grown} bytes more");
    Arena::report(
        "G10",
        "a memory of at least 256 MiB, limit 64 MiB",
        "memory_exceeded",
        "not instantiated",
    );

    let began = Instant::now();
    let segments = arena.deploy_bytes("segments", &module(1, 100_000).bytes(), &[]).await;
    let deployed = began.elapsed();
    let outcome = match segments.code {
        0 => format!("deployed, and answers {}", arena.platform.get("/segments").await.status),
        _ => refusal(&segments.stderr),
    };
    Arena::report(
        "G10",
        "100,000 data segments",
        &format!("{outcome}, after {} ms", deployed.as_millis()),
        "10 s",
    );
    assert!(deployed.as_secs() < 10, "{deployed:?}");

    // A command, and a function that is made ready before it is called.
    for name in ["start-forever", "start-forever-http"] {
        endless_start(&arena, name).await;
    }
}

async fn endless_start(arena: &Arena, name: &str) {
    arena.deploy_wat(name, &["--timeout", "1s"]).await.ok();
    let path = format!("/{name}");
    let billed = arena
        .endures("G10", async || {
            let calls = (0..10).map(|_| arena.platform.get(&path));
            for answer in futures_util::future::join_all(calls).await {
                answer.is_problem(504, "deadline_exceeded");
            }
            let records = arena.records(name, 10).await;
            let billed = records.iter().map(billed_ms).max().expect("ten records");
            assert!(billed >= 1_000, "{name}: {records:?}");
            (billed <= 1_050)
                .then_some(billed)
                .ok_or(format!("{name}: billed {billed} ms"))
        })
        .await;
    Arena::report(
        "G10",
        &format!("{name}: a start function that never ends, 10 at once, time limit 1 s"),
        &format!("504, billed {billed} ms at most"),
        "504; 1,000 to 1,050 ms",
    );
}

/// A chain of additions that is as long as it takes.
fn large_function(bytes: usize) -> Vec<u8> {
    let mut body = vec![1, 1, 0x7f];
    // local.get 0, i32.const 1, i32.add, local.set 0
    while body.len() < bytes {
        body.extend_from_slice(&[0x20, 0, 0x41, 1, 0x6a, 0x21, 0]);
    }
    command(vec![body])
}

/// Locals that depend on each other, in a loop, so that none can be forgotten.
fn many_locals(count: usize) -> Vec<u8> {
    let mut body = [&[1][..], &number(count), &[0x7f, 0x03, 0x40]].concat();
    for local in 0..count {
        body.push(0x20);
        body.extend(number(local));
        body.push(0x21);
        body.extend(number((local + 1) % count));
    }
    // br_if 0 on the first of them, end of the loop
    body.extend_from_slice(&[0x20, 0, 0x0d, 0, END]);
    command(vec![body])
}

fn large_br_table(targets: usize) -> Vec<u8> {
    const BLOCKS: usize = 100;
    let mut body = vec![0];
    body.extend([0x02, 0x40].repeat(BLOCKS));
    body.extend_from_slice(&[0x41, 7, 0x0e]);
    body.extend(number(targets));
    for target in 0..=targets {
        body.extend(number(target % BLOCKS));
    }
    body.extend([END].repeat(BLOCKS));
    command(vec![body])
}

fn many_functions(count: usize) -> Vec<u8> {
    command(vec![vec![0]; count])
}

fn nested_blocks(depth: usize) -> Vec<u8> {
    let mut body = vec![0];
    body.extend([0x02, 0x40].repeat(depth));
    body.extend([END].repeat(depth));
    command(vec![body])
}

/// Loops within loops, each with a thousand numbers that go in and come out: of a few KiB become several GiB.
fn wide_loops(depth: usize) -> Vec<u8> {
    const WIDTH: usize = 1_000;
    let mut body = vec![0];
    body.extend([0x41, 7].repeat(WIDTH));
    body.extend([0x03, 1].repeat(depth));
    body.extend([END].repeat(depth));
    body.extend([0x1a].repeat(WIDTH));
    let module = Module {
        memory_pages: 1,
        block_width: WIDTH,
        bodies: vec![body],
        data_segments: 0,
    };
    module.bytes()
}

fn command(bodies: Vec<Vec<u8>>) -> Vec<u8> {
    let module = Module {
        memory_pages: 1,
        block_width: 0,
        bodies,
        data_segments: 0,
    };
    module.bytes()
}

fn nested_lists(depth: usize) -> Vec<u8> {
    let types = (1..depth)
        .map(|n| format!("(type $t{n} (list $t{}))", n - 1))
        .collect::<String>();
    component_text(&format!("(type $t0 (list u8)) {types}"))
}

/// Each has two of the one before it: 2^40 of the first.
fn doubling_tuples(depth: usize) -> Vec<u8> {
    let types = (1..depth)
        .map(|n| format!("(type $t{n} (tuple $t{0} $t{0}))", n - 1))
        .collect::<String>();
    component_text(&format!("(type $t0 (tuple u64 u64)) {types}"))
}

/// A command that could be deployed, were it not for its types.
fn component_text(types: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {types}
            (core module $main (func (export "run") (result i32) (i32.const 0)))
            (core instance $main (instantiate $main))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $exported)))"#
    );
    wat::parse_str(text).expect("valid text")
}

/// In binary form: the text's own reader has a limit for this.
fn nested_components(depth: usize) -> Vec<u8> {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    let mut component = HEADER.to_vec();
    for _ in 1..depth {
        component = [HEADER, &[4], &number(component.len()), &component].concat();
    }
    let outermost = component_text("");
    let rest = outermost.strip_prefix(HEADER).expect("a component begins like this");
    [HEADER, &[4], &number(component.len()), &component, rest].concat()
}

/// Child processes, also those that have ended and were not waited for.
fn children_of(process: u32) -> usize {
    let mut children = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))
        .expect("a process that runs has this folder")
        .flatten()
    {
        let of_task = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children += of_task.split_whitespace().count();
    }
    children
}
