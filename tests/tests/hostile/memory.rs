//! G4, G5, G6: guests that take more room than they have, in memory, in tables and in the host.

use super::arena::Arena;

const MIB: u64 = 1 << 20;
/// What the server may need beside the memory of the function, in bytes.
const BESIDE_MEMORY_BYTES_MAX: u64 = 16 * MIB;
const BESIDE_TABLES_BYTES_MAX: u64 = 8 * MIB;
/// The memory of the functions here.
const MEMORY_MIB: u64 = 128;

/// G4. Memory until there is no more, in one memory and in four that share one limit. A component with a hundred
/// memories is not taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_bombs() {
    let arena = Arena::open().await;
    let names = ["grow-forever", "grow-four"];
    for name in names {
        arena
            .deploy_wat(name, &["--memory", &MEMORY_MIB.to_string()])
            .await
            .ok();
    }
    let figures = arena
        .endures("G4", async || {
            let mut figures = Vec::new();
            for name in names {
                let (answer, grown) = arena.growth_during(arena.platform.get(&format!("/{name}"))).await;
                answer.is_problem(500, "memory_exceeded");
                let most = MEMORY_MIB * MIB + BESIDE_MEMORY_BYTES_MAX;
                assert!(grown <= most, "{name}: {grown} bytes more");
                let peak = &arena.records(name, 1).await[0]["usage"]["memory_peak_bytes"];
                assert!(peak.as_u64().is_some_and(|peak| peak <= MEMORY_MIB * MIB), "{peak}");
                let tried = format!("{name}: all memory there is, limit {MEMORY_MIB} MiB");
                figures.push((
                    tried,
                    format!("memory_exceeded; the server grew by {} MiB", grown / MIB),
                ));
            }
            Ok(figures)
        })
        .await;
    Arena::report_all("G4", &figures, "memory_exceeded; 144 MiB");
    let hundred = component_with_memories(100);
    let (refused, grown) = arena.growth_during(arena.deploy_bytes("hundred", &hundred, &[])).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(grown < BESIDE_MEMORY_BYTES_MAX, "{grown} bytes more");
    Arena::report(
        "G4",
        "100 instances with a memory each",
        &refusal(&refused.stderr),
        "refused at deploy",
    );
    arena.is_alive("G4");
}

/// G5. Tables of more elements than there may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_bombs() {
    let arena = Arena::open().await;
    arena.deploy_wat("table-forever", &[]).await.ok();
    let many = component_with_tables();
    arena.deploy_bytes("tables-forever", &many, &[]).await.ok();
    for (name, tried) in [
        (
            "table-forever",
            "10,000,000 elements at once, then as many as there are, in three tables",
        ),
        ("tables-forever", "as many elements as there are, in 64 tables"),
    ] {
        let grown = arena
            .endures("G5", async || {
                let (answer, grown) = arena.growth_during(arena.platform.get(&format!("/{name}"))).await;
                assert_eq!(answer.status, 500, "{name}: {answer:?}");
                Ok(grown)
            })
            .await;
        assert!(grown <= BESIDE_TABLES_BYTES_MAX, "{name}: {grown} bytes more");
        let values = format!("the server grew by {} KiB", grown >> 10);
        Arena::report("G5", tried, &values, "-1, then a trap; 8 MiB");
    }
    for (what, table) in [
        ("a table of 2^63 elements", "(table i64 9223372036854775808 funcref)"),
        ("a table of 10,000,000 elements", "(table 10000000 funcref)"),
        ("100 tables", &"(table 1 funcref)".repeat(100)),
    ] {
        let text = format!("(module (memory (export \"memory\") 1) {table} (func (export \"_start\")))");
        let wasm = wat::parse_str(&text).expect("valid text");
        let (refused, grown) = arena.growth_during(arena.deploy_bytes("tables", &wasm, &[])).await;
        assert_eq!(refused.code, 1, "{what}: {refused:?}");
        assert!(grown <= BESIDE_TABLES_BYTES_MAX, "{what}: {grown} bytes more");
        Arena::report("G5", what, &refusal(&refused.stderr), "refused at deploy");
    }
    arena.is_alive("G5");
}

/// G6. Resources of the host that are never given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_bombs() {
    let arena = Arena::with_attacker(&[]).await;
    // Once, so that code and first allocations are there.
    arena.platform.get("/attacker/bomb?what=pollables&count=100000").await;
    let figures = arena
        .endures("G6", async || {
            let mut figures = Vec::new();
            for what in ["pollables", "streams", "responses", "field-lists"] {
                let path = format!("/attacker/bomb?what={what}&count=100000");
                let (answer, grown) = arena.growth_during(arena.platform.get(&path)).await;
                answer.is_problem(500, "function_trapped");
                assert!(grown <= BESIDE_MEMORY_BYTES_MAX, "{what}: {grown} bytes more");
                let tried = format!("100,000 {what} that are never given back");
                figures.push((tried, format!("a trap; the server grew by {} KiB", grown >> 10)));
            }
            Ok(figures)
        })
        .await;
    Arena::report_all("G6", &figures, "a trap; 16 MiB");
}

/// The code and the first sentence of what a failed command said.
pub(super) fn refusal(stderr: &str) -> String {
    let error = serde_json::from_str::<serde_json::Value>(stderr.trim()).unwrap_or_default();
    let text = |field: &str| {
        let found = error.pointer(&format!("/error/{field}")).or_else(|| error.get(field));
        found
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .chars()
            .take(120)
            .collect::<String>()
    };
    match text("code").as_str() {
        "" => stderr.lines().next().unwrap_or_default().chars().take(120).collect(),
        code => format!("{code}: {}", text("message")),
    }
}

fn component_with_memories(count: usize) -> Vec<u8> {
    let instances = "(core instance (instantiate $memory))".repeat(count);
    let text = format!(
        r#"(component
            (core module $memory (memory 1))
            {instances}
            (core module $main (func (export "run") (result i32) (i32.const 0)))
            (core instance $main (instantiate $main))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $exported)))"#
    );
    wat::parse_str(&text).expect("valid text")
}

/// As many tables as a component may have, each of which takes elements until there are no more: of each there may be
/// more than of all together.
fn component_with_tables() -> Vec<u8> {
    const INSTANCES: usize = 8;
    const TABLES_EACH: usize = 8;
    let tables = "(table 1 funcref)".repeat(TABLES_EACH);
    let grow: String = (0..TABLES_EACH)
        .map(|table| {
            let grown = format!("(table.grow {table} (ref.null func) (i32.const 1000))");
            format!("(loop $more (br_if $more (i32.ne {grown} (i32.const -1))))")
        })
        .collect();
    let numbers = 0..INSTANCES;
    let instances: String = numbers
        .clone()
        .map(|n| format!("(core instance $i{n} (instantiate $hoard))"))
        .collect();
    let imports: String = numbers
        .clone()
        .map(|n| format!(r#"(import "i{n}" "grow" (func $grow{n}))"#))
        .collect();
    let calls: String = numbers.clone().map(|n| format!("(call $grow{n})")).collect();
    let with: String = numbers.map(|n| format!(r#"(with "i{n}" (instance $i{n}))"#)).collect();
    let text = format!(
        r#"(component
            (core module $hoard {tables} (func (export "grow") {grow}))
            {instances}
            (core module $main {imports} (func (export "run") (result i32) {calls} (unreachable)))
            (core instance $main (instantiate $main {with}))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $exported)))"#
    );
    wat::parse_str(&text).expect("valid text")
}
