//! A hasher for walks over many states.

use std::hash::{BuildHasherDefault, Hasher};

/// A walk hashes a million small states, and the standard hasher would take most
/// of the time in a debug build.
pub(super) type Quick = BuildHasherDefault<QuickHasher>;

#[derive(Default)]
pub(super) struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.0 = (self.0.rotate_left(5) ^ discriminant as u64).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
