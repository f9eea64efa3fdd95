//! The pool around the state machine: leases, queues, versions.

use mayfly_invoker_api::{Isolation, Kind, Limits, SnapshotMode};

use super::*;

const SHARED: Want = Wanted::Shared(None);

type TestPool = Arc<Pool<&'static str>>;

fn pool() -> TestPool {
    Arc::new(Pool::new(&Bounds::default()))
}

fn target(change: impl FnOnce(&mut Target)) -> Arc<Target> {
    let mut target = Target {
        namespace: "default".parse().unwrap(),
        function: "greet".parse().unwrap(),
        version: 1,
        artifact: Digest::from_bytes([1; 32]),
        snapshot: SnapshotMode::Auto,
        config: Digest::from_bytes([2; 32]),
        kind: Kind::Http,
        limits: Limits {
            memory_bytes: 1 << 20,
            timeout: Duration::from_secs(3600),
            requests_per_instance_max: 1,
            instances_max: 1_000,
            warm_min: 0,
        },
        isolation: Isolation::Auto,
        env: Vec::new(),
        allow_hosts: Vec::new(),
    };
    change(&mut target);
    Arc::new(target)
}

/// One that has few instances.
fn with_at_most(instances_max: u32) -> Arc<Target> {
    target(|target| target.limits.instances_max = instances_max)
}

/// What a call gets that does not wait.
fn take(pool: &TestPool, target: &Arc<Target>, want: Want) -> Leased<&'static str> {
    match pool.ask(&Version(Arc::clone(target)), want) {
        Asked::Answered(answer) => answer.unwrap(),
        Asked::Queued(_) => panic!("it has to wait"),
    }
}

fn wait(pool: &TestPool, target: &Arc<Target>) -> oneshot::Receiver<Result<Leased<&'static str>, Refused>> {
    match pool.ask(&Version(Arc::clone(target)), SHARED) {
        Asked::Queued(queued) => queued,
        Asked::Answered(answer) => panic!("it does not wait: {:?}", answer.map(|leased| leased.1)),
    }
}

#[test]
fn an_instance_serves_nothing_but_its_own_version() {
    let pool = pool();
    take(&pool, &target(|_| ()), SHARED).0.put("warm", 1);
    let others = [
        target(|other| other.namespace = "tenant-b".parse().unwrap()),
        target(|other| other.function = "greet-b".parse().unwrap()),
        target(|other| other.version = 2),
        target(|other| other.artifact = Digest::from_bytes([3; 32])),
        target(|other| other.config = Digest::from_bytes([4; 32])),
    ];
    for other in &others {
        assert_eq!(take(&pool, other, SHARED).1, None, "{other:?}");
    }
    // A target read anew from the database is another allocation with the same content.
    assert_eq!(take(&pool, &target(|_| ()), SHARED).1, Some("warm"));
    assert_eq!(take(&pool, &target(|_| ()), SHARED).1, None);
}

#[test]
fn callers_with_a_key_share_with_their_own_kind_only() {
    let (pool, target) = (pool(), target(|_| ()));
    let part = |byte| Wanted::Shared(Some(Digest::from_bytes([byte; 32])));
    take(&pool, &target, part(1)).0.put("of one", 1);
    assert_eq!(take(&pool, &target, part(2)).1, None);
    assert_eq!(take(&pool, &target, Wanted::Fresh).1, None);
    assert_eq!(take(&pool, &target, part(1)).1, Some("of one"));
}

#[test]
fn the_one_used_last_is_taken_first() {
    let (pool, target) = (pool(), target(|_| ()));
    let leases = [take(&pool, &target, SHARED).0, take(&pool, &target, SHARED).0];
    leases[0].put("first", 1);
    leases[1].put("second", 1);
    let again = [take(&pool, &target, SHARED), take(&pool, &target, SHARED)];
    assert_eq!(again.map(|leased| leased.1), [Some("second"), Some("first")]);
}

