//! The processes that the system kills because it is out of memory: nothing else tells their SIGKILL from a person's.

use std::fs;

/// The number of processes that the system had killed for want of memory, its own or a container's, at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryKills(Option<u64>);

impl MemoryKills {
    /// Counts them now.
    pub(crate) fn so_far() -> MemoryKills {
        let stat = fs::read_to_string("/proc/vmstat").ok();
        MemoryKills(stat.and_then(|stat| counted(&stat)))
    }

    /// Tells whether there were any since; there were none where the system does not count them.
    pub(crate) fn any_since(self) -> bool {
        let now = MemoryKills::so_far();
        self.0.zip(now.0).is_some_and(|(before, now)| now > before)
    }
}

fn counted(stat: &str) -> Option<u64> {
    let count = stat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kills_are_counted_where_the_system_does() {
        let stat = "pgfault 7\noom_kill_disable 9\noom_kill 3\nunevictable_pgs 0\n";
        assert_eq!(counted(stat), Some(3));
        assert_eq!(counted("pgfault 7\n"), None);
        assert_eq!(counted("oom_kill many\n"), None);
        assert!(!MemoryKills(None).any_since());
        assert!(!MemoryKills(Some(u64::MAX)).any_since());
    }
}
