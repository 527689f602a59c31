//! A load and a worker for gearmand, on its binary protocol and pipelined both ways: what its
//! server can do if clients ask it as well as they can.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::clock::now;
use crate::histogram::{latencies, report};
use crate::parts::announce;
use crate::task;

const CAN_DO: u32 = 1;
const PRE_SLEEP: u32 = 4;
const NOOP: u32 = 6;
const SUBMIT_JOB: u32 = 7;
const GRAB_JOB: u32 = 9;
const NO_JOB: u32 = 10;
const JOB_ASSIGN: u32 = 11;
const WORK_COMPLETE: u32 = 13;
const HEADER: usize = 12;
const FUNCTION: &[u8] = b"f";
const READ: usize = 256 * 1024;

/// A packet: its arguments are separated by NUL.
fn packet(out: &mut Vec<u8>, kind: u32, arguments: &[&[u8]]) {
    let body = arguments.join(&0);
    out.extend_from_slice(b"\0REQ");
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
}

/// What comes after the first `count` arguments.
fn after(body: &[u8], count: usize) -> &[u8] {
    let mut parts = body.splitn(count + 1, |byte| *byte == 0);
    parts.nth(count).unwrap_or_default()
}

struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
    used: usize,
}

impl Connection {
    fn new(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self {
            stream,
            bytes: Vec::new(),
            used: 0,
        })
    }

    /// Waits for bytes, then hands on every whole packet.
    fn read(&mut self, mut each: impl FnMut(u32, &[u8])) -> Result<()> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let start = self.bytes.len();
        self.bytes.resize(start + READ, 0);
        let read = self.stream.read(&mut self.bytes[start..])?;
        self.bytes.truncate(start + read);
        if read == 0 {
            return Err(Error::other("gearmand closed the connection"));
        }
        while let Some((header, rest)) = self.bytes[self.used..].split_first_chunk::<HEADER>() {
            let word = |at: usize| {
                let bytes = header[at..at + 4].try_into().expect("four bytes");
                u32::from_be_bytes(bytes)
            };
            let Some(body) = rest.get(..word(8) as usize) else {
                break;
            };
            each(word(4), body);
            self.used += HEADER + body.len();
        }
        Ok(())
    }
}

/// A worker: so many connections, each with up to `grabs` jobs at a time.
pub(crate) fn worker(address: &str, connections: usize, grabs: usize) -> Result<()> {
    let work = || -> Result<()> {
        let mut connection = Connection::new(address)?;
        let mut out = Vec::new();
        packet(&mut out, CAN_DO, &[FUNCTION]);
        (0..grabs).for_each(|_| packet(&mut out, GRAB_JOB, &[]));
        let mut asked = grabs;
        announce("ready");
        connection.stream.set_read_timeout(None)?;
        loop {
            connection.stream.write_all(&out)?;
            out.clear();
            connection.read(|kind, body| match kind {
                JOB_ASSIGN => {
                    let handle = body.split(|byte| *byte == 0).next().unwrap_or_default();
                    packet(&mut out, WORK_COMPLETE, &[handle, after(body, 2)]);
                    packet(&mut out, GRAB_JOB, &[]);
                }
                NO_JOB => {
                    asked -= 1;
                    if asked == 0 {
                        packet(&mut out, PRE_SLEEP, &[]);
                    }
                }
                NOOP => {
                    (asked..grabs).for_each(|_| packet(&mut out, GRAB_JOB, &[]));
                    asked = grabs;
                }
                _ => {}
            })?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::other("a panic")))
        })
    })
}

/// A load: so many jobs under way, for so long.
pub(crate) fn client(address: &str, in_flight: usize, span: Duration) -> Result<Value> {
    let mut connection = Connection::new(address)?;
    let mut out = Vec::new();
    let mut histogram = latencies();
    let submit = |out: &mut Vec<u8>| {
        let mut task = task::new(Duration::ZERO);
        task[..8].copy_from_slice(&now().to_le_bytes());
        packet(out, SUBMIT_JOB, &[FUNCTION, b"", &task]);
    };
    (0..in_flight).for_each(|_| submit(&mut out));
    let begun = now();
    let until = begun + span.as_nanos() as u64;
    loop {
        connection.stream.write_all(&out)?;
        out.clear();
        let mut done = 0;
        connection.read(|kind, body| {
            if kind == WORK_COMPLETE {
                let sent = after(body, 1).first_chunk();
                let sent = sent.map_or(0, |sent| u64::from_le_bytes(*sent));
                histogram
                    .record(now().saturating_sub(sent))
                    .expect("it grows");
                done += 1;
            }
        })?;
        let time = now();
        if time >= until {
            let tasks = histogram.len();
            return Ok(report(&histogram, tasks, (time - begun) as f64 / 1e9));
        }
        (0..done).for_each(|_| submit(&mut out));
    }
}
