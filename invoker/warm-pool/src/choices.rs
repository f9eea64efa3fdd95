//! Which instance a policy lets go, in small stories.

use std::time::Duration;

use crate::{Bounds, Policy, Taken, Wanted, WarmPool};

const MIB: u64 = 1 << 20;

type Pool = WarmPool<&'static str, (), &'static str>;

fn pool(policy: Policy, memory_mib: u64) -> Pool {
    let bounds = Bounds {
        memory_bytes: memory_mib * MIB,
        idle_instances_max: 100,
        remembered_max: 100,
    };
    WarmPool::new(policy, bounds)
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A call of no length; whether it was warm, and what was given up for it.
fn call(pool: &mut Pool, name: &'static str, mib: u64, cost_us: u64, now: Duration) -> (bool, Vec<&'static str>) {
    let mut given_up = Vec::new();
    let (seat, warm) = match pool.take(&name, 10, Wanted::Shared(None), now, &mut given_up) {
        Taken::Warm(seat, _) => (seat, true),
        Taken::Cold(mut seat) => {
            pool.measured(&mut seat, mib * MIB, cost_us, now, &mut given_up);
            (seat, false)
        }
        other => panic!("{name}: {other:?}"),
    };
    pool.put(seat, name, mib * MIB, now, &mut given_up);
    (warm, given_up)
}

#[test]
fn a_fixed_time_is_a_fixed_time() {
    let mut pool = pool(Policy::FixedTime(at(600)), 100);
    call(&mut pool, "a", 1, 1, at(0));
    let mut given_up = Vec::new();
    pool.expire(at(599), &mut given_up);
    assert!(given_up.is_empty());
    pool.expire(at(600), &mut given_up);
    assert_eq!(given_up, ["a"]);
}

#[test]
fn a_caller_every_quarter_of_an_hour_is_waited_for_once_that_is_known() {
    let mut pool = pool(Policy::Histogram(at(600)), 100);
    let mut warm = Vec::new();
    for second in 0..900 * 20 {
        pool.expire(at(second), &mut Vec::new());
        if second % 900 == 0 {
            warm.push(call(&mut pool, "a", 1, 1, at(second)).0);
        }
    }
    assert!(
        warm[..8].iter().all(|warm| !warm),
        "ten minutes are too short: {warm:?}"
    );
    assert!(warm[10..].iter().all(|warm| *warm), "it has learned nothing: {warm:?}");
}

#[test]
fn what_is_dear_to_make_and_small_stays() {
    for policy in [Policy::GreedyDual, Policy::Learned] {
        let mut pool = pool(policy, 10);
        call(&mut pool, "small and dear", 1, 1_000, at(0));
        call(&mut pool, "large", 5, 1_000, at(1));
        call(&mut pool, "cheap", 1, 10, at(2));
        let (_, given_up) = call(&mut pool, "new", 5, 1_000, at(3));
        assert!(!given_up.contains(&"small and dear"), "{policy:?}: {given_up:?}");
        assert!(call(&mut pool, "small and dear", 1, 1_000, at(4)).0, "{policy:?}");
    }
}

#[test]
fn what_was_used_least_recently_goes_where_nothing_else_counts() {
    let mut pool = pool(Policy::LeastRecentlyUsed, 10);
    for (second, name) in [(0, "a"), (1, "b"), (2, "a")] {
        call(&mut pool, name, 5, 1, at(second));
    }
    assert_eq!(call(&mut pool, "c", 5, 1, at(3)).1, ["b"]);
}

#[test]
fn what_is_called_often_stays() {
    let mut pool = pool(Policy::Learned, 10);
    for second in 0..100 {
        call(&mut pool, "often", 5, 1, at(second * 10));
    }
    call(&mut pool, "once", 5, 1, at(996));
    // Used more recently, and yet less likely to be used soon.
    assert_eq!(call(&mut pool, "new", 5, 1, at(999)).1, ["once"]);
}

#[test]
fn what_an_owner_wants_kept_goes_last() {
    let mut pool = pool(Policy::Learned, 10);
    pool.keep_warm(&"kept", 1);
    assert_eq!(pool.missing(), ["kept"]);
    let seat = pool.take_missing(&"kept").expect("there is room");
    assert!(pool.take_missing(&"kept").is_none(), "one is being made already");
    pool.put_unused(seat, "kept", at(0), &mut Vec::new());
    assert!(pool.missing().is_empty());
    let mut given_up = Vec::new();
    pool.expire(at(1_000_000), &mut given_up);
    assert!(given_up.is_empty(), "nobody has to call for it");
    for second in 0..20 {
        let name = ["a", "b", "c"][second % 3];
        assert!(
            !call(&mut pool, name, 4, 1, at(1_000_000 + second as u64))
                .1
                .contains(&"kept")
        );
    }
    // Only when it cannot be otherwise.
    assert!(
        call(&mut pool, "as large as all", 10, 1, at(1_000_100))
            .1
            .contains(&"kept")
    );
    assert_eq!(pool.missing(), ["kept"]);
    assert!(
        pool.take_missing(&"kept").is_none(),
        "nothing is given up to make it again"
    );
}

#[test]
fn an_instance_of_other_callers_gives_way_when_there_may_be_no_more() {
    let mut pool: WarmPool<&str, u8, u8> = WarmPool::new(
        Policy::Learned,
        Bounds {
            memory_bytes: 100 * MIB,
            idle_instances_max: 10,
            remembered_max: 10,
        },
    );
    let mut given_up = Vec::new();
    let Taken::Cold(seat) = pool.take(&"f", 1, Wanted::Shared(Some(1)), at(0), &mut given_up) else {
        panic!("nothing is there yet");
    };
    let other = pool.take(&"f", 1, Wanted::Shared(Some(2)), at(0), &mut given_up);
    assert!(matches!(other, Taken::Full), "{other:?}");
    pool.put(seat, 1, MIB, at(1), &mut given_up);
    let other = pool.take(&"f", 1, Wanted::Shared(Some(2)), at(2), &mut given_up);
    assert!(matches!(other, Taken::Cold(_)), "{other:?}");
    assert_eq!(given_up, [1]);
}
