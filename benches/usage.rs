//! What a process takes of its machine, as Linux tells it under `/proc`.

/// `USER_HZ`, in which Linux tells processor time on every common machine.
const TICKS_A_SECOND: f64 = 100.0;

/// Processor time a process has used, seconds: fields 14 and 15 of its `stat`, counted behind the
/// name in brackets.
pub(crate) fn processor_time(pid: u32) -> f64 {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux, and the process runs");
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

/// Memory of a process that is its own, KiB: its program's pages, which come in as they are first
/// run, are not.
pub(crate) fn own_memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .expect("Linux, and the process runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("it has memory").parse().unwrap()
}
