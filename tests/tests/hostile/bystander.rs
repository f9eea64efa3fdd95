//! Tenant B, who calls a small function of its own all the time and must not notice what tenant A does.

use std::thread;
use std::time::{Duration, Instant};

use mayfly_tests::http_client;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Time between two calls: 50 a second.
const PERIOD: Duration = Duration::from_millis(20);
/// Calls at least, so that p99 is not the slowest one; after a short attack the calls go on into the calm, where what it left
/// behind would show.
const CALLS_MIN: usize = 100;
/// What an attack may add to a figure that is small, in milliseconds.
const ADDED_MS_MAX: f64 = 20.0;

/// What the bystander saw: the status and the time of each call; status 0 where there was no answer.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    statuses: Vec<u16>,
    times_ms: Vec<f64>,
}

/// Calls `url` while `meanwhile` goes on. On a thread of its own, so that the attacker's client does not delay it.
pub(super) async fn watch<T>(url: &str, meanwhile: impl Future<Output = T>) -> (T, Seen) {
    let (stop, stopped) = oneshot::channel::<()>();
    let url = url.to_owned();
    let calling = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(call(url, stopped))
    });
    let done = meanwhile.await;
    drop(stop);
    let seen = tokio::task::spawn_blocking(|| calling.join())
        .await
        .expect("the wait did not panic");
    (done, seen.expect("the bystander did not panic"))
}

async fn call(url: String, mut stopped: oneshot::Receiver<()>) -> Seen {
    let client = http_client();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut calls = JoinSet::new();
    // Its end is an error of the receiver; looked at only between two calls.
    while calls.len() < CALLS_MIN || stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        ticks.tick().await;
        let request = client.get(&url);
        calls.spawn(async move {
            let began = Instant::now();
            let status = match request.send().await {
                Ok(answer) => answer.status().as_u16(),
                Err(_) => 0,
            };
            (status, began.elapsed().as_secs_f64() * 1000.0)
        });
    }
    let (statuses, mut times_ms): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().unzip();
    times_ms.sort_unstable_by(f64::total_cmp);
    Seen { statuses, times_ms }
}

impl Seen {
    /// Calls that were not answered with 200.
    pub(super) fn refused(&self) -> Vec<u16> {
        self.statuses.iter().copied().filter(|status| *status != 200).collect()
    }

    /// The figures of these calls beside those of the calm; an error if the promise is not kept: at most twice as long as
    /// before or 20 ms more, for the median and at p99.
    pub(super) fn beside(&self, calm: &Self) -> Result<String, String> {
        let holds = |part| self.quantile(part) <= (2.0 * calm.quantile(part)).max(calm.quantile(part) + ADDED_MS_MAX);
        let figures = format!(
            "bystander {} calls, p50 {:.1} ms (calm {:.1}), p99 {:.1} ms (calm {:.1})",
            self.times_ms.len(),
            self.quantile(0.5),
            calm.quantile(0.5),
            self.quantile(0.99),
            calm.quantile(0.99),
        );
        if holds(0.5) && holds(0.99) {
            Ok(figures)
        } else {
            Err(figures)
        }
    }

    /// Nearest rank; of fewer than a hundred calls, p99 is the slowest one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank is small and not negative"
    )]
    fn quantile(&self, part: f64) -> f64 {
        let rank = (self.times_ms.len() as f64 * part).ceil() as usize;
        self.times_ms[rank.clamp(1, self.times_ms.len()) - 1]
    }
}
