//! Whatever happens to the connections of a stream.

use argon_core::limits::STREAM_PIECE_MIN;
use proptest::prelude::*;

use super::pipe::{Pipe, byte_at};

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Send(usize),
    RelayHears,
    PassOn(usize),
    ReaderHears,
    Take(usize),
    RelayHearsLevel,
    WriterHearsLevel,
    CutWriter,
    WriterReturns,
    CutReader,
    ReaderReturns,
    RestartManager,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..100).prop_map(Step::Write),
        6 => (1_usize..100).prop_map(Step::Send),
        6 => Just(Step::RelayHears),
        6 => (1_usize..100).prop_map(Step::PassOn),
        6 => Just(Step::ReaderHears),
        4 => (0_usize..100).prop_map(Step::Take),
        4 => Just(Step::RelayHearsLevel),
        4 => Just(Step::WriterHearsLevel),
        1 => Just(Step::CutWriter),
        2 => Just(Step::WriterReturns),
        1 => Just(Step::CutReader),
        2 => Just(Step::ReaderReturns),
        1 => Just(Step::RestartManager),
    ]
}

impl Pipe {
    fn take_step(&mut self, step: Step) {
        match step {
            Step::Write(count) => self.write(count),
            Step::Send(most) => drop(self.send(most)),
            Step::RelayHears => drop(self.relay_hears()),
            Step::PassOn(most) => drop(self.pass_on(most)),
            Step::ReaderHears => drop(self.reader_hears()),
            Step::Take(most) => drop(self.take(most)),
            Step::RelayHearsLevel => drop(self.relay_hears_level()),
            Step::WriterHearsLevel => drop(self.writer_hears_level()),
            Step::CutWriter => self.cut_writer(),
            Step::WriterReturns => self.writer_returns(),
            Step::CutReader => self.cut_reader(),
            Step::ReaderReturns => self.reader_returns(),
            Step::RestartManager => self.restart_manager(),
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    /// Its bytes come in order, each once, whatever is cut; within its window; and once things are
    /// quiet all of them have come, and nothing is left of it.
    #[test]
    fn every_byte_comes_once(
        window in 1_u64..300,
        before in prop::collection::vec(step(), 0..200),
        after in prop::collection::vec(step(), 0..50),
    ) {
        let mut pipe = Pipe::new(window);
        for step in before {
            pipe.take_step(step);
        }
        pipe.end();
        for step in after {
            // There is no room for more after the end.
            pipe.take_step(step);
        }
        pipe.settle();
        pipe.check();
        prop_assert_eq!(pipe.read, pipe.written);
        prop_assert!(pipe.reader.is_whole() && pipe.writer.is_closed());
        prop_assert_eq!(pipe.writer.held(), (0, 0));
        prop_assert_eq!(pipe.relay.held(), (0, 0));
    }

    /// A reader that goes away stops its writer, whatever is cut, and nothing is left of it.
    #[test]
    fn a_reader_that_wants_no_more_ends_it(
        window in 1_u64..300,
        before in prop::collection::vec(step(), 0..100),
        after in prop::collection::vec(step(), 0..100),
    ) {
        let mut pipe = Pipe::new(window);
        for step in before {
            pipe.take_step(step);
        }
        pipe.reader.close();
        pipe.reader_speaks();
        let read = pipe.read;
        for step in after {
            pipe.take_step(step);
        }
        pipe.settle();
        pipe.check();
        prop_assert_eq!(pipe.read, read, "nothing more comes");
        prop_assert!(pipe.writer.is_closed());
        // Whoever still writes is not held up.
        prop_assert_eq!(pipe.writer.room(), usize::MAX);
        pipe.write(1_000);
        prop_assert_eq!(pipe.writer.held(), (0, 0));
        prop_assert_eq!(pipe.relay.held(), (0, 0));
    }
}

#[test]
fn a_slow_reader_stops_its_writer_at_the_window() {
    let mut pipe = Pipe::new(100);
    pipe.write(1_000);
    while pipe.send(7) || pipe.relay_hears() || pipe.pass_on(7) || pipe.reader_hears() {}
    assert_eq!((pipe.written, pipe.read, pipe.untaken), (100, 100, 100));
    // It learns of what was taken by quarters of the window.
    pipe.take(24);
    assert!(!pipe.relay_hears_level());
    pipe.take(1);
    assert!(pipe.relay_hears_level() && pipe.writer_hears_level());
    pipe.write(1_000);
    while pipe.send(7) || pipe.relay_hears() || pipe.pass_on(7) || pipe.reader_hears() {}
    assert_eq!(pipe.read, 125);
}

#[test]
fn single_bytes_are_held_together() {
    let window = 64 * 1024;
    let mut pipe = Pipe::new(window);
    for position in 0..window {
        pipe.write(1);
        assert!(pipe.send(1) && pipe.relay_hears());
        assert_eq!(pipe.written, position + 1);
    }
    for (bytes, pieces) in [pipe.writer.held(), pipe.relay.held()] {
        assert_eq!(bytes, window);
        assert!(pieces <= window as usize / STREAM_PIECE_MIN, "{pieces}");
    }
    let chunk = pipe.relay.take(usize::MAX).unwrap();
    assert!(chunk.bytes.len() >= STREAM_PIECE_MIN);
    assert!(
        (0..)
            .zip(&chunk.bytes)
            .all(|(at, byte)| byte_at(at) == *byte)
    );
}
