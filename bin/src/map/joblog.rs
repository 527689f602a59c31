//! The log of `map`: a line for each item that ended, and the way back from it.
//!
//! A line is written when the item's output has been written, and counts once its newline is in
//! the file. So after an end at any moment, what the log shows as completed has been printed, and
//! at most the items in between are printed again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first line.
pub(crate) const HEADER: &[u8] =
    b"seq\titem\tworker\tstart\truntime\texit\tsignal\tattempts\toutcome\n";
/// Longest line that is looked at: an item with every byte escaped, and the rest.
const LINE_MAX: u64 = 4 * super::items::ITEM_MAX as u64 + 4_096;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry<'a> {
    /// The item's number, from 1.
    pub(crate) seq: u64,
    pub(crate) item: &'a [u8],
    /// The worker, if it is known.
    pub(crate) worker: Option<&'a str>,
    /// When its last attempt began, about: its run time before its outcome came, or when it was submitted.
    pub(crate) start: SystemTime,
    /// How long that attempt ran; `None` if it is not known.
    pub(crate) runtime: Option<Duration>,
    pub(crate) exit: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Attempts that are known of.
    pub(crate) attempts: usize,
    pub(crate) outcome: &'a str,
}

/// The open log.
#[derive(Debug)]
pub(crate) struct JobLog {
    file: File,
    lines: Vec<u8>,
}

/// Items that the log shows as completed with exit code 0, and how often.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Done(HashMap<Vec<u8>, u64>);

impl Done {
    /// Whether the item can be skipped. Each time that the log has it counts once, so an item that
    /// is given twice is skipped twice only if it was completed twice.
    pub(crate) fn take(&mut self, item: &[u8]) -> bool {
        let Some(left) = self.0.get_mut(item) else {
            return false;
        };
        *left -= 1;
        if *left == 0 {
            self.0.remove(item);
        }
        true
    }
}

impl JobLog {
    /// Starts a log. One that has lines is not overwritten.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        if file.metadata()?.len() > 0 {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it has lines already; give --resume to go on where it ends, or remove it",
            ));
        }
        file.write_all(HEADER)?;
        Ok(Self::over(file))
    }

    /// Goes on with a log, or starts one. A last line without its end is cut off: that item's
    /// logging was interrupted.
    pub(crate) fn resume(path: &Path) -> io::Result<(Self, Done)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let (done, whole) = read(BufReader::new(&file))?;
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        if whole == 0 {
            file.write_all(HEADER)?;
        }
        Ok((Self::over(file), done))
    }

    /// What a log says, without touching it; nothing if there is none.
    pub(crate) fn done(path: &Path) -> io::Result<Done> {
        match File::open(path) {
            Ok(file) => Ok(read(BufReader::new(file))?.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Done::default()),
            Err(error) => Err(error),
        }
    }

    fn over(file: File) -> Self {
        let lines = Vec::new();
        Self { file, lines }
    }

    /// Adds a line, to be written at the next flush.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        write_entry(&mut self.lines, entry);
    }

    /// Hands the lines to the kernel: from here on they outlive this process.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.lines);
        self.lines.clear();
        written
    }
}

pub(crate) fn write_entry(line: &mut Vec<u8>, entry: &Entry<'_>) {
    let number = |number: Option<i32>| number.map_or("-".to_owned(), |number| number.to_string());
    let start = entry.start.duration_since(UNIX_EPOCH).unwrap_or_default();
    let runtime = entry
        .runtime
        .map_or("-".to_owned(), |time| format!("{:.6}", time.as_secs_f64()));
    line.extend_from_slice(entry.seq.to_string().as_bytes());
    line.push(b'\t');
    escape(line, entry.item);
    line.push(b'\t');
    escape(line, entry.worker.unwrap_or("-").as_bytes());
    line.extend_from_slice(
        format!(
            "\t{:.3}\t{runtime}\t{}\t{}\t{}\t{}\n",
            start.as_secs_f64(),
            number(entry.exit),
            number(entry.signal),
            entry.attempts,
            entry.outcome,
        )
        .as_bytes(),
    );
}

