//! Who is whose child, by `/proc`.
//!
//! One pass over `/proc/*/stat` rather than `/proc/<pid>/task/*/children`, which many kernels are
//! built without. It is a snapshot that may miss a process that forks or is orphaned meanwhile:
//! whoever kills repeats it until nothing is left.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// Resident memory, in pages.
    pub(crate) pages: u64,
    /// Dead, and not yet waited for by its parent.
    pub(crate) zombie: bool,
}

/// All processes, by parent.
#[derive(Debug, Default)]
pub(crate) struct Table {
    children: BTreeMap<i32, Vec<Process>>,
}

impl Table {
    /// Looks at all processes there are.
    pub(crate) fn read() -> Self {
        let mut table = Self::default();
        let Ok(entries) = fs::read_dir("/proc") else {
            return table;
        };
        // Enough for every field that is used: the rest of a longer line is cut.
        let mut line = [0; 1024];
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name
                .to_str()
                .filter(|name| name.as_bytes()[0].is_ascii_digit())
            else {
                continue;
            };
            let stat = File::open(format!("/proc/{name}/stat"));
            let Ok(length) = stat.and_then(|mut stat| stat.read(&mut line)) else {
                continue;
            };
            if let Some(process) = parse(&line[..length]) {
                table
                    .children
                    .entry(process.parent)
                    .or_default()
                    .push(process);
            }
        }
        table
    }

    /// The children of `pid`.
    pub(crate) fn children(&self, pid: i32) -> &[Process] {
        self.children.get(&pid).map_or(&[], |children| children)
    }

    /// The children of `pid`, their children, and so on, parents first.
    pub(crate) fn descendants(&self, pid: i32) -> Vec<Process> {
        let mut found = self.children(pid).to_vec();
        let mut next = 0;
        while let Some(process) = found.get(next) {
            found.extend_from_slice(self.children(process.pid));
            next += 1;
        }
        found
    }
}

/// Kills every process given; how many could be signalled.
pub(crate) fn kill_all<'a>(processes: impl IntoIterator<Item = &'a Process>) -> usize {
    let killed = |process: &&Process| {
        let sent = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        // One that is gone already needs another look as much as one that was just killed.
        sent.is_ok() || sent == Err(Errno::ESRCH)
    };
    processes.into_iter().filter(killed).count()
}

/// The line of `/proc/<pid>/stat`: the name, in parentheses, may hold anything, so the fields
/// are counted from the last parenthesis.
fn parse(line: &[u8]) -> Option<Process> {
    let line = String::from_utf8_lossy(line);
    let (start, rest) = line.rsplit_once(')')?;
    let pid = start.split(' ').next()?.parse().ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // From the 6th field (session) to the 24th (resident pages).
    let pages = fields.nth(18)?.parse().unwrap_or(0);
    Some(Process {
        pid,
        parent,
        group,
        pages,
        zombie,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_fields() {
        let line = b"42 (a) Z 1 (b\xff) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 \
            1000000 321 18446744073709551615 1 1 0 0\n";
        let expected = Process {
            pid: 42,
            parent: 7,
            group: 8,
            pages: 321,
            zombie: false,
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(b"42 (a"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn this_process_is_among_its_parent_s_children_with_memory() {
        let me = i32::try_from(std::process::id()).unwrap();
        let parent = nix::unistd::getppid().as_raw();
        let table = Table::read();
        let found = table.descendants(parent);
        let found = found.iter().find(|process| process.pid == me).unwrap();
        assert!(found.pages > 0 && !found.zombie);
    }
}
