//! Memory of this process, where the system tells: Linux, by `/proc/self/status`.

/// Bytes that are in memory now.
pub fn resident() -> Option<usize> {
    field("VmRSS:")
}

/// Bytes that were at most.
pub fn peak() -> Option<usize> {
    field("VmHWM:")
}

fn field(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