/// Reads the items that are done, and how many bytes are whole lines.
pub(crate) fn read(mut file: impl BufRead) -> io::Result<(Done, u64)> {
    let mut done = Done::default();
    let mut whole = 0;
    let mut number = 0u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = io::Read::take(&mut file, LINE_MAX).read_until(b'\n', &mut line)?;
        let Some((b'\n', text)) = line.split_last() else {
            let torn = (length as u64) < LINE_MAX;
            return if torn {
                Ok((done, whole))
            } else {
                Err(not_a_log(number + 1))
            };
        };
        number += 1;
        if number == 1 {
            if line != HEADER {
                return Err(not_a_log(number));
            }
        } else {
            let (item, completed) = parse(text).ok_or_else(|| not_a_log(number))?;
            if completed {
                *done.0.entry(item).or_default() += 1;
            }
        }
        whole += length as u64;
    }
}

fn not_a_log(line: u64) -> io::Error {
    let text = format!("line {line} is not one of a job log; is it the right file?");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The item of a line, and whether it completed with exit code 0.
fn parse(line: &[u8]) -> Option<(Vec<u8>, bool)> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    let [seq, item, _, _, _, exit, _, _, outcome] = fields[..] else {
        return None;
    };
    std::str::from_utf8(seq).ok()?.parse::<u64>().ok()?;
    Some((unescape(item)?, exit == b"0" && outcome == b"completed"))
}

/// Writes bytes so that they hold no tab or newline, and text stays readable.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&kind, tail) = rest.split_first()?;
        rest = tail;
        bytes.push(match kind {
            b't' => b'\t',
            b'n' => b'\n',
            b'\\' => b'\\',
            b'x' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn entry(seq: u64, item: &[u8], exit: i32) -> Entry<'_> {
        let completed = exit == 0;
        Entry {
            seq,
            item,
            worker: (!completed).then_some("w1"),
            start: UNIX_EPOCH + Duration::from_millis(1_500),
            runtime: completed.then_some(Duration::from_millis(20)),
            exit: Some(exit),
            signal: None,
            attempts: 1,
            outcome: if completed { "completed" } else { "failed" },
        }
    }

    #[test]
    fn a_line_has_every_column() {
        let mut line = Vec::new();
        write_entry(&mut line, &entry(3, b"a\tb", 0));
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "3\ta\\tb\t-\t1.500\t0.020000\t0\t-\t1\tcompleted\n"
        );
    }

    #[test]
    fn a_log_with_lines_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = JobLog::create(&path).unwrap();
        log.add(&entry(1, b"a", 0));
        log.flush().unwrap();
        let error = JobLog::create(&path).unwrap_err();
        assert!(error.to_string().contains("--resume"), "{error}");
        let (_, mut done) = JobLog::resume(&path).unwrap();
        assert!(done.take(b"a") && !done.take(b"a"));
    }

    #[test]
    fn a_file_that_is_no_log_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        for (text, line) in [("precious\n", 1), ("seq\titem\n", 1)] {
            let path = directory.path().join("file");
            fs::write(&path, text).unwrap();
            let error = JobLog::resume(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line} ")), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_log_cut_anywhere_gives_what_its_whole_lines_say(
            items in vec((vec(any::<u8>(), 0..4), 0..2i32), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let mut log = JobLog::create(&path).unwrap();
            for (seq, (item, exit)) in items.iter().enumerate() {
                log.add(&entry(seq as u64 + 1, item, *exit));
            }
            log.flush().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(cut.index(bytes.len() + 1));
            fs::write(&path, &bytes).unwrap();
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();

            let (mut log, mut done) = JobLog::resume(&path).unwrap();
            let (whole, torn) = items.split_at(lines.saturating_sub(1));
            for (item, _) in whole.iter().filter(|(_, exit)| *exit == 0) {
                prop_assert!(done.take(item));
            }
            prop_assert!(done.0.is_empty());
            // What is logged from here on is whole again.
            for (item, exit) in torn {
                log.add(&entry(9, item, *exit));
            }
            log.flush().unwrap();
            let (_, mut done) = JobLog::resume(&path).unwrap();
            for (item, _) in items.iter().filter(|(_, exit)| *exit == 0) {
                prop_assert!(done.take(item));
            }
            prop_assert!(done.0.is_empty());
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = read(&[HEADER, &bytes].concat()[..]);
            let _ = unescape(&bytes);
        }
    }
}
