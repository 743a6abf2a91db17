//! What the kernel says of this process (Linux; elsewhere nothing).

/// What this process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Memory in RAM, bytes.
    pub(super) memory: Option<f64>,
    /// Processor time, seconds.
    pub(super) cpu: Option<f64>,
    /// Open file descriptors.
    pub(super) files: Option<f64>,
}

/// Ticks of `/proc/self/stat` in a second: USER_HZ is part of the kernel's interface and 100 on
/// every platform we build for.
const TICKS: f64 = 100.0;

pub(super) fn usage() -> Usage {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    Usage {
        memory: read("status").as_deref().and_then(memory),
        cpu: read("stat").as_deref().and_then(cpu),
        files: std::fs::read_dir("/proc/self/fd")
            .ok()
            .and_then(|all| u32::try_from(all.count()).ok())
            .map(f64::from),
    }
}

/// From `VmRSS:     1234 kB`.
fn memory(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace()
        .next()?
        .parse::<f64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024.0)
}

/// Fields 14 and 15, counted after the name, which may hold spaces and brackets.
fn cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}
