//! Whole lives of events under arbitrary policies and faults.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Ending, Fault, History, Next, RetryPolicy};

const BORN: i64 = 1_795_132_800_000;

fn policy() -> impl Strategy<Value = RetryPolicy> {
    (1..=100_u32, 0..=86_400_u32, 0..=86_400_u32, 1..=1_209_600_u32).prop_map(|(attempts, one, other, age)| {
        RetryPolicy {
            max_attempts: attempts,
            backoff_seconds: one.min(other),
            max_backoff_seconds: one.max(other),
            max_age_seconds: age,
        }
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Function),
        2 => Just(Fault::Throttled),
        2 => Just(Fault::Platform),
        1 => Just(Fault::Interrupted),
    ]
}

proptest! {
    #[test]
    fn every_life_ends_as_its_policy_says(
        policy in policy(),
        faults in vec((fault(), any::<u64>(), 0..5_000_i64), 300),
    ) {
        prop_assert_eq!(policy.check(), Ok(()));
        let expires_ms = BORN + policy.max_age_ms();
        let (mut now, mut history) = (BORN, History { attempts: 0, burned: 0, interrupted: 0, expires_ms });
        let mut function_faults = 0;
        for (fault, random, run_ms) in faults {
            history.attempts += 1;
            now += run_ms;
            function_faults += u32::from(fault == Fault::Function);
            let next = policy.next(Ending::Failed(fault), history, now, random);
            match next {
                Next::Retry { due_ms, burned } => {
                    prop_assert!(function_faults < policy.max_attempts, "a failure too many");
                    prop_assert!((now..expires_ms).contains(&due_ms));
                    let burnt = burned - history.burned;
                    prop_assert!(burnt <= 1 && burned < policy.max_attempts);
                    match fault {
                        Fault::Function => prop_assert_eq!(burnt, 1),
                        Fault::Throttled | Fault::Platform => prop_assert_eq!(burnt, 0),
                        Fault::Interrupted | Fault::Permanent => {}
                    }
                    if fault == Fault::Function {
                        let pause_ms = due_ms - now;
                        let longest = i64::from(policy.max_backoff_seconds) * 1_100;
                        let shortest = i64::from(policy.backoff_seconds.min(policy.max_backoff_seconds)) * 1_000;
                        prop_assert!((shortest..=longest).contains(&pause_ms), "{} ms", pause_ms);
                    }
                    history.burned = burned;
                    history.interrupted += u32::from(fault == Fault::Interrupted);
                    now = due_ms;
                }
                Next::Dead => {
                    prop_assert!(history.burned + 1 >= policy.max_attempts);
                    return Ok(());
                }
                Next::Expired => {
                    let longest_pause = (i64::from(policy.max_backoff_seconds) * 1_100).max(330_000);
                    prop_assert!(now + longest_pause >= expires_ms, "given up too early");
                    return Ok(());
                }
                Next::Succeeded | Next::Cancelled => prop_assert!(false, "{:?} out of a fault", next),
            }
        }
        // Three hundred attempts are more than any policy allows, so faults of others have made them.
        prop_assert!(history.burned < policy.max_attempts);
    }

    #[test]
    fn pauses_never_shrink_without_jitter(policy in policy()) {
        let mut last = -1;
        for burned in 0..policy.max_attempts.saturating_sub(1) {
            let history = History { attempts: burned + 1, burned, interrupted: 0, expires_ms: i64::MAX };
            let Next::Retry { due_ms, .. } = policy.next(Ending::Failed(Fault::Function), history, BORN, 0) else {
                return Err(TestCaseError::fail("attempts are left"));
            };
            prop_assert!(due_ms - BORN >= last);
            last = due_ms - BORN;
        }
    }
}
