//! A rest: whatever happened, once disks are well and time has passed, everybody agrees, and
//! nothing more changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echo_phoenix::decide::precedence::most_restrictive as asked_for;
use echo_phoenix::domain::hold::ScopedHold;
use echo_phoenix::domain::remote::is_sender;
use echo_phoenix::domain::throttle::{Declared, Mode};
use echo_phoenix::ports::{Desired, Journal, Ledger, Stored};
use echo_phoenix::store::LEDGER_FILE;
use tokio::time::{sleep, timeout};

use crate::life::Life;
use crate::oracle::{Asked, Became, Shared, What};
use crate::outside::Outside;

/// How long a command goes on by itself, once all is well, and the longest that its client waits.
const COMMANDS: Duration = Duration::from_secs(12);
const ANSWERED: u64 = 40;
/// A ramp over the whole dial, and what is waited for before it.
const RAMP: u64 = 150;

/// How long settling may take where nothing is lacking.
const SETTLED: Duration = Duration::from_secs(60);
/// How often the last state is looked at.
const LAST_STATE: Duration = Duration::from_secs(6);

/// What there is, wherever it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agreed {
    /// Of each throttle: the level in force, and the kills at the gate.
    gate: BTreeMap<String, (f64, BTreeSet<String>)>,
    /// Level, generation, and all holds.
    declared: BTreeMap<String, (f64, i64, BTreeSet<String>)>,
    /// Holds of the ledger that have not ended.
    ledger: BTreeSet<String>,
    /// Levels of the ledger, declared and in force.
    rows: BTreeMap<String, (f64, f64, i64)>,
}

impl Agreed {
    /// What there is now.
    pub(crate) async fn of(life: &Life) -> Result<Self, String> {
        let stored = life
            .channel
            .ledger
            .stored()
            .await
            .map_err(|error| error.to_string())?;
        let kills = |holds: &[echo_phoenix::domain::hold::Epoch]| {
            holds.iter().map(|epoch| epoch.0.clone()).collect()
        };
        let gate = life.gate.standings().into_iter();
        let gate = gate
            .map(|one| {
                (
                    one.name.to_string(),
                    (one.level.fraction(), kills(&one.holds)),
                )
            })
            .collect();
        let declared = life.desired.declared().into_iter();
        let declared = declared.map(|one| {
            let holds = one.holds.iter().map(|hold| hold.epoch.0.clone()).collect();
            (
                one.name.to_string(),
                (one.level.fraction(), one.generation, holds),
            )
        });
        let rows = stored.throttles.iter();
        let rows = rows.map(|row| {
            (
                row.name.to_string(),
                (
                    row.declared.fraction(),
                    row.effective.fraction(),
                    row.generation,
                ),
            )
        });
        Ok(Self {
            gate,
            declared: declared.collect(),
            ledger: stored
                .holds
                .iter()
                .map(|held| held.hold.epoch.0.clone())
                .collect(),
            rows: rows.collect(),
        })
    }

    /// Whether two are the same.
    ///
    /// # Errors
    /// Both, where they differ.
    pub(crate) fn same_as(&self, other: &Self) -> Result<(), String> {
        if self == other {
            Ok(())
        } else {
            Err(format!("{self:?} became {other:?}"))
        }
    }
}

/// Waits until all agree, and settles twice more.
///
/// # Errors
/// What does not agree.
pub(crate) async fn rest(
    life: &Life,
    oracle: &Shared,
    outside: &Outside,
) -> Result<Agreed, String> {
    sleep(COMMANDS).await;
    let mut waited = 0;
    while oracle.lock().waits_in_vain() {
        if waited > ANSWERED {
            return Err("a command is not answered, and every disk is well".to_owned());
        }
        waited += 1;
        sleep(Duration::from_secs(1)).await;
    }
    waited = 0;
    while let Some(apart) = apart(life).await? {
        if waited > RAMP {
            return Err(format!("at rest {apart}"));
        }
        waited += 1;
        sleep(Duration::from_secs(1)).await;
    }
    let told = audit(outside)?;
    said(&oracle.lock().asked, &told)?;
    let before = Agreed::of(life).await?;
    for _ in 0..2 {
        let settled = timeout(SETTLED, life.latch.retry_pending()).await;
        settled.map_err(|_| "settling does not end, and nothing is lacking".to_owned())?;
    }
    sleep(Duration::from_millis(10)).await;
    before
        .same_as(&Agreed::of(life).await?)
        .map_err(|wrong| format!("settling again changed something: {wrong}"))?;
    // The last state is written when the gate changes, and then again by so much.
    sleep(LAST_STATE).await;
    let again = audit(outside)?;
    if again.len() != told.len() {
        return Err(format!("settling again wrote {:?}", &again[told.len()..]));
    }
    Ok(before)
}

/// What does not agree yet.
async fn apart(life: &Life) -> Result<Option<String>, String> {
    let lacking = life.latch.lacking();
    if lacking != echo_phoenix::latch::Lacking::default() {
        return Ok(Some(format!("the ledger lacks commands: {lacking:?}")));
    }
    let left: Vec<_> = life
        .journal
        .pending()
        .into_iter()
        .map(|entry| entry.record.once)
        .collect();
    if !left.is_empty() {
        return Ok(Some(format!("the journal is not empty: {left:?}")));
    }
    if !life.manifest.taken() {
        return Ok(Some("the ledger lacks the manifest".to_owned()));
    }
    let stored = life
        .channel
        .ledger
        .stored()
        .await
        .map_err(|error| error.to_string())?;
    for declared in life.desired.declared() {
        if let Some(apart) = throttle_apart(life, &stored, &declared) {
            return Ok(Some(apart));
        }
    }
    Ok(site_apart(life))
}

