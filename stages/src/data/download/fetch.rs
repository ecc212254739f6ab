//! One file from the first of several mirrors that gives it: goes on where it was cut off, tries again after a stall,
//! and believes no mirror before the digest of the whole file is the one demanded.
//!
//! Knows nothing of data sets. What lies in the partial file may come from anywhere: it is a hope, checked at the end.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::super::given::hex;
use super::http::{self, Answer, Event, Timeouts};
use crate::io::{Progress, StageIo};
use crate::stage::StageError;

/// How often a wait looks whether to stop.
const TICK: Duration = Duration::from_millis(100);
/// The pause before the first further try at a mirror; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A file and what it must be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub name: String,
    pub bytes: u64,
    /// In lowercase hexadecimal digits.
    pub sha256: String,
    /// Where the digest was read, for messages.
    pub origin: String,
}

/// Fetches files, each from the mirror that served the last one, if it can.
pub(super) struct Fetcher<'a, 'b> {
    io: &'a mut StageIo<'b>,
    mirrors: &'a [String],
    timeouts: Timeouts,
    tries: u32,
    preferred: usize,
    /// Bytes that came over the network.
    received: u64,
    /// Bytes of the files before this one, and of all.
    done: u64,
    total: u64,
    shown: u64,
}

/// How a request ended.
enum Ended {
    /// As much as is wanted is there.
    Whole,
    /// Perhaps it goes better next time.
    Again(String),
    /// This mirror does not have the file.
    Useless(String),
}

impl<'a, 'b> Fetcher<'a, 'b> {
    /// `tries` is how often in a row a mirror may give not one byte more; `total` the bytes of all files, for progress.
    pub(super) fn new(
        io: &'a mut StageIo<'b>,
        mirrors: &'a [String],
        timeouts: Timeouts,
        tries: u32,
        total: u64,
    ) -> Self {
        Self { io, mirrors, timeouts, tries, preferred: 0, received: 0, done: 0, total, shown: 0 }
    }

    /// Bytes that came over the network so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Makes `partial` the whole file, from whatever is in it. When no mirror gives it, tells why each does not.
    pub(super) fn fetch(&mut self, wanted: &Wanted, partial: &Path) -> Result<Result<(), Vec<String>>, StageError> {
        let mut reasons = Vec::new();
        for turn in 0..self.mirrors.len() {
            let index = (self.preferred + turn) % self.mirrors.len();
            let url = format!("{}/{}", self.mirrors[index].trim_end_matches('/'), wanted.name);
            match self.ask_mirror(&url, wanted, partial)? {
                Ok(()) => {
                    self.preferred = index;
                    self.done += wanted.bytes;
                    return Ok(Ok(()));
                }
                Err(reason) => {
                    tracing::info!("{url}: {reason}");
                    reasons.push(format!("{url}: {reason}"));
                }
            }
        }
        Ok(Err(reasons))
    }

    fn ask_mirror(&mut self, url: &str, wanted: &Wanted, partial: &Path) -> Result<Result<(), String>, StageError> {
        let (mut failures, mut begun_anew) = (0, false);
        let mut best = length(partial)?;
        // Whether all bytes came from this mirror in one piece: else it is not to blame for a wrong digest.
        let mut in_one_piece = false;
        loop {
            let mut have = length(partial)?;
            if have > wanted.bytes {
                discard(partial)?;
                have = 0;
            }
            if have == wanted.bytes {
                let found = sha256(self.io, partial)?;
                if found == wanted.sha256 {
                    return Ok(Ok(()));
                }
                discard(partial)?;
                if in_one_piece || begun_anew {
                    return Ok(Err(format!(
                        "sends other bytes than the official ones: sha256 {found}; {} was expected ({})",
                        wanted.sha256, wanted.origin
                    )));
                }
                (begun_anew, best, have) = (true, 0, 0);
            }
            in_one_piece = have == 0;
            let reason = match self.request(url, wanted, partial, have)? {
                Ended::Whole => continue,
                Ended::Useless(reason) => return Ok(Err(reason)),
                Ended::Again(reason) => reason,
            };
            let now = length(partial)?;
            failures = if now > best { 0 } else { failures + 1 };
            best = best.max(now);
            if failures >= self.tries {
                let tries = if failures == 1 { "one try".to_owned() } else { format!("{failures} tries in a row") };
                return Ok(Err(format!("{reason} ({tries} without a byte more)")));
            }
            self.pause(failures)?;
        }
    }

