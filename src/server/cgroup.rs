//! How much memory we may use, as far as a control group says; and the part of it that unfinished
//! requests may have.

/// Most that unfinished requests may hold by default, bytes.
const MOST: u64 = 32 << 20;
/// What they may hold in any case.
const LEAST: u64 = 4 << 20;
/// Which part of the memory.
const PART: u64 = 8;

/// The default budget: an eighth of the memory we may use, and no more than there is use for.
pub(super) fn budget(limit: Option<u64>) -> u64 {
    limit.map_or(MOST, |limit| (limit / PART).clamp(LEAST, MOST))
}

/// The lowest limit that is set for us, if one is.
pub(super) fn memory_limit() -> Option<u64> {
    limit(&|path| std::fs::read_to_string(path).ok())
}

/// Version 2 first; on a machine with version 1, or both, the controller of memory is of version 1.
fn limit(read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let groups = read("/proc/self/cgroup")?;
    let of = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            parts
                .next()?
                .split(',')
                .any(|one| one == controller)
                .then(|| parts.next())
                .flatten()
        })
    };
    let lowest = |root: &str, file: &str, group: &str| {
        // Every group above ours limits us too. In a container the path may be the host's, of which
        // only the root is seen.
        let ancestors = group
            .match_indices('/')
            .map(|(end, _)| &group[..end])
            .chain([group.trim_end_matches('/')]);
        let limits = ancestors.filter_map(|group| {
            read(&format!("{root}{group}/{file}"))?
                .trim()
                .parse::<u64>()
                .ok()
        });
        limits.min()
    };
    let v2 = of("").and_then(|group| lowest("/sys/fs/cgroup", "memory.max", group));
    v2.or_else(|| {
        of("memory")
            .and_then(|group| lowest("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Option<u64> {
        limit(&|path| {
            files
                .iter()
                .find(|(known, _)| *known == path)
                .map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_lowest_limit_of_all_groups_above_counts() {
        let v2 = ("/proc/self/cgroup", "0::/system.slice/echo.service\n");
        let own = (
            "/sys/fs/cgroup/system.slice/echo.service/memory.max",
            "268435456\n",
        );
        let none = (
            "/sys/fs/cgroup/system.slice/echo.service/memory.max",
            "max\n",
        );
        let slice = ("/sys/fs/cgroup/system.slice/memory.max", "134217728\n");
        assert_eq!(found(&[v2, own]), Some(256 << 20));
        assert_eq!(found(&[v2, own, slice]), Some(128 << 20));
        assert_eq!(found(&[v2, none, slice]), Some(128 << 20));
        assert_eq!(found(&[v2, none]), None);
        assert_eq!(
            found(&[
                ("/proc/self/cgroup", "0::/\n"),
                ("/sys/fs/cgroup/memory.max", "1000\n")
            ]),
            Some(1000)
        );
        // A container that sees the host's path and its own root.
        assert_eq!(
            found(&[v2, ("/sys/fs/cgroup/memory.max", "1000\n")]),
            Some(1000)
        );
        let v1 = (
            "/proc/self/cgroup",
            "5:cpu,cpuacct:/x\n4:memory:/docker/x\n0::/\n",
        );
        let root = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n");
        assert_eq!(
            found(&[
                v1,
                (
                    "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
                    "3000\n"
                )
            ]),
            Some(3000)
        );
        assert_eq!(found(&[v1, root]), Some(2000));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn the_budget_is_an_eighth_within_its_bounds() {
        for (limit, budget_of_it) in [
            (None, 32 << 20),
            (Some(1 << 40), 32 << 20),
            (Some(256 << 20), 32 << 20),
            (Some(128 << 20), 16 << 20),
            (Some(8 << 20), 4 << 20),
        ] {
            assert_eq!(budget(limit), budget_of_it);
        }
    }
}
