//! What strangers can make us write into the log, bounded: refusals are counted, each client's are
//! told at most once a minute with their number, and at most twenty such lines a second are written
//! in all.
//!
//! Whoever bears a right key is no stranger: what becomes of their requests is told line by line. A
//! throttle that nobody declared may be asked for by a proxy whose file has a mistake, or by a
//! stranger who makes names up: it is told likewise.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::client_ip::ClientIp;
use super::rate::Elapsed;

/// How often one client is told of.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Lines a second for all of them.
const LINES: u32 = 20;
/// Clients that are remembered: as many as can be told of within the minute.
const CLIENTS: usize = LINES as usize * 60;

/// Names of throttles that nobody declared which are remembered, and what the others are counted
/// under.
const NAMES: usize = 64;
const OTHER_NAMES: &str = "(other names)";
/// Longest such name in a line, characters.
const NAME: usize = 80;

/// What was refused to strangers and has not been told.
pub struct Strangers {
    elapsed: Elapsed,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    clients: HashMap<(ClientIp, u16), Refused>,
    /// Refused to clients for whom there was no line.
    others: u64,
    /// The second that is counted, and its lines.
    second: u64,
    lines: u32,
    /// Questions about throttles that nobody declared: when each was told last, and how many came
    /// since.
    unknown: BTreeMap<(String, &'static str), (Duration, u64)>,
    /// When each other thing was told last.
    things: BTreeMap<&'static str, Duration>,
}

/// One client's refusals with one status since it was told of last.
struct Refused {
    since: Duration,
    address: IpAddr,
    count: u64,
}

impl Strangers {
    /// `elapsed` must never go back.
    pub fn new(elapsed: Elapsed) -> Self {
        Self {
            elapsed,
            told: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock()
    }

    /// Counts a refusal; answers whether it may have a line of its own, as the first of its client
    /// within the minute.
    pub fn refused(&self, address: IpAddr, status: u16) -> bool {
        let (now, mut told) = ((self.elapsed)(), self.told());
        let key = (ClientIp::of(address), status);
        if let Some(known) = told.clients.get_mut(&key) {
            known.count += 1;
            return false;
        }
        if told.clients.len() >= CLIENTS || !told.line(now) {
            told.others += 1;
            return false;
        }
        told.clients.insert(
            key,
            Refused {
                since: now,
                address,
                count: 0,
            },
        );
        true
    }

    /// Tells what was counted for a minute; to be called now and then.
    pub fn tell(&self) {
        let now = (self.elapsed)();
        let mut told = self.told();
        let old = |refused: &Refused| now.saturating_sub(refused.since) >= LOG_INTERVAL;
        let due: Vec<_> = told
            .clients
            .iter()
            .filter(|(_, refused)| old(refused))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let Some(mut refused) = told.clients.remove(&key) else {
                continue;
            };
            if refused.count == 0 {
                continue;
            }
            if told.line(now) {
                let Refused { address, count, .. } = refused;
                tracing::info!(client = %address, status = key.1, count, "refused further requests of this client");
                refused.count = 0;
                refused.since = now;
            }
            told.clients.insert(key, refused);
        }
        if told.others > 0 && told.due("others", now) {
            tracing::info!(count = told.others, "refused requests of further clients");
            told.others = 0;
        }
    }

    /// Tells of a question about a throttle that nobody declared, at most once a minute for each
    /// name and door.
    pub fn unknown(&self, throttle: &str, door: &'static str) {
        let now = (self.elapsed)();
        let told = self.told().unknown(throttle, door, now);
        if let Some((throttle, count)) = told {
            tracing::warn!(
                throttle,
                door,
                count,
                "verdicts are asked of a throttle that nobody declared, and all are refused: a typo in the proxy, or here?"
            );
        }
    }

    /// Whether this thing, which strangers can bring about, was not told within the last minute.
    pub fn due(&self, thing: &'static str) -> bool {
        let now = (self.elapsed)();
        self.told().due(thing, now)
    }
}

impl Told {
    /// Takes one of the second's lines, if there is one.
    fn line(&mut self, now: Duration) -> bool {
        if self.second != now.as_secs() {
            (self.second, self.lines) = (now.as_secs(), 0);
        }
        self.lines += 1;
        self.lines <= LINES
    }

