//! Fuzz targets: what strangers' bytes reach, each with what must be true whatever they are.
//!
//! A target is a function of bytes that panics when something is wrong. `main.rs` runs all of them
//! on the corpus and on mutations drawn from a seed, with nothing but a stable toolchain;
//! `guided.rs` runs one at length, led by which code was reached.

mod handshake;
mod keys;
mod machines;
mod map;
pub mod mutate;
mod pool;
mod stream;
mod units;
mod wire;

use std::alloc::System;

use cap::Cap;

/// An allocator with a limit, which ends the process when a target is talked into more.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MIB: usize = 1024 * 1024;

/// Something that takes bytes from strangers.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called; its corpus is the folder of this name.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Inputs that make sense, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that mean something there.
    pub words: &'static [&'static [u8]],
    /// Most bytes of memory that one input may make us hold, whatever it says.
    memory: usize,
    /// Longest input.
    pub longest: usize,
}

impl Target {
    /// Runs one input.
    ///
    /// # Panics
    /// If something is wrong; the process ends if memory is.
    pub fn run(&self, input: &[u8]) {
        ALLOCATOR
            .set_limit(ALLOCATOR.allocated() + self.memory)
            .expect("room for what there is");
        (self.run)(input);
        ALLOCATOR
            .set_limit(usize::MAX)
            .expect("no limit is no less");
    }
}

/// Lets what says why a target panicked take what memory it needs. Call it once, at the start.
pub fn lift_limit_in_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = ALLOCATOR.set_limit(usize::MAX);
        hook(panic);
    }));
}

/// All of them.
pub static TARGETS: [Target; 12] = [
    Target {
        name: "frames",
        run: wire::frames,
        seeds: wire::seeds,
        words: &[],
        memory: 2 * MIB,
        longest: 4_096,
    },
    Target {
        name: "accept",
        run: handshake::accept,
        seeds: handshake::accept_seeds,
        words: handshake::WORDS,
        memory: MIB,
        longest: 4_096,
    },
    Target {
        name: "connect",
        run: handshake::connect,
        seeds: handshake::connect_seeds,
        words: handshake::WORDS,
        memory: MIB,
        longest: 4_096,
    },
    Target {
        name: "manager",
        run: machines::manager,
        seeds: machines::seeds,
        words: &[],
        memory: 16 * MIB,
        longest: 2_048,
    },
    Target {
        name: "worker",
        run: machines::worker,
        seeds: machines::seeds,
        words: &[],
        memory: 16 * MIB,
        longest: 2_048,
    },
    Target {
        name: "client",
        run: machines::client,
        seeds: machines::seeds,
        words: &[],
        memory: 16 * MIB,
        longest: 2_048,
    },
    Target {
        name: "pool",
        run: pool::pool,
        seeds: pool::seeds,
        words: pool::WORDS,
        memory: 2 * MIB,
        longest: 4_096,
    },
    Target {
        name: "keys",
        run: keys::keys,
        seeds: keys::seeds,
        words: keys::WORDS,
        memory: MIB,
        longest: 4_096,
    },
    Target {
        name: "items",
        run: map::items,
        seeds: map::items_seeds,
        words: &[],
        memory: 4 * MIB,
        longest: 1_024,
    },
    Target {
        name: "template",
        run: map::template,
        seeds: map::template_seeds,
        words: map::PLACEHOLDERS,
        memory: MIB,
        longest: 512,
    },
    Target {
        name: "joblog",
        run: map::joblog,
        seeds: map::joblog_seeds,
        words: map::LOG_WORDS,
        memory: 2 * MIB,
        longest: 2_048,
    },
    Target {
        name: "units",
        run: units::units,
        seeds: units::seeds,
        words: units::WORDS,
        memory: MIB,
        longest: 128,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
