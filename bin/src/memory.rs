//! How much memory there is for this process.

use std::fs;
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::sysinfo::sysinfo;

/// The least of what the machine has, what the control groups that we are in allow, and what our own
/// limits (`ulimit -v`, `ulimit -d`) allow, in bytes.
pub(crate) fn available() -> Option<u64> {
    let machine = sysinfo().ok().map(|info| info.ram_total());
    let groups = fs::read_to_string("/proc/self/cgroup").ok();
    let groups = groups.and_then(|text| limit_of_groups(Path::new("/sys/fs/cgroup"), &text));
    let own = [Resource::RLIMIT_AS, Resource::RLIMIT_DATA].map(limit_of);
    let all = [machine, groups].into_iter().chain(own);
    all.flatten().min()
}

fn limit_of(resource: Resource) -> Option<u64> {
    let (limit, _) = getrlimit(resource).ok()?;
    (limit != RLIM_INFINITY).then_some(limit)
}

/// The least limit of our group and of those around it. In a container its own group is the root.
fn limit_of_groups(root: &Path, groups: &str) -> Option<u64> {
    let mut lines = groups.lines();
    let own = lines
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or("");
    let around = Path::new(own).ancestors();
    let limits = around.filter_map(|group| {
        let limit = fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        limit.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::setrlimit;

    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let limit = |group: &str, text: &str| {
            let group = root.path().join(group);
            fs::create_dir_all(&group).expect("a group");
            fs::write(group.join("memory.max"), text).expect("a limit");
        };
        let own = |groups: &str| limit_of_groups(root.path(), groups);
        limit("slice/service", "max\n");
        assert_eq!(own("0::/slice/service\n"), None);
        limit("slice", "5000\n");
        assert_eq!(own("0::/slice/service\n"), Some(5000));
        limit("slice/service", "6000\n");
        assert_eq!(own("0::/slice/service\n"), Some(5000));
        limit("slice/service", "4000\n");
        assert_eq!(own("12:cpu:/\n0::/slice/service\n"), Some(4000));
        // In a container the group is called `/`, or has a name from outside.
        limit("", "3000\n");
        assert_eq!(own("0::/\n"), Some(3000));
        assert_eq!(own("0::/../elsewhere\n"), Some(3000));
        assert_eq!(own(""), Some(3000));
    }

    #[test]
    fn our_own_limits_count() {
        let (_, hard) = getrlimit(Resource::RLIMIT_DATA).expect("limits");
        // More than there is: this process goes on as before.
        setrlimit(Resource::RLIMIT_DATA, hard.min(1 << 50), hard).expect("a lower limit");
        assert_eq!(limit_of(Resource::RLIMIT_DATA), Some(hard.min(1 << 50)));
    }
}
