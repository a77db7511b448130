//! Bytes of libvirtd's replies that are changed by chance, the same for the same seed; and a proxy that changes
//! them on their way from a real libvirtd.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// splitmix64
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Where a message's body begins: its length and six numbers come before.
const BODY: usize = 28;

/// What decides of the reply to a call of this procedure, of which there were so many before: nothing for
/// three of four.
pub fn chance(seed: u64, procedure: u32, before: usize) -> Option<Random> {
    let mut random = Random(seed ^ (u64::from(procedure) << 32) ^ ((before as u64) << 48));
    // The handshake has few bytes, and most flips in it end all that could come after.
    let is_handshake = matches!(procedure, ..10 | 60 | 66 | 110);
    (random.below(if is_handshake { 60 } else { 4 }) == 0).then_some(random)
}

/// Changes one to four bytes of a whole message, and returns how many.
pub fn flip(message: &mut [u8], mut random: Random) -> usize {
    let count = 1 + random.below(4) as usize;
    for _ in 0..count {
        // Mostly in the body; at times in the length and the header.
        let from = if random.below(20) == 0 { 0 } else { BODY };
        if let Some(room) = message.len().checked_sub(from + 1) {
            let place = from + random.below(room as u64 + 1) as usize;
            message[place] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => message[place] ^ (1 << random.below(8)),
                _ => random.below(256) as u8,
            };
        }
    }
    count
}

/// Stands between the program and a libvirtd, until it is dropped.
pub struct Proxy {
    socket: PathBuf,
    between: Arc<Between>,
}

struct Between {
    libvirtd: PathBuf,
    seed: u64,
    is_over: AtomicBool,
    replies: Vec<AtomicUsize>,
    flipped_replies: AtomicUsize,
    flipped_bytes: AtomicUsize,
}

impl Proxy {
    /// Listens in this folder, and passes on what comes to this socket of libvirtd.
    pub fn start(folder: &Path, libvirtd: &Path, seed: u64) -> Proxy {
        let socket = folder.join("proxy-sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let between = Arc::new(Between {
            libvirtd: libvirtd.to_owned(),
            seed,
            is_over: AtomicBool::new(false),
            replies: (0..512).map(|_| AtomicUsize::new(0)).collect(),
            flipped_replies: AtomicUsize::new(0),
            flipped_bytes: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&between);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(libvirtd) = UnixStream::connect(&shared.libvirtd) else { continue };
                pass_on(client, libvirtd, Arc::clone(&shared));
            }
        });
        Proxy { socket, between }
    }

    /// The URI of a driver that is reached over it: `qemu` and `/system`.
    pub fn uri(&self, driver: &str, path: &str) -> String {
        format!("{driver}+unix://{path}?socket={}", self.socket.display())
    }

    /// How many replies there were, how many of them were changed, and in how many bytes.
    pub fn counts(&self) -> [usize; 3] {
        let Between { replies, flipped_replies, flipped_bytes, .. } = &*self.between;
        let all = replies.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        [all, flipped_replies.load(Ordering::Relaxed), flipped_bytes.load(Ordering::Relaxed)]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.between.is_over.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.socket);
    }
}

/// Both directions, each by a thread. When one has ended, so has the other.
fn pass_on(client: UnixStream, libvirtd: UnixStream, between: Arc<Between>) {
    let (mut calls, mut to) = (client.try_clone().unwrap(), libvirtd.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut calls, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        // Either side may go away.
        let _ = between.pass_replies(&libvirtd, &client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = libvirtd.shutdown(Shutdown::Both);
    });
}

impl Between {
    fn pass_replies(&self, mut from: &UnixStream, mut to: &UnixStream) -> io::Result<()> {
        loop {
            let mut message = vec![0; 4];
            from.read_exact(&mut message)?;
            let length = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
            message.resize(length.max(BODY), 0);
            from.read_exact(&mut message[4..])?;
            let procedure = u32::from_be_bytes(message[12..16].try_into().unwrap());
            let count = &self.replies[procedure as usize % self.replies.len()];
            let before = count.fetch_add(1, Ordering::Relaxed);
            if let Some(random) = chance(self.seed, procedure, before) {
                let bytes = flip(&mut message, random);
                self.flipped_replies.fetch_add(1, Ordering::Relaxed);
                self.flipped_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            to.write_all(&message)?;
        }
    }
}
