//! A stream from end to end, over two connections that can be cut.

use std::collections::VecDeque;

use argon_core::stream::{Chunk, Level, Reader, Relay, Writer};
use bytes::Bytes;

/// The byte at this position of every stream here.
pub(super) fn byte_at(position: u64) -> u8 {
    (position % 251) as u8
}

/// These bytes of every stream here.
pub(super) fn bytes_at(position: u64, count: usize) -> Bytes {
    (position..position + count as u64).map(byte_at).collect()
}

/// What a reader says, and whether everything after it has to come again.
type Said = (Level, bool);

/// A writer, a relay, a reader, and what is under way between them.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) window: u64,
    pub(super) writer: Writer,
    pub(super) relay: Relay,
    pub(super) reader: Reader,
    pub(super) chunks_to_relay: VecDeque<Chunk>,
    pub(super) chunks_to_reader: VecDeque<Chunk>,
    pub(super) levels_to_relay: VecDeque<Said>,
    pub(super) levels_to_writer: VecDeque<Said>,
    pub(super) writer_is_cut: bool,
    pub(super) reader_is_cut: bool,
    pub(super) written: u64,
    pub(super) ended: bool,
    pub(super) read: u64,
    /// Received, and not yet taken by the application.
    pub(super) untaken: usize,
}

impl Pipe {
    pub(super) fn new(window: u64) -> Self {
        Self {
            window,
            writer: Writer::new(window, window),
            relay: Relay::new(window, window),
            reader: Reader::new(window, window),
            chunks_to_relay: VecDeque::new(),
            chunks_to_reader: VecDeque::new(),
            levels_to_relay: VecDeque::new(),
            levels_to_writer: VecDeque::new(),
            writer_is_cut: false,
            reader_is_cut: false,
            written: 0,
            ended: false,
            read: 0,
            untaken: 0,
        }
    }

    /// Writes so many bytes, or as many of them as there is room for.
    pub(super) fn write(&mut self, count: usize) {
        let count = count.min(self.writer.room());
        self.writer.write(bytes_at(self.written, count));
        self.written += count as u64;
    }

    pub(super) fn end(&mut self) {
        self.writer.end();
        self.ended = true;
    }

    /// The writer's connection takes a chunk.
    pub(super) fn send(&mut self, most: usize) -> bool {
        if self.writer_is_cut {
            return false;
        }
        let chunk = self.writer.take(most);
        self.chunks_to_relay.extend(chunk.clone());
        chunk.is_some()
    }

    /// A chunk comes to the manager.
    pub(super) fn relay_hears(&mut self) -> bool {
        let Some(chunk) = self.chunks_to_relay.pop_front() else {
            return false;
        };
        self.relay.hear(chunk).expect("the writer keeps the rules");
        true
    }

    /// The reader's connection takes a chunk.
    pub(super) fn pass_on(&mut self, most: usize) -> bool {
        if self.reader_is_cut {
            return false;
        }
        let chunk = self.relay.take(most);
        self.chunks_to_reader.extend(chunk.clone());
        chunk.is_some()
    }

    /// A chunk comes to the reader.
    pub(super) fn reader_hears(&mut self) -> bool {
        let Some(chunk) = self.chunks_to_reader.pop_front() else {
            return false;
        };
        let new = self.reader.hear(chunk).expect("the relay keeps the rules");
        assert_eq!(new, bytes_at(self.read, new.len()), "in order, each once");
        self.read += new.len() as u64;
        self.untaken += new.len();
        self.reader_speaks();
        true
    }

    /// The application takes so much of what came.
    pub(super) fn take(&mut self, most: usize) -> bool {
        let taken = most.min(self.untaken);
        self.untaken -= taken;
        self.reader.take(taken);
        self.reader_speaks();
        taken > 0
    }

    pub(super) fn reader_speaks(&mut self) {
        if self.reader_is_cut {
            return;
        }
        let due = self.reader.due();
        self.levels_to_relay.extend(due.map(|level| (level, false)));
    }

    /// A level comes to the manager.
    pub(super) fn relay_hears_level(&mut self) -> bool {
        let Some((level, again)) = self.levels_to_relay.pop_front() else {
            return false;
        };
        let news = self.relay.hear_level(level, again).expect("an honest one");
        if let Some(level) = news
            && !self.writer_is_cut
        {
            self.levels_to_writer.push_back((level, again));
        }
        true
    }

    /// A level comes to the writer.
    pub(super) fn writer_hears_level(&mut self) -> bool {
        let Some((level, again)) = self.levels_to_writer.pop_front() else {
            return false;
        };
        self.writer.hear(level, again).expect("an honest one");
        true
    }

    /// What is under way on the writer's connection is lost.
    pub(super) fn cut_writer(&mut self) {
        self.writer_is_cut = true;
        self.chunks_to_relay.clear();
        self.levels_to_writer.clear();
    }

    pub(super) fn writer_returns(&mut self) {
        if self.writer_is_cut {
            self.writer_is_cut = false;
            self.writer.send_again();
            self.levels_to_writer.push_back((self.relay.level(), false));
        }
    }

    /// What is under way on the reader's connection is lost.
    pub(super) fn cut_reader(&mut self) {
        self.reader_is_cut = true;
        self.chunks_to_reader.clear();
        self.levels_to_relay.clear();
        self.relay.reader_left();
    }

    pub(super) fn reader_returns(&mut self) {
        if self.reader_is_cut {
            self.reader_is_cut = false;
            self.levels_to_relay.push_back((self.reader.say(), true));
        }
    }

    /// The manager is another, which knows nothing.
    pub(super) fn restart_manager(&mut self) {
        self.cut_writer();
        self.cut_reader();
        self.relay = Relay::without_reader(self.window);
    }

    /// Lets everything that can happen by itself happen, until nothing can.
    pub(super) fn settle(&mut self) {
        self.writer_returns();
        self.reader_returns();
        while self.writer_hears_level()
            || self.relay_hears_level()
            || self.reader_hears()
            || self.take(usize::MAX)
            || self.pass_on(usize::MAX)
            || self.relay_hears()
            || self.send(usize::MAX)
        {}
    }

    /// What must hold at every moment.
    pub(super) fn check(&self) {
        for (bytes, _) in [self.writer.held(), self.relay.held()] {
            assert!(
                bytes <= self.window,
                "{bytes} bytes held of {}",
                self.window
            );
        }
        assert!(self.untaken as u64 <= self.window, "granted, and no more");
        assert!(self.read <= self.written);
        assert!(!self.reader.is_whole() || self.ended && self.read == self.written);
    }
}
