//! What the control groups of this process allow it: memory and processor time, see cgroups(7).
//!
//! The invariant: what cannot be read is no limit. Both versions are understood, where they are usually mounted. The
//! groups above count too; those that this process cannot see are left out.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The memory that a control group still has, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryRoom {
    /// How much can be allocated before the kernel kills a process of the group.
    pub(crate) room_bytes: u64,
    pub(crate) limit_bytes: u64,
    /// The file with the limit.
    pub(crate) limit_file: PathBuf,
}

/// The memory of the control group that has the least; `None` without a limit.
pub(crate) fn memory_room() -> Option<MemoryRoom> {
    let groups = groups_of("memory", &fs::read_to_string("/proc/self/cgroup").ok()?);
    groups.iter().filter_map(|group| room_in(group)).min_by_key(|room| room.room_bytes)
}

/// How many processors a quota lets the control groups of this process use, in thousandths; `None` without a quota.
pub(crate) fn processor_quota_thousandths() -> Option<u64> {
    let groups = groups_of("cpu", &fs::read_to_string("/proc/self/cgroup").ok()?);
    groups.iter().filter_map(|group| quota_in(group)).min()
}

/// The directories of a process's control groups that limit what `controller` controls, for a `list` of its groups as
/// the kernel writes it: lines of "number:controllers:path".
fn groups_of(controller: &str, list: &str) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for line in list.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let mount = match controllers {
            // Version 2 has all controllers in one tree.
            "" => PathBuf::from(ROOT),
            _ if controllers.split(',').any(|name| name == controller) => Path::new(ROOT).join(controller),
            _ => continue,
        };
        // In a container the path can be one of the host, and the mount the container's own group.
        let own = mount.join(path.trim_start_matches('/'));
        groups.extend(own.ancestors().take_while(|group| group.starts_with(&mount)).map(Path::to_owned));
    }
    groups
}

fn number(file: PathBuf) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The memory that a group still has, if it has a limit.
fn room_in(group: &Path) -> Option<MemoryRoom> {
    let limit_and_used = |limit: &str, used: &str| {
        let limit_file = group.join(limit);
        Some((number(limit_file.clone())?, number(group.join(used))?, limit_file))
    };
    let (limit_bytes, used_bytes, limit_file) = limit_and_used("memory.max", "memory.current")
        .or_else(|| limit_and_used("memory.limit_in_bytes", "memory.usage_in_bytes"))?;
    let swap = limit_and_used("memory.swap.max", "memory.swap.current")
        .or_else(|| limit_and_used("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"));
    let info = rustix::system::sysinfo();
    let free_swap_bytes = (info.freeswap as u64).saturating_mul(info.mem_unit.into());
    let swap_bytes = swap.map_or(u64::MAX, |(limit, used, _)| limit.saturating_sub(used)).min(free_swap_bytes);
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let held_bytes = used_bytes.saturating_sub(reclaimable_bytes(&stat));
    let room_bytes = limit_bytes.saturating_sub(held_bytes).saturating_add(swap_bytes);
    Some(MemoryRoom { room_bytes, limit_bytes, limit_file })
}

/// What the kernel takes back before it kills: the pages of files on disks. `stat` has lines of "name bytes".
fn reclaimable_bytes(stat: &str) -> u64 {
    let value = |name: String| -> Option<u64> {
        stat.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' ')?.parse().ok())
    };
    let of_files = |prefix: &str| -> Option<u64> {
        Some(value(format!("{prefix}active_file"))? + value(format!("{prefix}inactive_file"))?)
    };
    of_files("total_").or_else(|| of_files("")).unwrap_or(0)
}

/// The quota of processor time of a group, if it has one.
fn quota_in(group: &Path) -> Option<u64> {
    let (quota, period) = match fs::read_to_string(group.join("cpu.max")) {
        Ok(max) => {
            let mut fields = max.split_whitespace().map(str::parse);
            (fields.next()?.ok()?, fields.next()?.ok()?)
        }
        Err(_) => (number(group.join("cpu.cfs_quota_us"))?, number(group.join("cpu.cfs_period_us"))?),
    };
    let thousandths: u64 = quota * 1000;
    thousandths.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::TempDir;

    #[test]
    fn a_process_is_in_its_group_and_in_all_above() {
        let list = "4:cpu,cpuacct:/a\n3:memory:/docker/12:34\n0::/user.slice/b\n";
        let paths = |controller| -> Vec<_> {
            groups_of(controller, list).iter().map(|path| path.display().to_string()).collect()
        };
        let v1 = ["/memory/docker/12:34", "/memory/docker", "/memory", "/user.slice/b", "/user.slice", ""];
        assert_eq!(paths("memory"), v1.map(|path| format!("{ROOT}{path}")));
        assert_eq!(paths("cpu")[0], format!("{ROOT}/cpu/a"));
        assert!(groups_of("memory", "nonsense\n7:memory\n").is_empty());
    }

    #[test]
    fn both_versions_say_how_much_memory_is_left() {
        let group = TempDir::new();
        let write = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
        assert_eq!(room_in(group.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "600\n");
        write("memory.swap.max", "0\n");
        write("memory.swap.current", "0\n");
        write("memory.stat", "anon 1\nactive_file 100\ninactive_file 50\n");
        assert_eq!(room_in(group.path()), None);
        write("memory.max", "1000\n");
        let limit_file = group.path().join("memory.max");
        assert_eq!(room_in(group.path()), Some(MemoryRoom { room_bytes: 550, limit_bytes: 1000, limit_file }));
        write("memory.current", "2000\n");
        assert_eq!(room_in(group.path()).unwrap().room_bytes, 0);
        let old = TempDir::new();
        let write = |name: &str, text: &str| fs::write(old.path().join(name), text).unwrap();
        write("memory.limit_in_bytes", "1000\n");
        write("memory.usage_in_bytes", "600\n");
        write("memory.memsw.limit_in_bytes", "1000\n");
        write("memory.memsw.usage_in_bytes", "1000\n");
        write("memory.stat", "active_file 1\ninactive_file 1\ntotal_active_file 100\ntotal_inactive_file 50\n");
        assert_eq!(room_in(old.path()).unwrap().room_bytes, 550);
    }

    #[test]
    fn both_versions_say_how_many_processors_may_be_used() {
        let group = TempDir::new();
        let write = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
        assert_eq!(quota_in(group.path()), None);
        write("cpu.cfs_quota_us", "-1\n");
        write("cpu.cfs_period_us", "100000\n");
        assert_eq!(quota_in(group.path()), None);
        write("cpu.cfs_quota_us", "150000\n");
        assert_eq!(quota_in(group.path()), Some(1500));
        write("cpu.max", "max 100000\n");
        assert_eq!(quota_in(group.path()), None);
        write("cpu.max", "50000 100000\n");
        assert_eq!(quota_in(group.path()), Some(500));
    }
}