#[test]
fn a_call_that_shares_nothing_leaves_nothing() {
    let (pool, target) = (pool(), target(|_| ()));
    take(&pool, &target, Wanted::Fresh).0.put("fresh", 1);
    let state = pool.state(&Version(Arc::clone(&target)));
    assert_eq!((state.idle, state.running), (0, 0));
}

#[test]
fn those_that_wait_have_their_turn_in_order() {
    let (pool, target) = (pool(), with_at_most(1));
    let (lease, _) = take(&pool, &target, SHARED);
    let (mut first, gone, mut second) = (wait(&pool, &target), wait(&pool, &target), wait(&pool, &target));
    drop(gone);
    assert_eq!(pool.state(&Version(Arc::clone(&target))).waiting, 2);
    lease.put("warm", 1);
    let (lease, instance) = first.try_recv().unwrap().unwrap();
    assert_eq!(instance, Some("warm"));
    assert!(second.try_recv().is_err(), "there is one instance");
    // It traps: the next one makes its own.
    drop(lease);
    let (lease, instance) = second.try_recv().unwrap().unwrap();
    assert_eq!(instance, None);
    drop(lease);
    let state = pool.state(&Version(target));
    assert_eq!((state.idle, state.running, state.waiting), (0, 0, 0));
}

#[test]
fn who_gives_up_with_an_instance_in_hand_keeps_nobody_waiting() {
    let (pool, target) = (pool(), with_at_most(1));
    let (lease, _) = take(&pool, &target, SHARED);
    let (first, mut second) = (wait(&pool, &target), wait(&pool, &target));
    lease.put("warm", 1);
    drop(first);
    assert!(second.try_recv().unwrap().is_ok());
}

#[test]
fn the_queue_has_an_end() {
    let (pool, target) = (pool(), with_at_most(1));
    let (lease, _) = take(&pool, &target, SHARED);
    let mut waiting: Vec<_> = (0..WAITING_CALLS_MAX).map(|_| wait(&pool, &target)).collect();
    let one_more = pool.ask(&Version(Arc::clone(&target)), SHARED);
    assert!(matches!(one_more, Asked::Answered(Err(Refused::QueueFull))));
    // Who has given up makes room.
    waiting.truncate(1);
    let mut last = wait(&pool, &target);
    drop(lease);
    drop(waiting);
    assert!(last.try_recv().unwrap().is_ok());
}

#[tokio::test]
async fn nobody_waits_longer_than_the_time_limit() {
    let pool = pool();
    let target = target(|target| {
        target.limits.instances_max = 1;
        target.limits.timeout = Duration::from_millis(1);
    });
    let _lease = take(&pool, &target, SHARED);
    let late = pool.lease(&target, SHARED).await;
    assert_eq!(late.map(|leased| leased.1).err(), Some(Refused::WaitedTooLong));
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one() {
    let pool = pool();
    let (old, new) = (target(|_| ()), target(|new| new.version = 2));
    let other = target(|other| other.function = "other".parse().unwrap());
    for target in [&old, &new, &other] {
        take(&pool, target, SHARED).0.put("warm", 1);
    }
    pool.deployed(&Version(Arc::clone(&new)));
    let idle = |target: &Arc<Target>| pool.state(&Version(Arc::clone(target))).idle;
    assert_eq!((idle(&old), idle(&new), idle(&other)), (0, 1, 1));
}

#[test]
fn what_is_wanted_warm_is_missing_until_it_is_made() {
    let pool = pool();
    let version = Version(target(|target| target.limits.warm_min = 2));
    pool.deployed(&version);
    assert_eq!(pool.missing(), std::slice::from_ref(&version));
    let made = [
        pool.lease_missing(&version).unwrap(),
        pool.lease_missing(&version).unwrap(),
    ];
    assert!(pool.lease_missing(&version).is_none());
    let [ready, failed] = made;
    ready.put("warm", 1);
    drop(failed);
    assert_eq!(pool.state(&version).idle, 1);
    assert_eq!(pool.missing(), [version]);
}