/// In what gate and ledger differ from what is declared of a throttle.
fn throttle_apart(life: &Life, stored: &Stored, declared: &Declared) -> Option<String> {
    let name = &declared.name;
    let Some(standing) = life.gate.standing(name) else {
        return Some(format!("the gate does not know {name}"));
    };
    let gate: BTreeSet<_> = standing.holds.iter().collect();
    let kills: BTreeSet<_> = declared
        .holds
        .iter()
        .filter(|h| h.is_kill())
        .map(|hold| &hold.epoch)
        .collect();
    if gate != kills {
        return Some(format!(
            "{name}: the gate holds {gate:?}, and declared are {kills:?}"
        ));
    }
    let covers = |held: &&ScopedHold| held.scope.covers(name);
    let ledger: BTreeSet<_> = stored
        .holds
        .iter()
        .filter(covers)
        .map(|held| &held.hold.epoch)
        .collect();
    let holds: BTreeSet<_> = declared.holds.iter().map(|hold| &hold.epoch).collect();
    if ledger != holds {
        return Some(format!(
            "{name}: the ledger holds {ledger:?}, and declared are {holds:?}"
        ));
    }
    let Some(row) = stored.throttles.iter().find(|row| row.name == *name) else {
        return Some(format!("the ledger does not know {name}"));
    };
    if (row.declared, row.generation) != (declared.level, declared.generation) {
        let (level, generation) = (declared.level, declared.generation);
        return Some(format!(
            "{name}: the ledger has {row:?}, and declared is {level} of {generation}"
        ));
    }
    let wanted = asked_for(declared.level, Mode::Enforce, &declared.holds).level;
    if standing.level != wanted || row.effective != wanted {
        let (level, effective) = (standing.level, row.effective);
        return Some(format!(
            "{name} is at {level}, recorded as {effective}, and asked for is {wanted}"
        ));
    }
    if life.manifest.is_free() && declared.holds.iter().any(|hold| hold.epoch.0.contains('@')) {
        return Some(format!(
            "{name}: a kill of the manifest holds that its file has no more"
        ));
    }
    None
}

/// In what another site differs from what `shop` asks for.
fn site_apart(life: &Life) -> Option<String> {
    let Some(shop) = life.declared("shop") else {
        return Some("there is no shop".to_owned());
    };
    let (level, killed) = life.site.is();
    let wanted = asked_for(shop.level, Mode::Enforce, &shop.holds);
    // Another site's kill alone is not passed on, and opens nothing there.
    let sends = shop
        .holds
        .iter()
        .any(|hold| hold.is_kill() && !is_sender(&hold.operator));
    let agrees = if wanted.killed {
        killed || !sends
    } else {
        !killed && level == wanted.level
    };
    (!agrees).then(|| {
        format!("another site is at {level}, killed: {killed}, and shop asks for {wanted:?}")
    })
}

/// One entry of the audit log.
#[derive(Debug)]
struct Entry {
    seq: i64,
    request: String,
    action: String,
}

fn audit(outside: &Outside) -> Result<Vec<Entry>, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn =
        rusqlite::Connection::open_with_flags(outside.folder.path().join(LEDGER_FILE), flags)
            .map_err(text)?;
    let mut rows = conn
        .prepare("SELECT seq, request_id, action FROM audit_log ORDER BY seq")
        .map_err(text)?;
    let rows = rows.query_map([], |row| {
        Ok(Entry {
            seq: row.get(0)?,
            request: row.get(1)?,
            action: row.get(2)?,
        })
    });
    rows.map_err(text)?.collect::<Result<_, _>>().map_err(text)
}

/// Whether the audit log says once what was done, and not what was refused; and what opens behind
/// all that was before and is about the same.
fn said(asked: &[Asked], log: &[Entry]) -> Result<(), String> {
    let mut seqs: Vec<(&Asked, i64)> = Vec::new();
    for one in asked {
        let action = match one.what {
            What::Kill(_) => "kill",
            What::Revive(..) => "revive",
            What::Control { .. } => "control",
            What::Unconfirmed => "kill_refused",
        };
        let entries: Vec<_> = log
            .iter()
            .filter(|entry| entry.request == one.id && entry.action == action)
            .collect();
        let replayed = one.told.as_ref().is_some_and(|told| told.replayed);
        let (least, most) = match one.became() {
            _ if replayed => (0, 0),
            Became::Done if one.resent || one.moved_nothing() => (0, 1),
            Became::Done => (1, 1),
            Became::Unknown => (0, 1),
            // A refusal without a change of the record; what was refused and audited has another
            // word.
            Became::Nothing if one.what == What::Unconfirmed => (usize::from(!one.outlived), 1),
            Became::Nothing => (0, 0),
        };
        if !(least..=most).contains(&entries.len()) {
            return Err(format!(
                "the audit log has {} entries of {one:?}",
                entries.len()
            ));
        }
        if let (Some(entry), Some(_)) = (entries.first(), &one.told) {
            seqs.push((one, entry.seq));
        }
    }
    // Quadratic, over the commands since the last rest.
    for (opening, seq) in seqs.iter().filter(|(one, _)| one.opens()) {
        let before =
            |one: &Asked| one.done.is_some_and(|done| done < opening.sent) && one.meets(opening);
        let behind = seqs.iter().find(|(one, of)| of > seq && before(one));
        if let Some((one, _)) = behind {
            return Err(format!(
                "the audit log has {opening:?} before {one:?}, which was answered before it came"
            ));
        }
    }
    Ok(())
}
