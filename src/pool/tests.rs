//! Tests of the workers: what they report if a call panics, hangs, or its connection cannot be closed.

use std::sync::mpsc::channel;

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

/// A pool with numbered connections.
fn numbered() -> Pool<(), &'static str> {
    Pool::new("test", || Ok(()), |_| true)
}

#[test]
fn a_worker_that_panics_reports_that_its_call_has_failed_and_another_takes_its_place() {
    let mut pool = numbered();
    pool.submit(CallId(1), Box::new(|(), _| panic!("as a defect of ours would")));
    let done = pool.wait(1, LONG, &deadline());
    let [Done { id: CallId(1), result: Err(error), is_last: true, .. }] = done.as_slice() else {
        panic!("{done:?}");
    };
    assert!(error.to_string().contains("please report this"), "{error}");
    assert_eq!(pool.idle(), 1);
    // Its thread is gone, which nobody has noticed so far.
    pool.threads.wait_for(0, LONG);
    pool.submit(CallId(2), Box::new(|(), _| Ok("well")));
    let done = pool.wait(1, LONG, &deadline());
    assert!(matches!(done.as_slice(), [Done { id: CallId(2), result: Ok("well"), .. }]));
    assert_eq!(pool.workers.len(), 1);
}

#[test]
fn a_call_is_reported_before_its_broken_connection_is_closed() {
    let (close, may_close) = channel();
    let (closed, is_closed) = channel();
    let once = Mutex::new(Some(Slow { is_alive: true, may_close, closed }));
    let open =
        move || once.lock().unwrap().take().ok_or_else(|| Error::of(Kind::Other, "opened before"));
    let mut pool: Pool<Slow, &str> = Pool::new("test", open, |_| true);
    let breaks = |connection: &mut Slow, _: &Report<&'static str>| {
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
    let (_close, may_close) = channel();
    let (closed, is_closed) = channel();
    let once = Mutex::new(Some(Slow { is_alive: true, may_close, closed }));
    let open =
        move || once.lock().unwrap().take().ok_or_else(|| Error::of(Kind::Other, "opened before"));
    let mut pool: Pool<Slow, ()> = Pool::new("test", open, |()| true);
    pool.submit(CallId(1), Box::new(|_, _| Ok(())));
    assert_eq!(pool.wait(1, LONG, &deadline()).len(), 1);
    let began = std::time::Instant::now();
    pool.close(Duration::from_millis(50));
    assert!(began.elapsed() < LONG / 2);
    assert!(is_closed.try_recv().is_err());
}

#[test]
fn the_end_waits_until_idle_connections_are_closed() {
    let (close, may_close) = channel();
    let (closed, is_closed) = channel();
    close.send(()).unwrap();
    let once = Mutex::new(Some(Slow { is_alive: true, may_close, closed }));
    let open =
        move || once.lock().unwrap().take().ok_or_else(|| Error::of(Kind::Other, "opened before"));
    let mut pool: Pool<Slow, ()> = Pool::new("test", open, |()| true);
    pool.submit(CallId(1), Box::new(|_, _| Ok(())));
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
