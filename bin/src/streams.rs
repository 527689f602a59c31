//! Standard output and error, whatever they are connected to.
//!
//! Output waits where it must: a stream that somebody has put into non-blocking mode loses nothing.
//! The log and other news never wait: what standard error does not take is dropped and counted, so
//! that a full pipe or a stopped terminal holds nobody up. Nothing here panics.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use tracing_subscriber::fmt::MakeWriter;

/// Lines of the log that may wait to be written.
const LINES_MAX: usize = 1_024;
/// How long the last lines have to be written when the program ends.
const LAST_LINES: Duration = Duration::from_millis(300);

/// Writes to a stream until it has taken everything.
#[derive(Debug)]
pub(crate) struct Patient<S>(S);

/// Standard output.
pub(crate) fn stdout() -> Patient<io::Stdout> {
    Patient(io::stdout())
}

/// Standard error.
pub(crate) fn stderr() -> Patient<io::Stderr> {
    Patient(io::stderr())
}

impl<S: AsFd> Write for Patient<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.0.as_fd();
        loop {
            match write(stream, bytes) {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN) => wait_for(stream)?,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_for(stream: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [PollFd::new(stream, PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A text for a terminal: what peers have put into it can move no cursor and set no title.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Says something on standard error. If that takes nothing there is nobody to tell.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = stderr().write_all(clean(&format!("argon: {line}\n")).as_bytes());
}

enum Entry {
    Line(Vec<u8>),
    /// Everything before this is to be written; then this is dropped.
    End(#[expect(dead_code, reason = "dropping it is what is waited for")] SyncSender<()>),
}

/// Lines on their way to standard error, by a thread of its own.
#[derive(Clone)]
pub(crate) struct Log {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

static LOG: OnceLock<Log> = OnceLock::new();

impl Log {
    /// Begins to log.
    ///
    /// # Errors
    /// If there can be no thread for it.
    pub(crate) fn start() -> io::Result<Self> {
        let (lines, taken) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Self {
            lines,
            dropped: Arc::clone(&dropped),
        };
        let name = "log".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(move || write_lines(&taken, &dropped, &mut stderr()))?;
        Ok(LOG.get_or_init(|| log).clone())
    }

    fn put(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Entry::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets the last lines be written, if that does not take too long.
    pub(crate) fn finish(&self) {
        let (done, wait) = sync_channel(0);
        if self.lines.try_send(Entry::End(done)).is_ok() {
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

fn write_lines(lines: &Receiver<Entry>, dropped: &AtomicU64, out: &mut impl Write) {
    for entry in lines {
        let Entry::Line(line) = entry else {
            continue;
        };
        let _ = out.write_all(&line);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("argon: {lost} lines of the log were dropped: nobody read them\n");
            let _ = out.write_all(text.as_bytes());
        }
    }
}

/// News of what goes on, for whoever looks: as the log, it holds nobody up.
pub(crate) fn note(line: fmt::Arguments<'_>) {
    match LOG.get() {
        Some(log) => log.put(clean(&format!("argon: {line}\n")).into_bytes()),
        None => say(line),
    }
}

/// A line of the log.
pub(crate) struct Line<'a>(&'a Log);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_a_stream_does_not_take_at_once_is_written_later() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            io::Read::read_to_end(&mut &theirs, &mut got).unwrap();
            got
        });
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        let mut stream = Patient(ours);
        stream.write_all(&sent).unwrap();
        drop(stream);
        assert_eq!(reader.join().unwrap(), sent);
    }

    #[test]
    fn texts_of_peers_do_nothing_to_a_terminal() {
        let text = "a\x1b]0;owned\x07\r\tb\nc\u{9b}2J é";
        assert_eq!(clean(text), "a\\u{1b}]0;owned\\u{7}\\r\tb\nc\\u{9b}2J é");
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_said() {
        let (lines, taken) = sync_channel(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log {
            lines,
            dropped: Arc::clone(&dropped),
        };
        for number in 0..5 {
            log.put(format!("{number}\n").into_bytes());
        }
        drop(log);
        let mut out = Vec::new();
        write_lines(&taken, &dropped, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "0\nargon: 3 lines of the log were dropped: nobody read them\n1\n"
        );
    }
}
