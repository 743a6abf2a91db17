//! What a watching gate obeys: it closes on what it sees itself, and opens to the leader's word
//! alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::decide::follow::{Seen, follow};
use echo_phoenix::domain::level::Level;

#[test]
fn a_watching_gate_opens_to_the_leader_only() {
    let level = |u: f64| Level::new(u).unwrap();
    let seen = |generation, asked, killed, effective| Seen {
        generation,
        asked: level(asked),
        killed,
        effective,
    };
    for (what, current, seen, expected) in [
        (
            "nothing known refuses everything",
            None,
            seen(1, 0.0, false, None),
            1.0,
        ),
        (
            "the leader's level",
            None,
            seen(1, 0.0, false, Some((level(0.3), 1))),
            0.3,
        ),
        (
            "what it sees itself closes at once",
            Some(level(0.0)),
            seen(2, 0.5, false, Some((level(0.0), 1))),
            0.5,
        ),
        (
            "an older word of the leader opens nothing",
            Some(level(0.9)),
            seen(2, 0.0, false, Some((level(0.0), 1))),
            0.9,
        ),
        (
            "a newer one does",
            Some(level(0.9)),
            seen(2, 0.0, false, Some((level(0.0), 2))),
            0.0,
        ),
        (
            "never below what is asked",
            Some(level(0.9)),
            seen(2, 0.4, false, Some((level(0.0), 2))),
            0.4,
        ),
        (
            "a kill stops, whatever the leader says",
            Some(level(0.0)),
            seen(1, 0.0, true, Some((level(0.0), 9))),
            1.0,
        ),
    ] {
        assert_eq!(follow(current, &seen).fraction(), expected, "{what}");
    }
}
