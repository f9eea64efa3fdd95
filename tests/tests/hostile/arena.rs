//! Where an attack happens: a server of its own, a bystander on it, and nobody else on the machine.
#![expect(clippy::print_stdout, reason = "figures for the reader of the run")]

use std::fs;
use std::time::Duration;

use mayfly_tests::{Database, Done, Platform, Vitals, forget_peak, peak_bytes, repository};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use super::bystander::{self, Seen};

/// How long the calm before the first attack of a test, and before each second try, is measured.
const CALM: Duration = Duration::from_secs(2);
/// Times that an attack is tried until no figure of time is missed. Half of a machine of two cores may be gone to
/// somebody else for a moment, and one late call of fifty is already a p99: noise goes away with another try, and what
/// an attack does to others comes back every time.
const TRIES: usize = 3;
/// How long what an attack took may stay away.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks at it.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// Attacks measure, so they never run beside each other.
static ALONE: Mutex<()> = Mutex::const_new(());

pub(super) struct Arena {
    pub(super) platform: Platform,
    process: u32,
    bystander: String,
    calm: Mutex<Option<Seen>>,
    _alone: MutexGuard<'static, ()>,
}

impl Arena {
    /// Starts a server and deploys the bystander's function.
    pub(super) async fn open() -> Self {
        let alone = ALONE.lock().await;
        let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
        platform.deploy("hello-http", &["--name", "bystander"]).await;
        assert_eq!(platform.get("/bystander").await.status, 200);
        Self {
            process: platform.process_id(),
            bystander: format!("{}/bystander", platform.functions),
            platform,
            calm: Mutex::default(),
            _alone: alone,
        }
    }

    /// The same with the guest that misbehaves, under the name `attacker`.
    pub(super) async fn with_attacker(flags: &[&str]) -> Self {
        let arena = Self::open().await;
        let flags = [&["--name", "attacker"], flags].concat();
        arena.platform.deploy("misbehave", &flags).await;
        arena
    }

    /// Deploys the WAT guest of that name from `tests/hostile`.
    pub(super) async fn deploy_wat(&self, name: &str, flags: &[&str]) -> Done {
        let file = repository().join("tests/hostile").join(name).with_extension("wat");
        let wasm = wat::parse_file(&file).unwrap_or_else(|error| panic!("{error}"));
        self.deploy_bytes(name, &wasm, flags).await
    }

    /// Deploys wasm bytes.
    pub(super) async fn deploy_bytes(&self, name: &str, wasm: &[u8], flags: &[&str]) -> Done {
        let file = self.platform.dir().join(name).with_extension("wasm");
        fs::write(&file, wasm).expect("the test's folder can be written");
        let file = file.to_string_lossy();
        let args = [&["deploy", &file, "--name", name, "--json"], flags].concat();
        self.platform.fn_(&args).await
    }

    /// Attacks while the bystander calls. Fails if the bystander is refused once or the server dies; a bystander who is
    /// slowed down, and an attack that says that it missed a figure of time, are tried again before they fail the test.
    /// Gives what the last try gave.
    pub(super) async fn endures<T>(&self, id: &str, mut attack: impl AsyncFnMut() -> Result<T, String>) -> T {
        let mut missed = Vec::new();
        for _ in 0..TRIES {
            let calm = self.calm(missed.is_empty()).await;
            let (done, seen) = bystander::watch(&self.bystander, attack()).await;
            self.is_alive(id);
            assert!(
                seen.refused().is_empty(),
                "{id}: the bystander was refused: {:?}",
                seen.refused()
            );
            match (done, seen.beside(&calm)) {
                (Ok(done), Ok(figures)) => {
                    println!("hostile {id} | {figures}");
                    return done;
                }
                (Ok(_), Err(missed_figure)) | (Err(missed_figure), _) => missed.push(missed_figure),
            }
        }
        panic!("{id}: missed every time: {missed:#?}");
    }

    /// What the bystander sees when nobody attacks; as it was seen before in this test, if that is good enough.
    async fn calm(&self, as_before: bool) -> Seen {
        let mut known = self.calm.lock().await;
        if let Some(calm) = known.as_ref().filter(|_| as_before) {
            return calm.clone();
        }
        let ((), calm) = bystander::watch(&self.bystander, sleep(CALM)).await;
        known.insert(calm).clone()
    }

    /// Prints what was tried and what came of it.
    pub(super) fn report(id: &str, tried: &str, values: &str, limit: &str) {
        println!("hostile {id} | {tried} | {values} | limit: {limit}");
    }

    /// The same of several attacks of one sort.
    pub(super) fn report_all(id: &str, figures: &[(String, String)], limit: &str) {
        for (tried, values) in figures {
            Self::report(id, tried, values, limit);
        }
    }

    /// Checks that the server is still the process that was started.
    #[track_caller]
    pub(super) fn is_alive(&self, id: &str) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process)).unwrap_or_default();
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim_start().chars().next());
        assert!(state.is_some_and(|state| state != 'Z'), "{id}: the server has died");
        let log = fs::read_to_string(self.platform.dir().join("server.log")).unwrap_or_default();
        let panic = log.lines().find(|line| line.contains("panicked"));
        assert!(panic.is_none(), "{id}: the server panicked: {panic:?}");
    }

    /// Waits until the server holds no more than before, within `more_bytes`; gives what it holds then. Descriptors and
    /// threads may be a few more: connections that are kept open, threads that wait for work.
    pub(super) async fn settles(&self, id: &str, before: Vitals, more_bytes: u64) -> Vitals {
        let deadline = Instant::now() + SETTLE_TIME_MAX;
        loop {
            let now = self.platform.vitals();
            let settled = now.resident_bytes <= before.resident_bytes + more_bytes
                && now.descriptors <= before.descriptors + 8
                && now.threads <= before.threads + 8;
            if settled {
                return now;
            }
            assert!(
                Instant::now() < deadline,
                "{id}: held before: {before}, after it: {now}"
            );
            sleep(SETTLE_PAUSE).await;
        }
    }

    /// Runs `attack` and tells how much more memory the server held meanwhile than before, at most.
    pub(super) async fn growth_during<T>(&self, attack: impl Future<Output = T>) -> (T, u64) {
        let before = self.platform.vitals().resident_bytes;
        forget_peak(self.process);
        let done = attack.await;
        (done, peak_bytes(self.process).saturating_sub(before))
    }

    /// The newest records of a function, `count` of them at most; calls that were answered are among them.
    pub(super) async fn records(&self, function: &str, count: usize) -> Vec<Value> {
        let args = ["invocations", function, "--json", "--limit", &count.to_string()];
        let records = self.platform.fn_(&args).await.json();
        records.as_array().expect("a list").clone()
    }
}

/// Begun milliseconds that were billed for a record.
pub(super) fn billed_ms(record: &Value) -> u64 {
    record["usage"]["billed_ms"]
        .as_u64()
        .unwrap_or_else(|| panic!("no billed_ms: {record}"))
}

/// `short`, or ten times as many when the long form was asked for.
pub(super) fn times(short: usize) -> usize {
    if long_form() { short * 10 } else { short }
}

/// Whether there is time for everything.
pub(super) fn long_form() -> bool {
    is_set("HOSTILE_LONG")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment says how long the run may take and how quiet the machine is"
)]
fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !value.is_empty() && value != "0")
}
