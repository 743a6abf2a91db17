//! What counts of a measurement that could not be stored: that it closes, and nothing else. There
//! is no row of it, so it takes no other word away.
//!
//! Pure; must not know who measured or why there is no ledger.

use crate::domain::measurement::{MOST, Measurement};

use super::law::Law;

/// What is believed from here on of all that was heard, and of a measurement that is not stored.
///
/// Whatever may open by it is not heard. It stands beside what its source said before: the worst
/// word wins, and a word that goes has closed no more than this one, which lasts longer.
#[must_use]
pub fn among(law: &Law, heard: &[Measurement], word: &Measurement) -> Vec<Measurement> {
    let mut all: Vec<Measurement> = heard
        .iter()
        .filter(|one| one.is_fresh(word.at))
        .cloned()
        .collect();
    if law.may_open(&word.signals) {
        return all;
    }
    all.retain(|one| one.source != word.source || !law.closes_as_much(&word.signals, &one.signals));
    all.push(word.clone());
    if all.len() > MOST {
        let closing = all.iter().map(|one| law.closing(&one.signals)).enumerate();
        let least = closing.min_by(|(_, a), (_, b)| a.total_cmp(b));
        least
            .into_iter()
            .for_each(|(index, _)| drop(all.remove(index)));
    }
    all
}
