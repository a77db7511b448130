//! One list of the guests at a time, among workers that list them for their handles.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a worker waits until another has listed the guests. Then it looks its guests up.
const LIST_TURN: Duration = Duration::from_millis(100);

/// Who may list the guests for their handles: one at a time, since one list may wait for any guest.
#[derive(Clone, Default)]
pub(super) struct ListPermit(Arc<(Mutex<bool>, Condvar)>);

impl ListPermit {
    /// Waits for its turn; `None` where that takes too long.
    pub(super) fn take(&self) -> Option<HeldPermit<'_>> {
        let (taken, changed) = &*self.0;
        let guard = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, LIST_TURN, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *taken {
            return None;
        }
        *taken = true;
        Some(HeldPermit(self))
    }
}

/// A turn, until it is dropped.
pub(super) struct HeldPermit<'a>(&'a ListPermit);

impl Drop for HeldPermit<'_> {
    fn drop(&mut self) {
        let (taken, changed) = &*self.0.0;
        *taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        changed.notify_one();
    }
}
