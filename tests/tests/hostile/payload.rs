//! G11: guests that hand the host more than it can hold.

use super::arena::Arena;

/// What the server may need for any of them, beside the guest's own memory, in bytes.
const BESIDE_MEMORY_BYTES_MAX: u64 = 16 << 20;
const MIB: u64 = 1 << 20;

/// G11. Long strings, long lists, requests for much randomness, some of each not far beyond what is allowed. The streams of WASI 0.3 are not offered; the nearest is a
/// write to an output stream that is larger than the stream said it would take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_bombs() {
    let arena = Arena::with_attacker(&["--memory", "512"]).await;
    let bombs: [(&str, &str, u64); 9] = [
        ("a header name of 200 MiB", "what=string&count=209715200", 400),
        ("a header name of 12 MiB", "what=string&count=12582912", 24),
        ("a list of 5,000,000 header fields", "what=list&count=5000000", 512),
        ("2^40 random bytes", "what=random&count=1099511627776", 1),
        ("4 GiB of random bytes", "what=random&count=4294967295", 1),
        ("1 MiB of random bytes", "what=random&count=1048576", 2),
        ("2,000 headers appended to one list", "what=appends&count=2000", 1),
        (
            "1,000,000 headers appended to one list",
            "what=appends&count=1000000",
            1,
        ),
        ("a write of 200 MiB", "what=write&count=209715200", 200),
    ];
    let figures = arena
        .endures("G11", async || {
            let mut figures = Vec::new();
            for (what, query, own_mib) in bombs {
                let (answer, grown) = arena
                    .growth_during(arena.platform.get(&format!("/attacker/bomb?{query}")))
                    .await;
                let problem = answer.is_problem(500, "function_trapped");
                let most = own_mib * MIB + BESIDE_MEMORY_BYTES_MAX;
                assert!(grown <= most, "{what}: {} MiB more", grown / MIB);
                let why = problem["detail"].as_str().expect("a sentence");
                let values = format!(
                    "{why}; the server grew by {} MiB, up to {own_mib} of it the guest's",
                    grown / MIB
                );
                figures.push((what.to_owned(), values));
            }
            Ok(figures)
        })
        .await;
    Arena::report_all("G11", &figures, "a trap; 16 MiB beside the guest's memory");
}
