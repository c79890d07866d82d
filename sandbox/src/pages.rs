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

/// Where a file is mapped as it is: see [`all_unchanged`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unchanged(Range<usize>);

impl Unchanged {
    /// Its addresses; whole pages.
    pub(crate) fn range(&self) -> &Range<usize> {
        &self.0
    }
}

/// All places where files are mapped that cannot be written to by this process, and were not: of such
/// pages there is nothing in memory but what the file holds (proc(5), `smaps`).
pub(crate) fn all_unchanged() -> io::Result<Vec<Unchanged>> {
    unchanged(BufReader::new(File::open("/proc/self/smaps")?))
}

fn unchanged(mut smaps: impl io::BufRead) -> io::Result<Vec<Unchanged>> {
    let (mut ranges, mut now, mut line) = (Vec::new(), None, String::new());
    while smaps.read_line(&mut line)? > 0 && ranges.len() < MAPPINGS_MAX {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            // What is a copy of its own may be in memory or, after a while, swapped out.
            (Some("Anonymous:"), bytes, _) if bytes != Some("0") => now = None,
            (Some("Swap:"), Some("0"), _) => ranges.extend(now.take().map(Unchanged)),
            // The code, and what stands before it: the tables behind it were written to by the loader.
            (Some(place), Some("r-xp"), Some(_))
            | (Some(place), Some("r--p"), Some("00000000")) => {
                // Then: the device, the inode, and the path.
                now = words.nth(2).filter(|path| path.starts_with('/')).and_then(|_| range(place));
            }
            (Some(first), ..) if !first.ends_with(':') => now = None,
            (Some(_) | None, ..) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_mapped_as_they_are_are_let_go() {
        let smaps = [
            ("55d0-55d2 r--p 00000000 fe:01 12 /usr/bin/untoil", 0, 0),
            ("55d2-55d4 r-xp 00002000 fe:01 12 /usr/bin/with a space", 0, 0),
            ("55d4-55d6 r--p 00004000 fe:01 12 /usr/bin/untoil", 0, 0),
            ("55d6-55d8 rw-p 00006000 fe:01 12 /usr/bin/untoil", 0, 0),
            ("55d8-55da r--p 00000000 00:00 0", 0, 0),
            ("55da-55dc r-xp 00000000 00:00 0 [vdso]", 0, 0),
            ("55dc-55de r--s 00000000 fe:01 13 /var/lib/untoil/journal.db-shm", 0, 0),
            ("55de-55e0 r-xp 00000000 fe:01 14 /usr/lib/patched.so", 4, 0),
            ("55e0-55e2 r-xp 00000000 fe:01 14 /usr/lib/patched-and-swapped.so", 0, 4),
            ("nonsense r-xp 00000000 fe:01 12 /usr/bin/untoil", 0, 0),
        ]
        .into_iter()
        .map(|(mapping, own, swapped)| {
            format!("{mapping}\nRss: 8 kB\nAnonymous:    {own} kB\nSwap:  {swapped} kB\n")
        })
        .collect::<Vec<String>>()
        .concat();
        let found = unchanged(smaps.as_bytes()).unwrap();
        assert_eq!(found, [Unchanged(0x55d0..0x55d2), Unchanged(0x55d2..0x55d4)]);
    }
}
