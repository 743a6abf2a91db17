//! How many callers were seen within an hour: an estimate in two kilobytes (HyperLogLog), and a
//! sample of what they were told.
//!
//! A level over callers is no level over requests: with few or uneven callers the two differ widely
//! and lawfully, so the sample is worked out again instead. Runs on the path of other people's
//! requests: must not allocate or lock.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use crate::domain::level::Level;

/// Registers of one byte; the standard error is 1.04 / sqrt of that, 2.3 %.
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a point that choose a register.
const INDEX_BITS: u32 = 11;
/// The other bits.
const RANK_BITS: usize = 32 - INDEX_BITS as usize;
/// Verdicts that are kept.
const SAMPLE: usize = 64;

/// Callers of one throttle in one hour, by their points, which are spread evenly and are others in
/// the next hour.
#[derive(Debug)]
pub struct Callers {
    hour: AtomicI64,
    registers: [AtomicU8; REGISTERS],
}

impl Default for Callers {
    fn default() -> Self {
        Self {
            hour: AtomicI64::new(i64::MIN),
            registers: std::array::from_fn(|_| AtomicU8::new(0)),
        }
    }
}

impl Callers {
    /// Takes a caller into account. The first one of another hour forgets those before; a few that
    /// come at that very moment may be lost, and are back with their next request.
    #[inline]
    pub fn saw(&self, hour: i64, point: u32) {
        let known = self.hour.load(Ordering::Relaxed);
        if known != hour
            && self
                .hour
                .compare_exchange(known, hour, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.registers
                .iter()
                .for_each(|register| register.store(0, Ordering::Relaxed));
        }
        let index = (point >> RANK_BITS) as usize;
        let rest = point << INDEX_BITS | 1 << (INDEX_BITS - 1); // the last bit ends the count
        let rank = rest.leading_zeros() as u8 + 1;
        if let Some(register) = self.registers.get(index)
            && register.load(Ordering::Relaxed) < rank
        {
            register.fetch_max(rank, Ordering::Relaxed);
        }
    }

    /// About how many there were in this hour: exact to one for a handful, to some percent for
    /// many.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a register counts to 22, and there are 2,048"
    )]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of at most 2^32, rounded"
    )]
    pub fn seen(&self, hour: i64) -> u64 {
        if self.hour.load(Ordering::Relaxed) != hour {
            return 0;
        }
        let mut of_rank = [0_u32; RANK_BITS + 2];
        for register in &self.registers {
            if let Some(count) = of_rank.get_mut(usize::from(register.load(Ordering::Relaxed))) {
                *count += 1;
            }
        }
        // Ertl's estimator: as good for few as for many, without tables and without a seam.
        let registers = REGISTERS as f64;
        let share = |count: u32| f64::from(count) / registers;
        let mut sum = registers * tau(1.0 - share(of_rank[RANK_BITS + 1]));
        for count in of_rank[1..=RANK_BITS].iter().rev() {
            sum = f64::midpoint(sum, f64::from(*count));
        }
        sum += registers * sigma(share(of_rank[0]));
        (registers * registers / (2.0 * std::f64::consts::LN_2 * sum)).round() as u64
    }
}

/// What registers that nobody came to are worth.
fn sigma(mut share: f64) -> f64 {
    let (mut weight, mut sum) = (1.0, share);
    if share >= 1.0 {
        return f64::INFINITY;
    }
    loop {
        share *= share;
        let before = sum;
        sum += share * weight;
        weight += weight;
        if sum <= before {
            return sum;
        }
    }
}

/// What registers that are full are worth.
fn tau(mut share: f64) -> f64 {
    let (mut weight, mut sum) = (1.0, 1.0 - share);
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    loop {
        share = share.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - share).powi(2) * weight;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

/// The last verdicts on callers with a key: who, under which rule, and whether admitted.
#[derive(Debug)]
pub struct Sample([AtomicU64; SAMPLE]);

impl Default for Sample {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(EMPTY)))
    }
}

/// No verdict: a caller at the far end is refused by nothing less than a full stop, and no rule has
/// this number.
const EMPTY: u64 = u64::MAX;

impl Sample {
    /// Keeps a verdict, the `number`th of its kind, given under the rule that was changed so often.
    #[inline]
    pub fn keep(&self, number: u64, point: u32, changes: u64, admitted: bool) {
        let place = usize::try_from(number % SAMPLE as u64).unwrap_or(0);
        if let Some(kept) = self.0.get(place) {
            let verdict = u64::from(point) << 32 | u64::from(admitted) << 31 | changes & RULE;
            kept.store(verdict, Ordering::Relaxed);
        }
    }

    /// Whether a verdict that was given under the rule now in force is another one than its level
    /// gives. One is enough: what a caller is told is no matter of chance.
    pub fn contradicts(&self, in_force: Level, changes: u64) -> bool {
        let kept = self.0.iter().map(|kept| kept.load(Ordering::Relaxed));
        let mut of_rule =
            kept.filter(|verdict| *verdict != EMPTY && verdict & RULE == changes & RULE);
        of_rule.any(|verdict| {
            let admitted = verdict >> 31 & 1 == 1;
            admitted != (verdict >> 32 >= in_force.refusal_q32())
        })
    }
}

/// The bits of a kept verdict that tell its rule; it takes 2^31 changes until two are taken for
/// one.
const RULE: u64 = (1 << 31) - 1;
