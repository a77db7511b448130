//! Which tests of a program may run at the same time: all that have a lab, or one that measures times or
//! load.

use std::cell::Cell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURNS: RwLock<()> = RwLock::new(());

thread_local! {
    static HAS_ONE: Cell<bool> = const { Cell::new(false) };
}

/// The right to run, until it is dropped.
pub struct Turn {
    _guard: Guard,
}

enum Guard {
    Alone { _guard: RwLockWriteGuard<'static, ()> },
    Beside { _guard: RwLockReadGuard<'static, ()> },
}

impl Turn {
    /// Waits until no test with a lab runs; none begins while this is kept.
    pub fn alone() -> Turn {
        // A test that failed has ended all the same.
        let guard = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        HAS_ONE.set(true);
        Turn { _guard: Guard::Alone { _guard: guard } }
    }

    /// Waits until no test runs that must be alone. None if this thread's test has a turn already, since
    /// to wait for a second one could be for ever.
    pub fn beside_others() -> Option<Turn> {
        if HAS_ONE.get() {
            return None;
        }
        let guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        HAS_ONE.set(true);
        Some(Turn { _guard: Guard::Beside { _guard: guard } })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HAS_ONE.set(false);
    }
}
