//! How long something takes: percentiles of many runs, and the moment at which a gate denies.

use std::time::{Duration, Instant};

use crate::support::{Echo, eventually};

/// The time that this share of all is not above, in percent.
pub(crate) fn percentile(times: &[f64], share: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[(times.len() * share / 100).min(times.len() - 1)]
}

pub(crate) fn tell(what: &str, times: &[f64]) {
    let at = |share| percentile(times, share);
    println!(
        "{what}: {} runs, ms: p50 {:.2}  p95 {:.2}  p99 {:.2}  max {:.2}",
        times.len(),
        at(50),
        at(95),
        at(99),
        at(100)
    );
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Asks on one live connection until the answer is a denial; answers when that was.
pub(crate) async fn first_denial(client: reqwest::Client, url: String) -> Instant {
    loop {
        let answer = client.get(&url).send().await.unwrap();
        if answer.status() == 403 && answer.headers()["echo-reason"] == "kill" {
            return Instant::now();
        }
    }
}

pub(crate) async fn admits(echo: &Echo, throttle: &str) {
    eventually("it admits", Duration::from_secs(30), async || {
        (echo.verdict(throttle).await.0 == 200).then_some(())
    })
    .await;
}
