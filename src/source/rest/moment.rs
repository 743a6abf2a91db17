//! A moment as people give it: a time, or a date alone, which is its first moment in UTC. Pure.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// What is expected where one is none.
pub const MOMENT: &str = "a time like 2026-01-31T12:00:00Z, or a date like 2026-01-31";

/// Reads one.
pub fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let date = Some(text)
            .filter(|text| text.len() == 10)?
            .parse::<Date>()
            .ok()?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}
