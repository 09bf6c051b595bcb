//! A running checksum of everything that went one way, by which both ends can tell whether it arrived whole and in order.

/// Odd, so that multiplying loses nothing.
const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

/// Does not depend on how the bytes were cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    sum: u64,
    /// Bytes that do not fill a word yet, the first one lowest.
    held: u64,
    len: u64,
}

impl Digest {
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !self.len.is_multiple_of(8)
            && let Some((byte, rest)) = bytes.split_first()
        {
            self.push(*byte);
            bytes = rest;
        }
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        self.len += words.len() as u64 * 8;
        for byte in tail {
            self.push(*byte);
        }
    }

    pub(crate) fn value(mut self) -> u64 {
        let len = self.len;
        self.add(self.held);
        self.add(len);
        self.sum
    }

    fn push(&mut self, byte: u8) {
        self.held |= u64::from(byte) << (self.len % 8 * 8);
        self.len += 1;
        if self.len.is_multiple_of(8) {
            self.add(self.held);
            self.held = 0;
        }
    }

    fn add(&mut self, word: u64) {
        self.sum = (self.sum.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut digest = Digest::default();
        for piece in pieces {
            digest.update(piece);
        }
        digest.value()
    }

    proptest! {
        #[test]
        fn it_does_not_depend_on_where_the_bytes_were_cut(bytes: Vec<u8>, size in 1_usize..20) {
            prop_assert_eq!(digest(bytes.chunks(size)), digest([bytes.as_slice()]));
        }

        #[test]
        fn a_changed_byte_and_a_missing_one_show(bytes in prop::collection::vec(any::<u8>(), 1..50), at: prop::sample::Index) {
            let at = at.index(bytes.len());
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            prop_assert_ne!(digest([changed.as_slice()]), digest([bytes.as_slice()]));
            changed.remove(at);
            prop_assert_ne!(digest([changed.as_slice()]), digest([bytes.as_slice()]));
        }
    }
}
