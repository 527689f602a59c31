//! Who this process is: for people who look at a manager's status, and for the manager.

use std::path::Path;
use std::{env, fs, process};

use argon_core::ids::PoolProcess;
use argon_core::limits::NAME_MAX;
use argon_core::name::Name;
use nix::unistd::{User, getuid};

/// Most characters of the user's and of the host's name.
const PART_CHARS: usize = 40;

/// What this process is called if nobody says otherwise: `user@host:pid command`, cut to what a name
/// may have. `command` is the file name of the program, if nothing is given.
pub fn process_name(command: Option<&str>) -> Name {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let uid = getuid();
    let user = User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    let program = env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let program = program.to_string_lossy();
    let command = command.unwrap_or(&program);
    name_of(&user, &host, process::id(), command)
}

/// The variable in the environment of everything that a pool process starts: which process that is.
pub(crate) const PROCESS: &str = "ARGON_PROCESS";

/// The process of a worker's pool that this process is, or was started by.
pub(crate) fn pool_process() -> Option<PoolProcess> {
    env::var(PROCESS).ok()?.parse().ok()
}

fn name_of(user: &str, host: &str, pid: u32, command: &str) -> Name {
    let part = |text: &str| -> String {
        let shown = text.trim().chars().filter(|c| !c.is_control());
        shown.take(PART_CHARS).collect()
    };
    let mut text = format!("{}@{}:{pid} ", part(user), part(host));
    text.extend(command.chars().filter(|c| !c.is_control()));
    let text = text.trim_end();
    Name::new(&text[..text.floor_char_boundary(NAME_MAX)])
        .expect("short, not empty, and without control characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_and_fits() {
        let name = name_of("ann", "north\n", 7, "argon map");
        assert_eq!(name.as_str(), "ann@north:7 argon map");
        let name = name_of("", "", 7, "");
        assert_eq!(name.as_str(), "@:7");
        let long = "é".repeat(300);
        let name = name_of(&long, &long, 7, &format!("a\tb{long}"));
        assert!(name.as_str().len() <= NAME_MAX && name.as_str().contains(":7 abé"));
    }
}
