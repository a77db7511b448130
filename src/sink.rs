//! Standard output: whole lines into a file or a pipe, also when it fails.
//!
//! Into a file a collection is one write under a lock, and one that comes up short is cut back to
//! whole lines. Into a pipe it goes in pieces of whole lines that the kernel takes whole (PIPE_BUF),
//! so that neither our end nor another writer leaves half a line in between.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{dup2_stderr, dup2_stdout};

use crate::cache::{self, CacheDir};
use crate::deadline::Deadline;
use crate::libvirt;
use crate::pool::{Caller, answer_by};

/// What a pipe takes whole: PIPE_BUF on Linux.
const PIECE: usize = 4096;
/// Nobody waits longer at once.
const LONGEST_POLL: Duration = Duration::from_secs(60);
/// How long another run may hold the file's lock before it is not waited for any more.
const LOCK_MAX: Duration = Duration::from_millis(500);
/// The lock in the cache's folder.
const LOCK_NAME: &str = "output.lock";
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// How often to look whether the reader has taken the last lines.
const UNREAD_PAUSE: Duration = Duration::from_millis(2);
/// How long the process outlives its streams: enough for a reader that runs to see their end.
const LINGER: Duration = Duration::from_millis(50);

/// Said where the program has no standard output.
pub const CLOSED: &str = "standard output is closed: nothing can be written";

/// Prints a text that is no line protocol, such as the help. A reader that went away is no error.
///
/// # Errors
/// What is to be told where it cannot be written.
pub fn print(text: &str) -> Result<(), String> {
    if libvirt::stdout_was_closed() {
        return Err(CLOSED.to_owned());
    }
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Where the lines go.
pub struct Sink(Output);

enum Output {
    /// A plain file, with the lock that overlapping runs share.
    File(File, OutputLock),
    /// A pipe, socket, terminal or device.
    Stream(File),
}

/// Why lines did not get out.
#[derive(Debug, PartialEq, Eq)]
pub enum SinkError {
    /// Nobody reads any more: no error, the program ends.
    Gone,
    /// The reader stalls, and the time is over.
    Stalled,
    /// The write failed; the file was cut back to whole lines.
    Failed(Errno),
}

impl fmt::Display for SinkError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => formatter.write_str("nobody reads standard output any more"),
            Self::Stalled => formatter.write_str(
                "the reader of standard output has stopped reading: lines of this collection are \
                 lost",
            ),
            Self::Failed(errno) => write!(
                formatter,
                "cannot write to standard output: {}: lines of this collection are lost",
                errno.desc()
            ),
        }
    }
}

impl std::error::Error for SinkError {}

impl Sink {
    /// The process's standard output.
    ///
    /// # Errors
    /// Where it is closed.
    pub fn stdout() -> Result<Self, SinkError> {
        Self::new(std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?)
    }

    /// Lines into this file, pipe, socket, terminal or device.
    ///
    /// # Errors
    /// Where it cannot even be looked at.
    pub fn new(output: OwnedFd) -> Result<Self, SinkError> {
        let file = File::from(output);
        let is_plain = file.metadata().map_err(|error| failed(&error))?.is_file();
        Ok(Self(if is_plain {
            Output::File(file, OutputLock::new())
        } else {
            Output::Stream(file)
        }))
    }

    /// Shares a lock in this folder with other runs that write into a file.
    pub fn lock_in(&mut self, folder: Option<CacheDir>) {
        if let Output::File(_, lock) = &mut self.0 {
            lock.folder = folder;
        }
    }

    /// Writes whole lines, each with its newline; returns when all are out.
    ///
    /// # Errors
    /// [`SinkError`]; lines that were not written then are lost.
    pub fn write(&mut self, lines: &[u8], deadline: &Deadline) -> Result<(), SinkError> {
        if lines.is_empty() {
            return Ok(());
        }
        match &mut self.0 {
            Output::Stream(stream) => write_stream(stream, lines, deadline),
            Output::File(file, lock) => write_file(file, lines, lock, deadline),
        }
    }

    /// Waits until the reader has drained the pipe, closes standard output and standard error, and lingers a
    /// moment.
    ///
    /// Telegraf's execd waits for its child on one thread and reads from it on another, and closes
    /// the pipe when the child is gone: what is unread then is lost.
    pub fn finish(self, deadline: &Deadline) {
        let Output::Stream(stream) = self.0 else { return };
        if !stream.metadata().is_ok_and(|seen| seen.file_type().is_fifo()) {
            return;
        }
        while rustix::io::ioctl_fionread(&stream).is_ok_and(|unread| unread > 0)
            && !deadline.is_over()
            && has_reader(&stream)
        {
            std::thread::sleep(UNREAD_PAUSE);
        }
        let Ok(nothing) = File::options().write(true).open("/dev/null") else { return };
        drop(stream);
        let closed = dup2_stdout(&nothing).and_then(|()| dup2_stderr(&nothing));
        if closed.is_ok() {
            std::thread::sleep(LINGER);
        }
    }
}

