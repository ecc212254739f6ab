//! How much memory of the machine this process held at most while it did one thing. Knows nothing of a device's memory,
//! and counts what libtorch itself takes, and what earlier stages left behind.

/// Sets the peak to what is held now; false where the kernel cannot.
pub fn forget_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most that was held since then.
pub fn peak_bytes() -> Option<u64> {
    read_peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// From the kernel's account of a process.
fn read_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_of_the_watch_and_not_of_what_was_before() {
        let hold = |bytes: usize| drop(std::hint::black_box(vec![1_u8; bytes]));
        hold(256 << 20);
        if !forget_peak() {
            return;
        }
        hold(64 << 20);
        let bytes = peak_bytes().unwrap();
        assert!((64 << 20..200 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn only_a_number_of_kilobytes_is_read() {
        assert_eq!(read_peak("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        for bad in ["", "VmHWM:", "VmHWM: 12", "VmHWM: -1 kB", "VmHWM: 18446744073709551615 kB"] {
            assert_eq!(read_peak(bad), None, "{bad}");
        }
    }
}
