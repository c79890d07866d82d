//! Counts the bytes that each thread holds, so that a script can be stopped before it takes too much.
//!
//! Rhai's own limits count elements, not bytes, and miss some containers; this counts what the
//! allocator really gave. It must never allocate, fail or panic itself.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;

#[cfg(not(target_os = "linux"))]
use std::alloc::System as Given;
#[cfg(target_os = "linux")]
use tikv_jemallocator::Jemalloc as Given;

thread_local! {
    // `const` and without a destructor: reading them inside the allocator neither allocates nor
    // touches a value that was already destroyed.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static BASE: Cell<isize> = const { Cell::new(0) };
    /// The last call on all threads that this one has followed.
    static FOLLOWED: Cell<u32> = const { Cell::new(0) };
}

/// How often all threads were called on to give back what is kept for them.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// jemalloc, or the system's allocator where that is not Linux, counting bytes per thread.
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
// SAFETY: every call is passed on unchanged to `Given`, which keeps the contract of `GlobalAlloc`;
// counting beside it touches thread-local cells only, and neither allocates nor unwinds.
unsafe impl GlobalAlloc for MeteredAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract, which is `Given`'s.
        let given = unsafe { Given.alloc(layout) };
        if !given.is_null() {
            count(signed(layout.size()));
        }
        given
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let given = unsafe { Given.alloc_zeroed(layout) };
        if !given.is_null() {
            count(signed(layout.size()));
        }
        given
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller hands back what `Given` gave, with the same layout.
        unsafe { Given.dealloc(at, layout) };
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`; `size` is valid by the caller's contract.
        let given = unsafe { Given.realloc(at, layout, size) };
        if !given.is_null() {
            count(signed(size) - signed(layout.size()));
        }
        given
    }
}

impl MeteredAlloc {
    /// Gives the pages in which nothing is held back to the system, where the allocator keeps them. Takes
    /// milliseconds after a storm of alarms; microseconds again soon after. What other threads keep for
    /// themselves is not in it, up to 100 KiB each: they give it back when they come to rest, by [`MeteredAlloc::thread_rests`] or [`MeteredAlloc::thread_parks`].
    pub fn give_back() {
        #[cfg(target_os = "linux")]
        for word in [c"thread.tcache.flush", c"arena.4096.purge"] {
            tell(word);
        }
        trim();
    }

    /// Gives back what is kept for the calling thread, which has nothing to do for a while. Takes some
    /// ten microseconds, and what comes next a little longer.
    pub fn thread_rests() {
        #[cfg(target_os = "linux")]
        tell(c"thread.tcache.flush");
    }

    /// The same, if there was a call on all threads since it was last done. For threads that have nothing
    /// to do thousands of times a second.
    pub fn thread_parks() {
        let calls = CALLS.load(Ordering::Relaxed);
        if FOLLOWED.replace(calls) != calls {
            Self::thread_rests();
        }
    }

    /// Calls on the threads of the runtime that this runs on, each of which does [`MeteredAlloc::thread_parks`]
    /// when it parks: it is given a reason to wake, and follows as soon as it has nothing to do.
    pub async fn call_threads() {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let mut wakes = JoinSet::new();
        for _ in 0..tokio::runtime::Handle::current().metrics().num_workers() {
            wakes.spawn(tokio::task::yield_now());
        }
        while wakes.join_next().await.is_some() {}
    }
}

/// The same for the C library's allocator, which SQLite's pages are from: by itself it gives back only
/// what is free at an end of its memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    #[expect(unsafe_code, reason = "only the allocator knows what is free")]
    // SAFETY: it takes a number, locks what it looks at, and leaves what is held as it is.
    let _gave = unsafe { libc::malloc_trim(0) };
}

#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
fn trim() {}

/// Tells jemalloc to do something (jemalloc(3), "MALLCTL NAMESPACE"; 4096 stands for all arenas).
/// Whether it knew the word.
#[cfg(target_os = "linux")]
fn tell(word: &std::ffi::CStr) -> bool {
    use std::ptr::null_mut;
    #[expect(unsafe_code, reason = "only the allocator knows what is free")]
    // SAFETY: the word ends with a zero, and with no places for values none is read or written.
    let failed =
        unsafe { tikv_jemalloc_sys::mallctl(word.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
    failed == 0
}

/// Begins a measurement on this thread.
pub(crate) fn begin() {
    BASE.set(HELD.get());
}

/// Bytes this thread holds more than at [`begin`].
pub(crate) fn used() -> isize {
    HELD.get().wrapping_sub(BASE.get())
}

/// What is made by `make` does not count as held by this thread, as if it had been there before.
pub(crate) fn uncounted<T>(make: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    let made = make();
    BASE.set(BASE.get().wrapping_add(HELD.get().wrapping_sub(before)));
    made
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_allocator_knows_the_words_for_giving_back() {
        assert!(tell(c"thread.tcache.flush") && tell(c"arena.4096.purge"));
        assert!(!tell(c"no.such.word"));
    }

    #[test]
    fn the_meter_follows_what_a_thread_holds() {
        assert!(is_installed());
        begin();
        let block = std::hint::black_box(vec![0_u8; 1 << 20]);
        assert!(used() >= 1 << 20);
        drop(block);
        assert!(used() < 1 << 20);
        let before = used();
        let free = uncounted(|| std::hint::black_box(vec![0_u8; 1 << 20]));
        assert_eq!(used(), before);
        drop(free);
    }
}
