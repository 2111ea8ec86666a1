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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Other tests allocate meanwhile, but not 256 MiB.
    #[test]
    fn memory_that_is_written_is_seen() {
        let before = resident().unwrap();
        let block = vec![1u8; 256 << 20];
        let with = resident().unwrap();
        assert!(block[12345] == 1 && with > before + (200 << 20), "{before} to {with}");
        drop(block);
        assert!(peak().unwrap() >= with && resident().unwrap() < with - (100 << 20));
    }
}
