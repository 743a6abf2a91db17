//! A file that does not answer, as on a mount that hangs: it is given up, one at a time, and heard
//! once it answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echo_phoenix::config::files::PatientReader;

use crate::support::eventually;

#[tokio::test]
async fn a_read_that_hangs_is_given_up_one_at_a_time_and_heard_once_it_answers() {
    let (answer, answers) = sync_channel::<&str>(8);
    let (answers, begun) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&begun);
    let reader = PatientReader::new(Duration::from_millis(50), move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(answers.lock().unwrap().recv().unwrap().as_bytes().to_vec())
    });
    for _ in 0..20 {
        assert_eq!(reader.read().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert_eq!(
        begun.load(Ordering::SeqCst),
        1,
        "no other read is begun while one lasts"
    );
    // The mount is there again: what the first read brings is old, so it is read anew.
    answer.send("old").unwrap();
    let text = eventually("it is heard", Duration::from_secs(20), async || {
        let _ = answer.try_send("new");
        reader.read_text().ok()
    })
    .await;
    assert_eq!(text, "new");
    assert_eq!(begun.load(Ordering::SeqCst), 2);
}

#[test]
fn a_read_that_breaks_is_told_and_the_next_one_goes_on() {
    let begun = AtomicUsize::new(0);
    let reader = PatientReader::new(Duration::from_secs(20), move || {
        assert!(
            begun.fetch_add(1, Ordering::SeqCst) > 0,
            "the first one breaks"
        );
        Ok(b"\xe9".to_vec())
    });
    assert_eq!(
        reader.read().unwrap_err().to_string(),
        "reading it broke off"
    );
    assert_eq!(
        reader.read_text().unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}
