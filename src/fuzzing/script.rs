//! A fuzzer's bytes as a script: read from the front, and all zeros once they are used up.
//!
//! Read so, every prefix of an input means the same as before, a seed can be written down by hand, and a dictionary's
//! words stand in the input as they are.

/// What is left of the bytes.
#[derive(Clone, Debug)]
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let bytes = self.bytes(N);
        taken[..bytes.len()].copy_from_slice(bytes);
        taken
    }

    pub(super) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// A number below `limit`, which is from 1 to 256.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.u8()) % limit
    }

    /// One of `choices`, which are 1 to 256.
    pub(super) fn choose<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// The next `len` bytes, or as many as there are.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// A position or a length as a hostile peer might choose it: near one of `landmarks`, a power of two, or anything.
    pub(super) fn word_near(&mut self, landmarks: &[u64]) -> u64 {
        let shift = u64::from_le_bytes(i64::from(self.u8() as i8).to_le_bytes());
        match self.u8() {
            0xff => self.u64(),
            byte @ 0x80..0xff => (1u64 << (byte & 63)).wrapping_add(shift),
            byte => landmarks[usize::from(byte) % landmarks.len()].wrapping_add(shift.wrapping_mul(8)),
        }
    }
}
