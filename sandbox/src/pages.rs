//! The pages of the program's own files: its code, its tables, and those of its libraries.
//!
//! A start runs through much that is never needed again, and a storm through much that is not needed
//! while it is quiet. These pages stay resident for as long as there is memory, since the system does not
//! know that. They are let go here, and those that are needed come back by themselves: from the system's
//! cache of the file in a few microseconds each, or from the file, as they came the first time.

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;

/// Mappings that are looked at: a process of ours has some hundred.
const MAPPINGS_MAX: usize = 4_096;

/// Lets go of the pages of all files that are mapped as they are. How many bytes are mapped so.
pub(crate) fn let_go() -> io::Result<usize> {
    let ranges = unchanged(BufReader::new(File::open("/proc/self/smaps")?))?;
    Ok(ranges.into_iter().filter(let_go_of).map(|range| range.len()).sum())
}

/// Where files are mapped that cannot be written to by this process, and were not: of such pages there is
/// nothing in memory but what the file holds (proc(5), `smaps`).
fn unchanged(mut smaps: impl io::BufRead) -> io::Result<Vec<Range<usize>>> {
    let (mut ranges, mut now, mut line) = (Vec::new(), None, String::new());
    while smaps.read_line(&mut line)? > 0 && ranges.len() < MAPPINGS_MAX {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some("0")) => ranges.extend(now.take()),
            (Some("Anonymous:"), _) => now = None,
            (Some(place), Some("r-xp" | "r--p")) => {
                // Then: the offset, the device, the inode, and the path.
                now = words.nth(3).filter(|path| path.starts_with('/')).and_then(|_| range(place));
            }
            (Some(first), _) if !first.ends_with(':') => now = None,
            (Some(_) | None, _) => {}
        }
        line.clear();
    }
    Ok(ranges)
}

/// `7f00-7f10`.
fn range(place: &str) -> Option<Range<usize>> {
    let (from, to) = place.split_once('-')?;
    Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
}

/// Whether the system did so.
fn let_go_of(range: &Range<usize>) -> bool {
    let at = std::ptr::with_exposed_provenance_mut(range.start);
    #[expect(
        unsafe_code,
        reason = "only the system knows what is mapped, and it is told by addresses"
    )]
    // SAFETY: the range is a mapping of a file in which no page differs from the file's and which nobody
    // may write to, so that whoever reads it finds the same as before, whenever that is (madvise(2)).
    let failed = unsafe { libc::madvise(at, range.len(), libc::MADV_DONTNEED) };
    failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_mapped_as_they_are_are_let_go() {
        let smaps = "\
55d0-55d2 r--p 00000000 fe:01 12 /usr/bin/untoil\nRss: 8 kB\nAnonymous:             0 kB\nVmFlags: rd mr\n\
55d2-55d4 r-xp 00002000 fe:01 12 /usr/bin/with a space\nAnonymous: 0 kB\n\
55d4-55d6 r--p 00004000 fe:01 12 /usr/bin/untoil\nAnonymous: 4 kB\n\
55d6-55d8 rw-p 00006000 fe:01 12 /usr/bin/untoil\nAnonymous: 0 kB\n\
55d8-55da r--p 00000000 00:00 0 \nAnonymous: 0 kB\n\
55da-55dc r-xp 00000000 00:00 0 [vdso]\nAnonymous: 0 kB\n\
55dc-55de r--s 00000000 fe:01 13 /var/lib/untoil/journal.db-shm\nAnonymous: 0 kB\n\
nonsense r-xp 00000000 fe:01 12 /usr/bin/untoil\nAnonymous: 0 kB\n";
        let found = unchanged(smaps.as_bytes()).unwrap();
        assert_eq!(found, [0x55d0..0x55d2, 0x55d2..0x55d4]);
    }

    #[test]
    fn what_was_let_go_comes_back_by_itself() {
        static TABLE: [u64; 4_096] = [7; 4_096];
        assert!(let_go().unwrap() > 0);
        assert_eq!(std::hint::black_box(&TABLE).iter().sum::<u64>(), 7 * 4_096);
    }
}
