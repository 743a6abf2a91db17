//! Times, spans and holds in words. Pure.

use jiff::Timestamp;

use crate::client::{HeldRow, ThrottleSummary};
use crate::domain::level::Level;
use crate::domain::remote::is_sender;
use crate::source::crd_status::HoldStatus;

/// A moment as people read it, and how long ago it was: `2026-01-14 21:32:07 UTC (4 min ago)`.
pub(super) fn since(text: &str, now: Timestamp) -> String {
    let Ok(at) = text.parse::<Timestamp>() else {
        return text.to_owned();
    };
    let seconds = now.duration_since(at).as_secs();
    let ago = match seconds {
        // Clocks differ by a little; by more than that it is said as it is.
        -5..1 => "just now".to_owned(),
        ..-5 => format!("{} ahead of this machine's clock", span(-seconds)),
        _ => format!("{} ago", span(seconds)),
    };
    format!("{} ({ago})", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

/// A share as a person reads it: `25 %`, `12.5 %`.
pub(super) fn percent(share: f64) -> String {
    Level::new(share).map_or_else(
        |_| format!("{share}, which is no share,"),
        Level::percent_words,
    )
}

/// A span in its two largest units.
pub(super) fn span(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// What a kill of everything is, said where one throttle was asked about.
pub(super) const WIDE: &str = "This kill covers every throttle; ending it opens all.";

/// Who holds, as a refusal names it; a declaration does not tell since when.
pub(super) fn held_by(held: &HeldRow) -> String {
    let since = if held.since.is_empty() {
        String::new()
    } else {
        format!(", since {}", held.since)
    };
    format!(
        "{}, {}{since}: {}",
        held.operator,
        by_source(&held.source),
        held.reason
    )
}

/// Who holds, and by which door.
pub(super) fn holder(hold: &HoldStatus) -> String {
    let door = match hold.kind.as_str() {
        "EchoOverride" => format!("by EchoOverride {} in {}", hold.name, hold.namespace),
        "ClusterEchoOverride" => format!("by ClusterEchoOverride {}", hold.name),
        kind => by_source(&kind.to_lowercase()),
    };
    format!("{}, {door}", hold.operator)
}

/// The name of the key, and who it was, as they say: `ci: dana`. The name alone where nobody said,
/// or the service does not tell. It comes first: what people say may be long, and be cut.
pub(super) fn who(operator: &str, key: &str) -> String {
    if operator.is_empty() {
        key.to_owned()
    } else {
        format!("{key}: {operator}")
    }
}

/// The door that something came by, in plain words.
pub(super) fn by_source(source: &str) -> String {
    match source {
        "rest" => "over the API".to_owned(),
        "manifest" => "in the manifest file".to_owned(),
        "spec" => "in the spec".to_owned(),
        "unaccounted" => "unaccounted for".to_owned(),
        other => format!("by {other}"),
    }
}

/// What ends a hold that an answer names.
pub(super) fn ends(held: &HeldRow) -> String {
    match held.source.as_str() {
        "rest" if is_sender(&held.operator) => {
            "at the site that this one obeys, where it was made".to_owned()
        }
        // By its id: one that holds all throttles is not ended for one of them.
        "rest" | "unaccounted" => format!(
            "echo-phoenix revive --epoch {} --operator YOU --reason WHY",
            held.epoch
        ),
        "manifest" => "take `kill` out of the manifest file".to_owned(),
        "spec" => "take `kill` out of the spec".to_owned(),
        by => format!("kubectl delete {by}"),
    }
}

/// What ends a hold.
pub(super) fn way_to_end(hold: &HoldStatus, throttle: &str) -> String {
    match hold.kind.as_str() {
        "Rest" if is_sender(&hold.operator) => {
            "it ends where it was made, at the site that this one obeys; ended here it is made again".to_owned()
        }
        "Manifest" => format!("take `kill` out of {throttle} in the manifest file"),
        "Spec" => format!("take `kill` out of the spec of {throttle}"),
        "EchoOverride" if hold.state.is_empty() => {
            format!("kubectl delete echooverride -n {} {}", hold.namespace, hold.name)
        }
        "ClusterEchoOverride" if hold.state.is_empty() => format!("kubectl delete clusterechooverride {}", hold.name),
        _ => format!("echo-phoenix revive --epoch {} --operator YOU --reason WHY", hold.epoch),
    }
}

/// What takes back a level that people set on top of a manifest.
pub(super) fn lower_to(hold: &HoldStatus, throttle: &ThrottleSummary) -> String {
    let ThrottleSummary { name, spec, .. } = throttle;
    match hold.kind.as_str() {
        "Rest" => {
            format!(
                "echo-phoenix set {}% --throttle {name} --operator YOU --reason WHY",
                spec.throttle_percent
            )
        }
        _ => way_to_end(hold, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_with_its_distance() {
        let now: Timestamp = "2026-01-14T21:32:07Z".parse().unwrap();
        for (at, said) in [
            (
                "2026-01-14T21:32:07.9Z",
                "2026-01-14 21:32:07 UTC (just now)",
            ),
            ("2026-01-14T21:31:08Z", "2026-01-14 21:31:08 UTC (59 s ago)"),
            (
                "2026-01-14T21:28:00Z",
                "2026-01-14 21:28:00 UTC (4 min ago)",
            ),
            (
                "2026-01-14T18:20:00Z",
                "2026-01-14 18:20:00 UTC (3 h 12 min ago)",
            ),
            (
                "2026-01-11T20:00:00Z",
                "2026-01-11 20:00:00 UTC (3 d 1 h ago)",
            ),
            (
                "2026-01-14T21:42:07Z",
                "2026-01-14 21:42:07 UTC (10 min ahead of this machine's clock)",
            ),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(since(at, now), said);
        }
    }
}
