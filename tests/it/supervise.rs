//! The supervisor: what is vital ends the process with a reason, anything else is started again;
//! stages end last first.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echo_phoenix::run::supervise::{ShutdownSignals, Supervisor};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn a_task_that_is_not_vital_is_started_again_and_a_vital_one_ends_all_with_its_name() {
    let mut supervisor = Supervisor::default();
    supervisor.stage();
    let starts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&starts);
    supervisor.keep_up("fragile", move |stop| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match number {
                0 => panic!("made up"),
                1 => {} // ends
                _ => stop.cancelled().await,
            }
        }
    });
    let vital = async move {
        while starts.load(Ordering::SeqCst) < 3 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    supervisor.start("vital", vital);
    let ended = timeout(
        Duration::from_secs(20),
        supervisor.run(ShutdownSignals::listen().unwrap()),
    )
    .await
    .expect("it ends in time");
    let reason = ended.unwrap_err().to_string();
    assert!(reason.contains("task vital ended"), "{reason}");
}

#[tokio::test]
async fn a_vital_panic_is_an_end_and_what_started_last_ends_first() {
    let mut supervisor = Supervisor::default();
    let order = Arc::new(Mutex::new(Vec::new()));
    for name in ["ledger", "loop", "listener"] {
        let (stop, order) = (supervisor.stage(), Arc::clone(&order));
        supervisor.start(name, async move {
            stop.cancelled().await;
            sleep(Duration::from_millis(30)).await;
            order.lock().unwrap().push(name);
        });
    }
    supervisor.start("broken", async { panic!("made up") });
    let reason = supervisor
        .run(ShutdownSignals::listen().unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(reason.contains("a task failed"), "{reason}");
    assert_eq!(*order.lock().unwrap(), ["listener", "loop", "ledger"]);
}