fn has_reader(stream: &File) -> bool {
    let mut asked = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let is_polled = poll(&mut asked, PollTimeout::ZERO).is_ok();
    let [answer] = asked;
    is_polled && !answer.revents().is_some_and(|seen| seen.contains(PollFlags::POLLERR))
}

fn write_stream(mut stream: &File, lines: &[u8], deadline: &Deadline) -> Result<(), SinkError> {
    let mut rest = lines;
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at(piece_length(rest));
        while !piece.is_empty() {
            wait_for_room(stream, deadline)?;
            match stream.write(piece) {
                Ok(written) => piece = piece.get(written..).unwrap_or_default(),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock => {}
                    _ => return Err(failed(&error)),
                },
            }
        }
        rest = after;
    }
    Ok(())
}

/// Waits until the reader has taken something, or is gone, which the write then reports.
fn wait_for_room(stream: &File, deadline: &Deadline) -> Result<(), SinkError> {
    let mut most = Duration::ZERO;
    loop {
        // What becomes readable when the end is ordered cuts the wait short, so that it gets a new time.
        let end = if most.is_zero() { None } else { deadline.readable().ok().flatten() };
        let mut asked = vec![PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
        asked.extend(end.as_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(deadline.left(most)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut asked, timeout) {
            Ok(_) if asked.first().and_then(PollFd::any).unwrap_or(false) => return Ok(()),
            Ok(_) if deadline.is_over() => return Err(SinkError::Stalled),
            Ok(_) | Err(Errno::EINTR) => most = LONGEST_POLL,
            Err(errno) => return Err(SinkError::Failed(errno)),
        }
    }
}

/// As many whole lines as a pipe takes whole; one line alone where it is longer than that.
fn piece_length(lines: &[u8]) -> usize {
    let newline = |byte: &u8| *byte == b'\n';
    if lines.len() <= PIECE {
        return lines.len();
    }
    let (window, _) = lines.split_at(PIECE);
    let end = match window.iter().rposition(newline) {
        Some(last) => Some(last),
        None => lines.iter().position(newline),
    };
    end.map_or(lines.len(), |end| end + 1)
}

/// Writes into a file, on a thread that can be left behind: a mount that is gone lets nothing come back. As for a
/// reader that stalls, only the order to end ends the wait.
fn write_file(
    file: &File,
    lines: &[u8],
    lock: &mut OutputLock,
    deadline: &Deadline,
) -> Result<(), SinkError> {
    // One write goes out whole without a lock, nearly always.
    let held = lock.take(file, deadline);
    let (file, lines) = (file.try_clone().map_err(|error| failed(&error))?, lines.to_vec());
    let write = move || {
        let written = write_whole(&file, &lines);
        drop(held);
        written
    };
    match answer_by("output", deadline, write) {
        Some(Ok(written)) => written,
        Some(Err(_)) => Err(SinkError::Failed(Errno::EAGAIN)),
        None => Err(SinkError::Stalled),
    }
}

fn write_whole(mut file: &File, lines: &[u8]) -> Result<(), SinkError> {
    loop {
        match file.write(lines) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(written) if written == lines.len() => return Ok(()),
            // The disk is full, or the file may grow no further.
            Ok(written) => {
                cut_back(file, lines, written);
                return Err(SinkError::Failed(Errno::ENOSPC));
            }
            Err(error) => return Err(failed(&error)),
        }
    }
}

/// Cuts the file back to the whole lines of what was written of them.
fn cut_back(mut file: &File, lines: &[u8], written: usize) {
    let part = lines.get(..written).unwrap_or(lines);
    let whole = part.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let Ok(end) = file.stream_position() else { return };
    let Some(cut) = end.checked_sub((written - whole) as u64) else { return };
    // Whoever appended behind us without the lock keeps what he wrote.
    if file.metadata().is_ok_and(|seen| seen.len() == end) && file.set_len(cut).is_ok() {
        let _ = file.seek(SeekFrom::Start(cut));
    }
}

/// The lock that overlapping runs share. A file system may have no locks, somebody may hold this one for ever,
/// and where its mount is gone neither to take it nor to let it go comes back: both are done on a thread of its
/// own, which can be left behind.
struct OutputLock {
    /// Where it is. Whoever may read the output could hold that file's own lock, and slow each run by it.
    folder: Option<CacheDir>,
    holder: Caller<(), ()>,
}

/// Holds the lock until it is dropped.
struct HeldLock {
    _end: Sender<()>,
}

impl OutputLock {
    fn new() -> Self {
        Self { folder: None, holder: Caller::without_connection("lock") }
    }

    /// Takes the lock, if it can be had soon.
    fn take(&mut self, file: &File, deadline: &Deadline) -> Option<HeldLock> {
        let until = deadline.at_most(LOCK_MAX);
        while self.holder.next(&until).is_some() {}
        if self.holder.is_waiting() {
            // The last one still hangs, and another thread would hang as well.
            return None;
        }
        let (_end, ended) = mpsc::channel();
        let (file, folder, by) = (file.try_clone().ok()?, self.folder.clone(), until.clone());
        self.holder.call(move |(), report| {
            let lock = match folder {
                Some(folder) => folder.lock(LOCK_NAME).map(TakenLock::InFolder).ok(),
                None => lock_file(file, &by),
            };
            report.hand_over(());
            // Until the other end is dropped, which it is by now if this came too late.
            let _ = ended.recv();
            drop(lock);
            Ok(())
        });
        self.holder.next(&until)?.ok()?;
        Some(HeldLock { _end })
    }
}

enum TakenLock {
    /// In the cache's folder.
    InFolder(#[expect(dead_code, reason = "it is held until it is dropped")] cache::Lock),
    /// The file's own.
    Own(File),
}

impl Drop for TakenLock {
    fn drop(&mut self) {
        if let Self::Own(file) = self {
            // Closing would not unlock it: this is one of several handles.
            let _ = file.unlock();
        }
    }
}

fn lock_file(file: File, until: &Deadline) -> Option<TakenLock> {
    loop {
        match file.try_lock() {
            Ok(()) => return Some(TakenLock::Own(file)),
            Err(TryLockError::WouldBlock) if !until.is_over() => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
}

fn failed(error: &std::io::Error) -> SinkError {
    match error.raw_os_error().map_or(Errno::EIO, Errno::from_raw) {
        Errno::EPIPE => SinkError::Gone,
        errno => SinkError::Failed(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Ending;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    fn deadline(grace: Duration) -> Deadline {
        Deadline::within(Duration::from_secs(60), &Ending::default(), grace)
    }

    fn lines(count: usize) -> Vec<u8> {
        (0..count).flat_map(|number| format!("m,name=guest f={number}i 1\n").into_bytes()).collect()
    }

    #[test]
    fn a_pipe_gets_pieces_of_whole_lines() {
        let lines = lines(1000);
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece_length(rest));
            assert!(piece.len() <= PIECE && piece.ends_with(b"\n"), "{} bytes", piece.len());
            assert!(after.is_empty() || piece.len() > PIECE - 30, "{} bytes", piece.len());
            rest = after;
        }
        let long = [vec![b'x'; 5000], b"\nm f=1i 1\n".to_vec()].concat();
        assert_eq!(piece_length(&long), 5001);
    }

    #[test]
    fn a_slow_reader_gets_every_line() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let expected = lines(20_000);
        let sent = expected.clone();
        let thread = std::thread::spawn(move || {
            let mut sink = Sink::new(OwnedFd::from(writer)).unwrap();
            sink.write(&sent, &deadline(Duration::ZERO))
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert!(received == expected);
    }

    #[test]
    fn a_reader_that_went_away_is_told_apart_from_one_that_stalls() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut sink = Sink::new(OwnedFd::from(writer)).unwrap();
        let soon = Deadline::within(Duration::from_millis(200), &Ending::default(), Duration::ZERO);
        assert_eq!(sink.write(&lines(20_000), &soon), Err(SinkError::Stalled));
        drop(reader);
        assert_eq!(sink.write(b"m f=1i 1\n", &soon), Err(SinkError::Gone));
    }

    #[test]
    fn a_full_device_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut sink = Sink::new(OwnedFd::from(full)).unwrap();
        let error = sink.write(b"m f=1i 1\n", &deadline(Duration::ZERO));
        assert_eq!(error, Err(SinkError::Failed(Errno::ENOSPC)));
    }

    #[test]
    fn a_short_write_is_cut_back_to_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, "before\none\ntwo\nthr").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        (&file).seek(SeekFrom::End(0)).unwrap();
        cut_back(&file, b"one\ntwo\nthree\n", 11);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\none\ntwo\n");
    }
}