    /// One request for the bytes from `from` on; what comes is in `partial` when this returns.
    fn request(&mut self, url: &str, wanted: &Wanted, partial: &Path, from: u64) -> Result<Ended, StageError> {
        let events = http::get(url, from, self.timeouts);
        let answer = match self.next(&events)? {
            Event::Answer(answer) => answer,
            Event::Failed(reason) => return Ok(Ended::Again(reason)),
            Event::Bytes(_) | Event::End => unreachable!("an answer comes first"),
        };
        let start = match begin(&answer, wanted, from) {
            Begin::At(start) => start,
            Begin::Anew(reason) => {
                discard(partial)?;
                return Ok(Ended::Again(reason));
            }
            Begin::Not(ended) => return Ok(ended),
        };
        let writing = |e| StageError::io(format!("writing {}", partial.display()), e);
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(partial).map_err(writing)?;
        // A server that starts over is followed: what it sends may be another file than what is here.
        file.set_len(start).map_err(writing)?;
        file.seek(SeekFrom::End(0)).map_err(writing)?;
        let mut have = start;
        loop {
            match self.next(&events)? {
                Event::Bytes(bytes) => {
                    have += bytes.len() as u64;
                    self.received += bytes.len() as u64;
                    if have > wanted.bytes {
                        drop(file);
                        discard(partial)?;
                        return Ok(Ended::Useless(format!("sends more than the {} bytes expected", wanted.bytes)));
                    }
                    file.write_all(&bytes).map_err(writing)?;
                    self.show(wanted, have);
                }
                _ if have == wanted.bytes => return Ok(Ended::Whole),
                Event::Failed(reason) => {
                    return Ok(Ended::Again(format!("after {have} of {} bytes: {reason}", wanted.bytes)));
                }
                Event::End => {
                    return Ok(Ended::Again(format!("the connection ended after {have} of {} bytes", wanted.bytes)));
                }
                Event::Answer(_) => unreachable!("one answer a request"),
            }
            if have == wanted.bytes && answer.length.is_some() {
                return Ok(Ended::Whole);
            }
        }
    }

    fn next(&self, events: &Receiver<Event>) -> Result<Event, StageError> {
        loop {
            self.io.check_cancelled()?;
            match events.recv_timeout(TICK) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Event::Failed("the request ended without a word".to_owned()));
                }
            }
        }
    }

    fn pause(&self, failures: u32) -> Result<(), StageError> {
        let mut left = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST_PAUSE);
        while !left.is_zero() {
            self.io.check_cancelled()?;
            let tick = left.min(TICK);
            std::thread::sleep(tick);
            left -= tick;
        }
        Ok(())
    }

    /// Tells the progress, about a hundred times in all.
    fn show(&mut self, wanted: &Wanted, have: u64) {
        let done = self.done + have;
        if done.abs_diff(self.shown) >= self.total.div_ceil(100) || have == wanted.bytes {
            self.shown = done;
            let unit = format!("{}, kB", wanted.name);
            self.io.progress(Progress { unit, done: done / 1000, total: self.total / 1000, ..Progress::default() });
        }
    }
}

/// What an answer to a request from byte `from` on is good for.
enum Begin {
    /// Its body goes to this place of the file.
    At(u64),
    /// What is here is of no use to this mirror.
    Anew(String),
    /// It has no body that is wanted.
    Not(Ended),
}

fn begin(answer: &Answer, wanted: &Wanted, from: u64) -> Begin {
    let offered = match answer.status {
        206 => answer.range.and_then(|(_, all)| all),
        _ => answer.length,
    };
    let other = offered.filter(|&offered| offered != wanted.bytes);
    match (answer.status, other) {
        (200 | 206, Some(offered)) => {
            let what = format!("offers {offered} bytes ({}); {} were expected", answer.kind, wanted.bytes);
            Begin::Not(Ended::Useless(what))
        }
        (200, None) => Begin::At(0),
        (206, None) if from > 0 && answer.range.is_some_and(|(first, _)| first == from) => Begin::At(from),
        (206, None) => Begin::Anew(format!("asked for the bytes from {from} on, it sends others")),
        (416, _) if from > 0 => Begin::Anew(format!("it has no bytes from {from} on")),
        (status @ (408 | 425 | 429 | 500..=599), _) => {
            Begin::Not(Ended::Again(format!("answers with status {status}")))
        }
        (status, _) => Begin::Not(Ended::Useless(format!("answers with status {status}"))),
    }
}

/// Bytes of a file, 0 when there is none.
fn length(path: &Path) -> Result<u64, StageError> {
    match path.metadata() {
        Ok(metadata) => Ok(metadata.len()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        Err(e) => Err(StageError::io(format!("looking at {}", path.display()), e)),
    }
}

fn discard(path: &Path) -> Result<(), StageError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(StageError::io(format!("removing {}", path.display()), e)),
        _ => Ok(()),
    }
}

fn sha256(io: &StageIo, path: &Path) -> Result<String, StageError> {
    let reading = |e| StageError::io(format!("reading {}", path.display()), e);
    let mut file = File::open(path).map_err(reading)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        io.check_cancelled()?;
        match file.read(&mut buffer).map_err(reading)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
