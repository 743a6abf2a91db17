//! The throttles and holds that a service lists, looked up so that an order is told in words: what
//! it ended, what it did not, which name was meant.
//!
//! Where they cannot be read an order is done all the same, and less is said of it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::words::{holder, since};
use crate::client::{ApiClient, ThrottleList, ThrottleSummary};
use crate::domain::throttle::ThrottleName;
use crate::source::crd_status::HoldStatus;
use crate::source::rest::nearest;

/// Names that are offered where several may be meant.
const OFFERED: usize = 3;

/// What was listed; none where it could not be read.
#[derive(Default)]
pub(super) struct KnownThrottles(Option<Vec<ThrottleSummary>>);

impl KnownThrottles {
    /// Looks.
    pub(super) async fn look(client: &ApiClient) -> Self {
        let found = client.get("/v1/throttles").await;
        let found = found.and_then(|found| client.typed::<ThrottleList>("/v1/throttles", &found));
        Self(found.ok().map(|found| found.items))
    }

    fn all(&self) -> &[ThrottleSummary] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether it is certain that no hold has this epoch.
    pub(super) fn lacks(&self, epoch: &str) -> bool {
        self.0.is_some() && self.holds(epoch).next().is_none()
    }

    /// Where an epoch holds, and as what.
    fn holds<'a>(
        &'a self,
        epoch: &'a str,
    ) -> impl Iterator<Item = (&'a ThrottleSummary, &'a HoldStatus)> {
        let all = self.all().iter();
        let held = all.flat_map(|one| one.status.holds.iter().map(move |hold| (one, hold)));
        held.filter(move |(_, hold)| hold.epoch == epoch)
    }

    /// Whether a hold covers every throttle, as far as that makes a difference.
    pub(super) fn covers_all(&self, epoch: &str) -> bool {
        covers_all(self.all(), epoch)
    }

    /// A hold in words, with whom and why; none where it was not listed.
    pub(super) fn words(&self, epoch: &str, now: Timestamp) -> Option<String> {
        let (throttle, hold) = self.holds(epoch).next()?;
        let what = match hold.throttle_percent {
            None if self.covers_all(epoch) => "kill of every throttle".to_owned(),
            None => format!("kill of {}", throttle.name),
            Some(percent) => format!("level of {}, {percent} % or more", throttle.name),
        };
        Some(format!(
            "the {what} by {}, {}: {}",
            holder(hold),
            since(&hold.taken_at, now),
            hold.reason
        ))
    }

    /// Every kill that holds one of these throttles, in words.
    pub(super) fn kills(&self, only: Option<&str>, now: Timestamp) -> Vec<String> {
        let meant = self
            .all()
            .iter()
            .filter(|one| only.is_none_or(|only| only == one.name));
        let kills = meant
            .flat_map(|one| &one.status.holds)
            .filter(|hold| hold.throttle_percent.is_none());
        let epochs: BTreeSet<_> = kills.map(|hold| hold.epoch.as_str()).collect();
        epochs
            .into_iter()
            .filter_map(|epoch| self.words(epoch, now))
            .collect()
    }

    /// Who took a hold, and why.
    pub(super) fn by(&self, epoch: &str) -> Option<String> {
        let (_, hold) = self.holds(epoch).next()?;
        Some(format!("{}: {}", hold.operator, hold.reason))
    }

    /// Levels that people hold on top of a manifest, which a revival of a kill ends too: the
    /// throttle, and what it declares.
    pub(super) fn levels(&self) -> impl Iterator<Item = (&ThrottleSummary, &HoldStatus)> {
        let held = self
            .all()
            .iter()
            .flat_map(|one| one.status.holds.iter().map(move |hold| (one, hold)));
        held.filter(|(_, hold)| hold.throttle_percent.is_some() && hold.kind == "Rest")
    }

    /// The throttles that somebody may have meant by a name that is none of theirs, in words.
    pub(super) fn meant(&self, name: &ThrottleName) -> Option<String> {
        let names: Vec<&str> = self.all().iter().map(|one| one.name.as_str()).collect();
        meant(name.as_str(), &names)
    }

    /// Whether there is certainly no such throttle.
    pub(super) fn lacks_throttle(&self, name: &ThrottleName) -> bool {
        self.0.is_some() && !self.all().iter().any(|one| one.name == name.as_str())
    }

    /// Whether all throttles of an order are declared at a full stop.
    pub(super) fn all_shut(&self, only: Option<&str>) -> bool {
        let mut meant = self
            .all()
            .iter()
            .filter(|one| only.is_none_or(|only| only == one.name))
            .peekable();
        meant.peek().is_some() && meant.all(|one| one.spec.throttle_percent == 100)
    }
}

/// Whether a hold stands under more than one throttle: what people hold is one throttle's, or
/// covers all there are.
pub(super) fn covers_all(throttles: &[ThrottleSummary], epoch: &str) -> bool {
    let under = |one: &&ThrottleSummary| one.status.holds.iter().any(|hold| hold.epoch == epoch);
    throttles.iter().filter(under).nth(1).is_some()
}

/// A name without its namespace, or with one: those are meant first. Then what is written almost
/// alike.
fn meant(name: &str, known: &[&str]) -> Option<String> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let within: Vec<_> = known
        .iter()
        .copied()
        .filter(|one| last(one) == last(name))
        .take(OFFERED)
        .collect();
    if !within.is_empty() {
        return Some(within.join(" or "));
    }
    let lasts: Vec<_> = known.iter().map(|one| last(one)).collect();
    let short = || {
        let lasts: Vec<_> = lasts.iter().map(String::as_str).collect();
        let found = nearest(&last(name), &lasts)?;
        known.iter().copied().find(|one| last(one) == found)
    };
    nearest(name, known).or_else(short).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::meant;

    #[test]
    fn a_throttle_is_found_by_its_name_without_the_namespace_and_by_almost_its_name() {
        let known = ["default", "eu.payouts", "payments.checkout", "us.payouts"];
        for (name, said) in [
            ("checkout", Some("payments.checkout")),
            ("chekout", Some("payments.checkout")),
            ("payments.chekout", Some("payments.checkout")),
            ("shop.checkout", Some("payments.checkout")),
            ("payouts", Some("eu.payouts or us.payouts")),
            ("defualt", Some("default")),
            ("search", None),
        ] {
            assert_eq!(meant(name, &known).as_deref(), said, "{name}");
        }
    }
}
