//! Randomness out of a seed, for the story itself and for everything in its thread: names, UIDs, the order of hash maps.
//!
//! The C library's `getrandom` is replaced in this test binary: in a thread with a seed it gives what follows from the
//! seed, in all others what the kernel gives.

use std::cell::Cell;

thread_local! {
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Everything random in this thread follows from a seed from now on.
pub fn seed(seed: u64) {
    SEEDED.set(Some(seed));
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x5151_7e57_0000_0000)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        next(&mut self.0)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit.max(1)
    }

    /// Whether it happens, so many times of a thousand.
    pub fn happens(&mut self, of_thousand: u64) -> bool {
        self.below(1_000) < of_thousand
    }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The C library's function of this name.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes, as that function demands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller promises so; an initialised slice is not read before it is written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    let seeded = SEEDED.try_with(Cell::get).ok().flatten();
    let Some(mut state) = seeded else {
        let flags = rustix::rand::GetRandomFlags::empty();
        return rustix::rand::getrandom(bytes, flags).map_or(-1, |count| count.cast_signed());
    };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next(&mut state).to_le_bytes()[..chunk.len()]);
    }
    let _ = SEEDED.try_with(|seeded| seeded.set(Some(state)));
    length.cast_signed()
}
