//! The lines of the table: what was measured, beside what it must be.

use crate::timing::percentile;

/// What one kind of run took, milliseconds; what did not come within its limit took for ever.
pub(crate) struct Took(pub(crate) Vec<f64>);

impl Took {
    /// From what came, and how long it took.
    pub(crate) fn of(times: impl IntoIterator<Item = Option<f64>>) -> Self {
        let times = times.into_iter();
        Self(times.map(|time| time.unwrap_or(f64::INFINITY)).collect())
    }

    /// The time that this share of all is not above, in percent.
    pub(crate) fn at(&self, share: usize) -> f64 {
        if self.0.is_empty() {
            f64::INFINITY
        } else {
            percentile(&self.0, share)
        }
    }

    pub(crate) fn came(&self) -> usize {
        self.0.iter().filter(|time| time.is_finite()).count()
    }

    /// How many of how many came, and how long that took; `inf`: it did not come.
    pub(crate) fn words(&self) -> String {
        format!(
            "{} of {} came, ms: p50 {:.1}  p95 {:.1}  max {:.1}",
            self.came(),
            self.0.len(),
            self.at(50),
            self.at(95),
            self.at(100)
        )
    }
}

/// One line without a limit.
pub(crate) fn line(whose: &str, what: &str, found: &str) {
    println!("{whose}{what}: {found}");
}

/// One line whose `value` must not be above `limit`.
pub(crate) fn limited(whose: &str, what: &str, found: &str, (name, value, limit): Limit) {
    let kept = if value <= limit { "kept" } else { "NOT KEPT" };
    line(
        whose,
        what,
        &format!("{found}  [{kept}: {name} {value:.2}, at most {limit}]"),
    );
}

/// What is limited, what it is, and what it may be at most.
pub(crate) type Limit = (&'static str, f64, f64);