    /// The name to be told now, if any, and how many questions there were since it was told last.
    fn unknown(
        &mut self,
        throttle: &str,
        door: &'static str,
        now: Duration,
    ) -> Option<(String, u64)> {
        let mut key = (throttle.chars().take(NAME).collect::<String>(), door);
        if !self.unknown.contains_key(&key) && self.unknown.len() >= NAMES {
            self.unknown
                .retain(|_, (told, _)| now.saturating_sub(*told) < LOG_INTERVAL);
            if self.unknown.len() >= NAMES {
                key.0 = OTHER_NAMES.to_owned();
            }
        }
        let known = self.unknown.get_mut(&key).map(|(told, count)| {
            *count += 1;
            (*told, *count)
        });
        let due = known.is_none_or(|(told, _)| now.saturating_sub(told) >= LOG_INTERVAL);
        if !due || !self.line(now) {
            return None;
        }
        self.unknown.insert(key.clone(), (now, 0));
        Some((key.0, known.map_or(1, |(_, count)| count)))
    }

    fn due(&mut self, thing: &'static str, now: Duration) -> bool {
        let due = self
            .things
            .get(thing)
            .is_none_or(|last| now.saturating_sub(*last) >= LOG_INTERVAL);
        if due {
            self.things.insert(thing, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn strangers() -> (Strangers, Arc<AtomicU64>) {
        let ms = Arc::new(AtomicU64::new(5_000));
        let clock = Arc::clone(&ms);
        (
            Strangers::new(Arc::new(move || {
                Duration::from_millis(clock.load(Ordering::Relaxed))
            })),
            ms,
        )
    }

    fn count(strangers: &Strangers, address: IpAddr) -> Option<u64> {
        strangers
            .told()
            .clients
            .get(&(ClientIp::of(address), 429))
            .map(|refused| refused.count)
    }

    #[test]
    fn a_client_has_a_line_for_each_status_and_then_one_a_minute_with_the_number() {
        let (strangers, ms) = strangers();
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(strangers.refused(address, 429));
        assert!(
            strangers.refused(address, 401),
            "another status says another thing"
        );
        for _ in 0..1000 {
            assert!(!strangers.refused(address, 429));
        }
        strangers.tell();
        assert_eq!(
            count(&strangers, address),
            Some(1000),
            "not within the minute"
        );
        ms.fetch_add(60_000, Ordering::Relaxed);
        assert!(
            !strangers.refused(address, 429),
            "its line is the one with the number"
        );
        strangers.tell();
        assert_eq!(count(&strangers, address), Some(0), "told");
        ms.fetch_add(60_000, Ordering::Relaxed);
        strangers.tell();
        assert_eq!(count(&strangers, address), None, "forgotten");
    }

    #[test]
    fn a_throttle_that_nobody_declared_is_told_once_a_minute_and_made_up_names_are_bounded() {
        let (strangers, ms) = strangers();
        let ask = |name: &str, door| {
            let now = Duration::from_millis(ms.load(Ordering::Relaxed));
            strangers.told().unknown(name, door, now)
        };
        assert_eq!(ask("chekout", "nginx"), Some(("chekout".to_owned(), 1)));
        assert_eq!(
            ask("chekout", "envoy").map(|told| told.1),
            Some(1),
            "another door is another line"
        );
        assert!((0..1000).all(|_| ask("chekout", "nginx").is_none()));
        ms.fetch_add(60_000, Ordering::Relaxed);
        assert_eq!(ask("chekout", "nginx"), Some(("chekout".to_owned(), 1001)));
        let mut lines = 0;
        for index in 0..100_000_u64 {
            ms.fetch_add(index % 2, Ordering::Relaxed); // for 50 seconds
            lines += usize::from(ask(&format!("{index}-{}", "x".repeat(5000)), "nginx").is_some());
        }
        assert!((NAMES - 2..=NAMES + 1).contains(&lines), "{lines}");
        let told = strangers.told();
        assert!(
            told.unknown.len() <= NAMES + 1
                && told.unknown.keys().all(|(name, _)| name.len() <= NAME)
        );
    }

    #[test]
    fn all_clients_together_have_twenty_lines_a_second_and_what_finds_none_is_counted() {
        let (strangers, ms) = strangers();
        let mut lines = 0;
        for index in 0..100_000_u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + index));
            lines += usize::from(strangers.refused(address, 401));
            ms.store(5_000 + u64::from(index) / 10, Ordering::Relaxed); // ten a millisecond, for ten seconds
        }
        assert_eq!(lines, 10 * 20 + usize::from(lines > 200));
        let told = strangers.told();
        assert_eq!(told.others + lines as u64, 100_000);
        assert!(told.clients.len() <= CLIENTS);
    }
}
