//! Tests of the workers: what they report if a call panics, hangs, or its connection cannot be closed.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use super::*;
use crate::deadline::Ending;

const LONG: Duration = Duration::from_secs(60);

fn deadline() -> Deadline {
    Deadline::within(LONG, &Ending::default(), Duration::ZERO)
}

/// A connection that says when it is closed, and is closed only when that is allowed.
struct Slow {
    is_alive: bool,
    may_close: Receiver<()>,
    closed: Sender<()>,
}

impl Connected for Slow {
    fn is_alive(&self) -> bool {
        self.is_alive
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.may_close.recv();
        let _ = self.closed.send(());
    }
}

/// A pool whose first connection is slow to close, what allows that, and what says that it is closed.
fn slow_pool() -> (Pool<Slow, &'static str>, Sender<()>, Receiver<()>) {
    let (close, may_close) = channel();
    let (closed, is_closed) = channel();
    let once = Mutex::new(Some(Slow { is_alive: true, may_close, closed }));
    let open =
        move || once.lock().unwrap().take().ok_or_else(|| Error::of(Kind::Other, "opened before"));
    (Pool::new("test", open, |_| true), close, is_closed)
}

#[test]
fn a_worker_that_panics_reports_that_its_call_has_failed_and_goes_on_with_a_new_connection() {
    let (mut pool, close, is_closed) = slow_pool();
    pool.submit(CallId(1), Box::new(|_, _| panic!("as a defect of ours would")));
    let done = pool.wait(1, LONG, &deadline());
    let [Done { id: CallId(1), result: Err(error), is_last: true, .. }] = done.as_slice() else {
        panic!("it was not reported");
    };
    assert_eq!(error.to_string(), PANICKED);
    assert_eq!(pool.idle(), 1);
    // The next call waits until the connection is closed, and opens another.
    pool.submit(CallId(2), Box::new(|_, _| Ok("well")));
    close.send(()).unwrap();
    is_closed.recv_timeout(LONG).unwrap();
    let done = pool.wait(1, LONG, &deadline());
    let [Done { id: CallId(2), result: Err(error), .. }] = done.as_slice() else {
        panic!("it was not reported");
    };
    assert_eq!(error.to_string(), "opened before");
    assert_eq!(pool.workers.len(), 1);
}

#[test]
fn a_call_is_reported_before_its_broken_connection_is_closed() {
    let (mut pool, close, is_closed) = slow_pool();
    let breaks = |connection: &mut Slow, _: &CallReport<&'static str>| {
        connection.is_alive = false;
        Ok("its last answer")
    };
    pool.submit(CallId(1), Box::new(breaks));
    let done = pool.wait(1, LONG, &deadline());
    assert!(matches!(done.as_slice(), [Done { result: Ok("its last answer"), is_last: true, .. }]));
    assert!(is_closed.try_recv().is_err(), "it cannot be closed yet");
    close.send(()).unwrap();
    is_closed.recv_timeout(LONG).unwrap();
}

#[test]
fn a_connection_that_cannot_be_closed_is_left_behind_at_the_end() {
    let (mut pool, _close, is_closed) = slow_pool();
    pool.submit(CallId(1), Box::new(|_, _| Ok("well")));
    assert_eq!(pool.wait(1, LONG, &deadline()).len(), 1);
    let began = std::time::Instant::now();
    pool.close(Duration::from_millis(50));
    assert!(began.elapsed() < LONG / 2);
    assert!(is_closed.try_recv().is_err());
}

#[test]
fn the_end_waits_until_idle_connections_are_closed() {
    let (mut pool, close, is_closed) = slow_pool();
    close.send(()).unwrap();
    pool.submit(CallId(1), Box::new(|_, _| Ok("well")));
    assert_eq!(pool.wait(1, LONG, &deadline()).len(), 1);
    pool.close(LONG);
    assert_eq!(is_closed.try_recv(), Ok(()));
}

#[test]
fn a_call_that_does_not_come_back_is_left_behind_and_its_late_answer_is_dropped() {
    let (release, held) = channel::<()>();
    let mut caller: Caller<(), &str> = Caller::without_connection("test");
    caller.call(move |(), report| {
        report.hand_over("before");
        let _ = held.recv();
        Ok("too late")
    });
    assert!(matches!(caller.next(&deadline()), Some(Ok("before"))));
    let over = Deadline::within(Duration::ZERO, &Ending::default(), Duration::ZERO);
    assert!(caller.next(&over).is_none());
    caller.call(move |(), _| {
        release.send(()).map_err(|_| Error::of(Kind::Other, "nobody is held"))?;
        Ok("on another thread")
    });
    assert!(matches!(caller.next(&deadline()), Some(Ok("on another thread"))));
    assert!(caller.next(&deadline()).is_none(), "it is over");
}

#[test]
fn who_cannot_connect_is_told_why() {
    let open = || Err::<(), _>(Error::of(Kind::Other, "nobody is there"));
    let mut caller: Caller<(), ()> = Caller::new("test", open);
    caller.call(|(), _| Ok(()));
    let refused = caller.next(&deadline()).unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "nobody is there");
}

#[test]
fn calls_one_after_another_share_a_thread_and_one_that_is_stuck_keeps_its_own() {
    let thread = || answer_by("test", &deadline(), || thread::current().id()).unwrap().unwrap();
    // Other tests may take the spare thread in between.
    assert!((0..1000).any(|_| thread() == thread()), "each call has a new thread");
    let (free, stuck) = channel::<()>();
    let (tell, told) = channel();
    let soon = Deadline::within(Duration::from_millis(20), &Ending::default(), Duration::ZERO);
    let call = move || {
        let _ = tell.send(thread::current().id());
        stuck.recv()
    };
    assert!(answer_by("test", &soon, call).is_none());
    let stuck = told.recv_timeout(LONG).unwrap();
    assert!((0..100).all(|_| thread() != stuck));
    free.send(()).unwrap();
}
