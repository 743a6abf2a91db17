//! What `/health` makes of all it looked at: one word for the whole, one for each part. Pure.

use serde_json::{Map, Value, json};

/// The words for the whole, the better first.
const WORDS: [&str; 3] = ["healthy", "degraded", UNHEALTHY];
/// The worst of them.
pub(super) const UNHEALTHY: &str = "unhealthy";

/// How a part was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckState {
    /// It is off; this variable turns it on.
    Off(&'static str),
    /// It is as it should be.
    Fine(String),
    /// The same, and not worth a word.
    Quiet,
    /// Words that say nothing about how it is.
    Told(String),
    /// Something is wrong, and the brake works.
    Amiss(String),
    /// The brake cannot be relied on.
    Gone(String),
}

impl CheckState {
    /// As it should be, in so many words.
    pub(super) fn ok() -> Self {
        Self::Fine("ok".to_owned())
    }

    /// Whether it is well; none for what is off or says nothing about it.
    fn well(&self) -> Option<bool> {
        match self {
            Self::Off(_) | Self::Told(_) => None,
            Self::Fine(_) | Self::Quiet => Some(true),
            Self::Amiss(_) | Self::Gone(_) => Some(false),
        }
    }
}

/// All that was looked at, in the order of `/health`.
#[derive(Debug, Default)]
pub(super) struct Checks {
    found: Vec<(&'static str, CheckState)>,
    lowered: bool,
}

impl Checks {
    /// Adds a part.
    pub(super) fn add(&mut self, name: &'static str, found: CheckState) {
        self.found.push((name, found));
    }

    /// Not better than degraded, whatever the parts are.
    pub(super) fn lower(&mut self) {
        self.lowered = true;
    }

    /// The word for the whole: that of its worst part.
    pub(super) fn word(&self) -> &'static str {
        let worst = self.found.iter().map(|(_, found)| match found {
            CheckState::Gone(_) => 2,
            CheckState::Amiss(_) => 1,
            _ => 0,
        });
        WORDS[worst
            .max()
            .unwrap_or_default()
            .max(usize::from(self.lowered))]
    }

    /// The parts in words, for `/health`.
    pub(super) fn body(&self) -> Map<String, Value> {
        let words = self.found.iter().filter_map(|(name, found)| {
            let words = match found {
                CheckState::Off(variable) => format!("off: set {variable}"),
                CheckState::Quiet => return None,
                CheckState::Fine(words)
                | CheckState::Told(words)
                | CheckState::Amiss(words)
                | CheckState::Gone(words) => words.clone(),
            };
            Some(((*name).to_owned(), json!(words)))
        });
        words.collect()
    }

    /// Every word there is for the whole, and which it is, for metrics.
    pub(super) fn words(&self) -> Vec<(&'static str, bool)> {
        let word = self.word();
        WORDS.map(|one| (one, one == word)).to_vec()
    }

    /// The parts that are on, and whether each is well, for metrics.
    pub(super) fn all(&self) -> Vec<(&'static str, bool)> {
        self.found
            .iter()
            .filter_map(|(name, found)| Some((*name, found.well()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{CheckState, Checks};

    fn of(found: &[CheckState]) -> Checks {
        let mut checks = Checks::default();
        for (name, found) in ["a", "b", "c"].into_iter().zip(found) {
            checks.add(name, found.clone());
        }
        checks
    }

    #[test]
    fn the_whole_is_as_its_worst_part_and_what_is_off_or_only_told_is_no_part_of_it() {
        let (amiss, gone) = (
            CheckState::Amiss("x".to_owned()),
            CheckState::Gone("y".to_owned()),
        );
        let told = CheckState::Told("the last was refused".to_owned());
        for (found, word) in [
            (
                vec![CheckState::ok(), CheckState::Off("V"), told.clone()],
                "healthy",
            ),
            (
                vec![CheckState::ok(), amiss.clone(), told.clone()],
                "degraded",
            ),
            (
                vec![gone.clone(), amiss.clone(), CheckState::ok()],
                "unhealthy",
            ),
            (vec![amiss.clone(), gone, CheckState::Quiet], "unhealthy"),
        ] {
            let checks = of(&found);
            assert_eq!(checks.word(), word, "{found:?}");
            let said: Vec<_> = checks.words().into_iter().filter(|(_, is)| *is).collect();
            assert_eq!(said, [(word, true)], "{found:?}");
        }
        assert_eq!(
            of(&[CheckState::Off("V"), told, amiss]).all(),
            [("c", false)]
        );
        assert_eq!(of(&[CheckState::Quiet, CheckState::ok()]).body().len(), 1);
        let mut lowered = of(&[CheckState::ok()]);
        lowered.lower();
        assert_eq!(lowered.word(), "degraded");
    }
}
