//! G7: guests that use more stack than they have.

use super::arena::Arena;

/// G7. Recursion without an end: in the guest, and in the guest while the host hands something over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stack_overflows() {
    let arena = Arena::open().await;
    for name in ["recurse", "recurse-in-realloc"] {
        arena.deploy_wat(name, &[]).await.ok();
        let details = arena
            .endures("G7", async || {
                let mut details = String::new();
                for _ in 0..20 {
                    let problem = arena
                        .platform
                        .get(&format!("/{name}"))
                        .await
                        .is_problem(500, "function_trapped");
                    details = problem["detail"].as_str().expect("a sentence").to_owned();
                    assert!(details.contains("call stack exhausted"), "{problem}");
                }
                Ok(details)
            })
            .await;
        Arena::report("G7", &format!("{name}, 20 times"), &details, "a trap; the same process");
    }
}
