//! A ledger that cannot be opened yet, of a backend that is not the program's own.

use echo_phoenix::ports::{Ledger, LedgerError, LedgerUpkeep};
use echo_phoenix::store::{AtStart, StandbyLedger};

use super::Backend;
use super::memory::Memory;
use super::values::*;

#[tokio::test]
async fn what_is_not_open_yet_takes_nothing_and_says_what_it_has() {
    let place = Memory::default();
    let before = place.open();
    let command = record("control");
    let change = echo_phoenix::domain::audit::Change::of(command.clone());
    before.commit(change).await.unwrap();
    before.commit(opening("i1")).await.unwrap();
    place.open_from_now_on(false);
    let (ledger, found) = StandbyLedger::start(place.clone(), at(60), false)
        .await
        .unwrap();
    assert!(matches!(found, AtStart::ReadOnly(..)), "{found:?}");
    assert!(ledger.ledger().is_err() && ledger.can_close());
    for answer in [
        ledger.commit(entry("early")).await.map(drop),
        ledger.heads().await.map(drop),
    ] {
        assert!(matches!(answer, Err(LedgerError::Unavailable(_))));
    }
    assert!(ledger.has(&command.once).await.unwrap());
    assert_eq!(ledger.lacks(&[]).await.unwrap(), 0);

    place.open_from_now_on(true);
    let known = ledger.try_open(at(61)).await.unwrap();
    assert_eq!(known.stored.holds, []);
    assert_eq!(
        ledger.commit(entry("now")).await.unwrap().audit,
        [4],
        "behind the outcome of what was left open"
    );
    ledger.close();
    assert!(ledger.commit(entry("late")).await.is_err());
}
