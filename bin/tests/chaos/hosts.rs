//! Hosts of their own on one machine: network namespaces, each with one address, on a bridge in a
//! namespace of its own. No interface, rule or file of the machine itself is touched.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};

use crate::proc::Table;

/// What all addresses begin with; nothing outside of the namespaces sees them.
const SUBNET: &str = "10.99.0";

/// The namespaces of one run; removed when it ends.
pub(crate) struct Network {
    prefix: String,
    hosts: Vec<String>,
    /// Without `nft` a cut is a link that is down: both ways, and the host knows of it.
    pub(crate) has_nft: bool,
}

/// Why there can be no namespaces here, if so.
pub(crate) fn missing() -> Option<String> {
    let name = format!("argon-{}-try", process::id());
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
    problem
}

impl Network {
    /// Makes a host for each name, all of them connected.
    pub(crate) fn new(hosts: &[String]) -> Self {
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
            prefix: format!("argon-{}-", process::id()),
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

    /// The processes on each host.
    pub(crate) fn processes(&self, table: &Table) -> BTreeMap<String, Vec<i32>> {
        let inode = |path: PathBuf| fs::metadata(path).ok().map(|found| found.ino());
        let mut found = BTreeMap::new();
        let of_space: BTreeMap<u64, &String> = self
            .hosts
            .iter()
            .filter_map(|host| {
                let path = PathBuf::from("/run/netns").join(self.namespace(host));
                Some((inode(path)?, host))
            })
            .collect();
        for pid in table.pids() {
            let Some(space) = inode(PathBuf::from(format!("/proc/{pid}/ns/net"))) else {
                continue;
            };
            if let Some(host) = of_space.get(&space) {
                let pids: &mut Vec<i32> = found.entry((*host).clone()).or_default();
                pids.push(pid);
            }
        }
        found
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What is left on the hosts would keep them alive.
        for pids in self.processes(&Table::read()).values() {
            for pid in pids {
                let pid = nix::unistd::Pid::from_raw(*pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
        let hosts = self.hosts.iter().map(String::as_str);
        for host in hosts.chain(["bridge"]) {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.namespace(host)])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", args.join(" "));
}
