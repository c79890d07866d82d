//! Counts the bytes that each thread holds, so that a script can be stopped before it takes too much.
//!
//! Rhai's own limits count elements, not bytes, and miss some containers; this counts what the
//! allocator really gave. It must never allocate, fail or panic itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // `const` and without a destructor: reading them inside the allocator neither allocates nor
    // touches a value that was already destroyed.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static BASE: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting bytes per thread.
///
/// A binary that runs rules installs it once; without it [`crate::Sandbox::start`] refuses:
///
/// ```
/// #[global_allocator]
/// static METERED: untoil_sandbox::MeteredAlloc = untoil_sandbox::MeteredAlloc;
/// # fn main() {}
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct MeteredAlloc;

fn count(bytes: isize) {
    HELD.set(HELD.get().wrapping_add(bytes));
}

fn signed(size: usize) -> isize {
    // A layout's size is at most `isize::MAX` by definition.
    isize::try_from(size).unwrap_or(isize::MAX)
}

#[expect(unsafe_code, reason = "only an allocator can count bytes, and `GlobalAlloc` is unsafe")]
// SAFETY: every call is passed on unchanged to `System`, which keeps the contract of `GlobalAlloc`;
// counting beside it touches thread-local cells only, and neither allocates nor unwinds.
unsafe impl GlobalAlloc for MeteredAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract, which is `System`'s.
        let given = unsafe { System.alloc(layout) };
        if !given.is_null() {
            count(signed(layout.size()));
        }
        given
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let given = unsafe { System.alloc_zeroed(layout) };
        if !given.is_null() {
            count(signed(layout.size()));
        }
        given
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller hands back what `System` gave, with the same layout.
        unsafe { System.dealloc(at, layout) };
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`; `size` is valid by the caller's contract.
        let given = unsafe { System.realloc(at, layout, size) };
        if !given.is_null() {
            count(signed(size) - signed(layout.size()));
        }
        given
    }
}

/// Two at least, so that one thread's long work in its heap does not stop all others; four at most,
/// since each keeps what is free in it, and scripts run on few threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: std::ops::RangeInclusive<std::ffi::c_int> = 2..=4;

/// As many heaps as there are processors for us, within bounds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn heaps() -> std::ffi::c_int {
    let processors = std::thread::available_parallelism();
    let processors = processors.ok().and_then(|n| n.get().try_into().ok());
    processors.unwrap_or(*HEAPS.start()).clamp(*HEAPS.start(), *HEAPS.end())
}

impl MeteredAlloc {
    /// Makes the system's allocator share a few heaps among all threads, where it can. To be called
    /// before other threads start: glibc gives each thread a heap, eight for each processor at most.
    pub fn share_heaps() {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        let heaps = heaps();
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        #[expect(unsafe_code, reason = "how the allocator works can be set only in its own words")]
        // SAFETY: mallopt(3) takes two numbers and may be called at any time.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, heaps);
        }
    }

    /// Gives the pages in which nothing is held back to the system, where the allocator keeps them.
    /// Takes milliseconds after a storm of alarms, in which no other thread gets memory of the same
    /// heap; microseconds again soon after.
    pub fn give_back() {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        #[expect(unsafe_code, reason = "only the allocator knows what is free")]
        // SAFETY: malloc_trim(3) is safe to call from any thread, and touches only what is free.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Begins a measurement on this thread.
pub(crate) fn begin() {
    BASE.set(HELD.get());
}

/// Bytes this thread holds more than at [`begin`].
pub(crate) fn used() -> isize {
    HELD.get().wrapping_sub(BASE.get())
}

/// Whether [`MeteredAlloc`] is this program's allocator.
pub(crate) fn is_installed() -> bool {
    let before = HELD.get();
    let probe: Vec<u8> = Vec::with_capacity(std::hint::black_box(64));
    let counted = HELD.get() != before;
    drop(std::hint::black_box(probe));
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_follows_what_a_thread_holds() {
        assert!(is_installed());
        begin();
        let block = std::hint::black_box(vec![0_u8; 1 << 20]);
        assert!(used() >= 1 << 20);
        drop(block);
        assert!(used() < 1 << 20);
    }
}
