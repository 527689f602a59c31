//! Hosts of their own on one machine: network namespaces, each with one address, on a bridge in a
//! namespace of its own. No interface, rule or file of the machine itself is touched.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{self, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc::Table;

/// What all addresses begin with; nothing outside of the namespaces sees them.
const SUBNET: &str = "10.99.0";
/// What the names of all namespaces begin with; then comes the process that has made them.
const PREFIX: &str = "argonchaos-";
/// Where `ip` keeps them.
const NAMESPACES: &str = "/run/netns";

/// The namespaces of one run; removed when it ends.
pub(crate) struct Network {
    prefix: String,
    hosts: Vec<String>,
    /// Without `nft` a cut is a link that is down: both ways, and the host knows of it.
    pub(crate) has_nft: bool,
}

/// Why there can be no such hosts, and no clients on them, here.
pub(crate) fn missing() -> Option<String> {
    let name = format!("{PREFIX}{}-try", process::id());
    let tried = Command::new("ip").args(["netns", "add", &name]).output();
    let problem = match tried {
        Err(error) => Some(format!("`ip` cannot be run ({error})")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!(
                "`ip netns add` says: {} (it takes root)",
                said.trim()
            ))
        }
        Ok(_) => None,
    };
    if problem.is_none() {
        ip(&["netns", "del", &name]);
    }
    let lacks = |program: &&str| Command::new(program).arg("--version").output().is_err();
    let missing = ["python3", "perl"].into_iter().find(lacks);
    let problem = problem.or_else(|| Some(format!("there is no {}", missing?)));
    // All of them have keys.
    let perl = || {
        Command::new("perl")
            .args(["-MNet::SSLeay", "-e", "1"])
            .output()
    };
    let has_tls = || perl().is_ok_and(|output| output.status.success());
    problem.or_else(|| (!has_tls()).then(|| "Perl has no Net::SSLeay".to_owned()))
}

impl Network {
    /// Makes a host for each name, all of them connected.
    pub(crate) fn new(hosts: &[String]) -> Self {
        remove(|maker| !Path::new("/proc").join(maker).exists());
        let has_nft = Command::new("nft")
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !has_nft {
            eprintln!(
                "WARNING: there is no `nft` (package nftables): hosts are cut off by links that are \
                 down, and nothing is cut one way only"
            );
        }
        let network = Self {
            prefix: format!("{PREFIX}{}-", process::id()),
            hosts: hosts.to_vec(),
            has_nft,
        };
        let bridge = network.namespace("bridge");
        ip(&["netns", "add", &bridge]);
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &bridge, "link", "set", "br0", "up"]);
        for (index, host) in hosts.iter().enumerate() {
            let space = network.namespace(host);
            let port = format!("p{index}");
            ip(&["netns", "add", &space]);
            ip(&[
                "-n", &bridge, "link", "add", &port, "type", "veth", "peer", "name", "eth0",
                "netns", &space,
            ]);
            ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
            let address = format!("{}/24", network.address(host));
            ip(&["-n", &space, "address", "add", &address, "dev", "eth0"]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
            ip(&["-n", &space, "link", "set", "eth0", "up"]);
        }
        network
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// Where the host can be reached.
    pub(crate) fn address(&self, host: &str) -> String {
        let index = self.hosts.iter().position(|known| known == host);
        format!("{SUBNET}.{}", index.expect("a host of this network") + 1)
    }

    /// A command that runs on the host. Its process id is that of the program: `ip` becomes it.
    pub(crate) fn command(&self, host: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), program]);
        command
    }

    /// Gives rules to the packet filter of the host.
    pub(crate) fn filter(&self, host: &str, rules: &str) {
        let mut child = self
            .command(host, "nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(rules.as_bytes()).expect("nft reads");
        drop(stdin);
        assert!(child.wait().expect("nft ends").success(), "nft: {rules}");
    }

    /// Takes the cable out, or puts it back.
    pub(crate) fn link(&self, host: &str, up: bool) {
        let state = if up { "up" } else { "down" };
        ip(&["-n", &self.namespace(host), "link", "set", "eth0", state]);
    }

    /// How many packets the rules of this table have met.
    pub(crate) fn packets(&self, host: &str, table: &str) -> u64 {
        let mut list = self.command(host, "nft");
        let list = list.args(["list", "ruleset"]).output().expect("nft starts");
        let rules = String::from_utf8_lossy(&list.stdout).into_owned();
        let rules = rules.split_once(table).map_or("", |(_, after)| after);
        let count = rules.split_once("packets ").map_or("", |(_, after)| after);
        let count = count.split(' ').next().unwrap_or_default();
        count.parse().unwrap_or_default()
    }

    /// The processes on each host.
    pub(crate) fn processes(&self, table: &Table) -> BTreeMap<String, Vec<i32>> {
        let spaces = self.hosts.iter().filter_map(|host| {
            let inode = inode(&Path::new(NAMESPACES).join(self.namespace(host)))?;
            Some((inode, host.clone()))
        });
        processes_of(&spaces.collect(), table)
    }
}

/// The processes of namespaces that are given by their inodes.
fn processes_of(spaces: &BTreeMap<u64, String>, table: &Table) -> BTreeMap<String, Vec<i32>> {
    let mut found: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for pid in table.pids() {
        // Of one that has ended since, or is a zombie, there is none.
        let space = inode(Path::new(&format!("/proc/{pid}/ns/net")));
        if let Some(name) = space.and_then(|space| spaces.get(&space)) {
            found.entry(name.clone()).or_default().push(pid);
        }
    }
    found
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.ino())
}

/// Removes namespaces, and what runs in them, by the process that has made them.
fn remove(made_by: impl Fn(&str) -> bool) {
    let names = fs::read_dir(NAMESPACES).into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours = |name: &String| {
        let rest = name.strip_prefix(PREFIX);
        rest.and_then(|rest| rest.split('-').next())
            .is_some_and(&made_by)
    };
    let names: Vec<String> = names.filter(ours).collect();
    let space = |name: &String| Some((inode(&Path::new(NAMESPACES).join(name))?, name.clone()));
    let spaces = names.iter().filter_map(space).collect();
    // They would keep the namespaces alive.
    for pid in processes_of(&spaces, &Table::read())
        .into_values()
        .flatten()
    {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for name in names {
        let _ = Command::new("ip").args(["netns", "del", &name]).status();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let this = process::id().to_string();
        remove(|maker| maker == this);
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", args.join(" "));
}
