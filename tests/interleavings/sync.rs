//! `crate::sync` of the sources under test: the same names as in src/sync.rs, all of which ask
//! shuttle who goes on.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

pub(crate) use shuttle::future::spawn;
pub(crate) use shuttle::sync::{MutexGuard, atomic, mpsc};
pub(crate) use shuttle::thread;

/// Looks at what is waited for, before a limit that ends is over.
const LOOKS: u8 = 6;

/// A lock that no panic poisons, as parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pointer that is swapped whole: what is loaded stays as it was.
#[derive(Default)]
pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock())
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        *self.0.lock() = value;
    }
}

/// A limit that was over.
#[derive(Debug)]
pub(crate) struct Elapsed;

thread_local! {
    /// Of one order, which goes on one thread.
    static NO_LIMIT_ENDS: Cell<bool> = const { Cell::new(true) };
}

/// Whether everything is waited for as long as it takes.
pub(crate) fn no_limit_ends(holds: bool) {
    NO_LIMIT_ENDS.set(holds);
}

/// Waits for something, or for a limit that one in eight times is over while something is still to
/// be waited for.
pub(crate) async fn timeout<F: Future>(_limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let ends = !NO_LIMIT_ENDS.get() && thread_rng().gen_ratio(1, 8);
    let mut looks = ends.then(|| thread_rng().gen_range(0..LOOKS));
    let waiting = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => {
            let Some(left) = &mut looks else {
                return Poll::Pending;
            };
            let Some(fewer) = left.checked_sub(1) else {
                return Poll::Ready(Err(Elapsed));
            };
            *left = fewer;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    waiting.await
}

/// Waits for nothing, and may be left there. Unlike a yield it does not put whoever goes on first
/// behind all others.
pub(crate) async fn others_may_go_on() {
    let mut waited = false;
    let waiting = poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    waiting.await;
}

/// Lets others go on first.
pub(crate) async fn sleep(_time: Duration) {
    shuttle::future::yield_now().await;
}
