//! What an instance has.

/// Processors that we may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// The memory that we may use, MiB; what the platform says goes before what the kernel says. 0: not known.
pub fn memory_mib() -> u32 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let lambda = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok();
    lambda
        .and_then(|text| text.trim().parse().ok())
        .or_else(|| of_group(&read("/sys/fs/cgroup/memory.max")?))
        .or_else(|| of_machine(&read("/proc/meminfo")?))
        .unwrap_or(0)
}

/// `memory.max` of cgroup v2: bytes, or `max`.
fn of_group(text: &str) -> Option<u32> {
    u32::try_from(text.trim().parse::<u64>().ok()? >> 20).ok()
}

fn of_machine(text: &str) -> Option<u32> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    u32::try_from(kib >> 10).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_mebibytes() {
        assert_eq!(of_group("1073741824\n"), Some(1024));
        assert_eq!(of_group("max\n"), None);
        assert_eq!(of_machine("MemTotal:  2097152 kB\nX: 1 kB"), Some(2048));
        assert!(cores() > 0 && memory_mib() > 0);
    }
}
