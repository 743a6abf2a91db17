//! Whom a wake names: each is told of once, and beyond a bound it is everybody.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::time::Duration;

use echo_phoenix::domain::hold::Scope;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{Wake, Woken};
use echo_phoenix::wake::WakeSet;
use tokio::time::timeout;

/// More names than are kept apart.
const TOO_MANY: usize = 1_025;

fn name(text: &str) -> ThrottleName {
    ThrottleName::try_from(text.to_owned()).unwrap()
}

fn these(names: &[&str]) -> Woken {
    Woken::Throttles(names.iter().copied().map(name).collect())
}

async fn is_quiet(wakes: &WakeSet) -> bool {
    timeout(Duration::from_millis(20), wakes.woken())
        .await
        .is_err()
}

#[tokio::test]
async fn whoever_was_woken_is_told_of_once_however_often() {
    let wakes = WakeSet::default();
    wakes.wake_each(&[name("a"), name("b")]);
    wakes.wake(&Scope::One(name("a")));
    assert_eq!(wakes.woken().await, these(&["a", "b"]));
    assert!(is_quiet(&wakes).await);
    wakes.wake_each(&[]);
    assert!(is_quiet(&wakes).await, "nobody was named");
    wakes.wake(&Scope::One(name("b")));
    wakes.wake(&Scope::All);
    wakes.wake(&Scope::One(name("a")));
    assert_eq!(wakes.woken().await, Woken::All);
    assert!(is_quiet(&wakes).await);
}

#[tokio::test]
async fn too_many_names_are_everybody() {
    let wakes = WakeSet::default();
    let names: Vec<_> = (0..TOO_MANY).map(|i| name(&format!("t{i}"))).collect();
    wakes.wake_each(&names[1..]);
    wakes.wake_each(&names[1..]);
    let kept: BTreeSet<_> = names[1..].iter().cloned().collect();
    assert_eq!(wakes.woken().await, Woken::Throttles(kept));
    wakes.wake_each(&names);
    assert_eq!(wakes.woken().await, Woken::All);
}

/// The loop waits for several things at once, and stops waiting when one of them comes.
#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_loses_no_wake() {
    let wakes = WakeSet::default();
    for _ in 0..3 {
        assert!(is_quiet(&wakes).await);
        let woken = async {
            wakes.wake(&Scope::One(name("a")));
            tokio::task::yield_now().await;
        };
        let waits = timeout(Duration::ZERO, wakes.woken());
        let (told, ()) = tokio::join!(waits, woken);
        let woken = match told {
            Ok(woken) => woken,
            Err(_) => wakes.woken().await,
        };
        assert_eq!(woken, these(&["a"]));
    }
}
