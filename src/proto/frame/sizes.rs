//! Sizes of messages by class, cheap enough to be counted for every one.

/// The largest size of each class but the last, in bytes: powers of four from 64.
pub const SIZE_BOUNDS: [u64; 10] = [
    1 << 6,
    1 << 8,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
];

/// How many messages of a scan fall into each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub classes: [u32; SIZE_BOUNDS.len() + 1],
    /// Wire bytes of payload in all of them.
    pub bytes: u64,
}

impl Sizes {
    pub(super) fn count(&mut self, bytes: u64) {
        if let Some(class) = self.classes.get_mut(class_of(bytes)) {
            *class = class.saturating_add(1);
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The first class that has room for so many bytes.
fn class_of(bytes: u64) -> usize {
    // Bits beyond those of the first class, of which each further class has two.
    let bits = u64::BITS - bytes.saturating_sub(1).leading_zeros();
    let class = bits.saturating_sub(6).div_ceil(2) as usize;
    class.min(SIZE_BOUNDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_into_the_first_class_that_holds_them() {
        assert_eq!(class_of(0), 0);
        for (class, bound) in SIZE_BOUNDS.into_iter().enumerate() {
            assert_eq!(class_of(bound), class, "{bound}");
            assert_eq!(class_of(bound + 1), class + 1, "{bound} and one");
        }
        assert_eq!(class_of(u64::MAX), SIZE_BOUNDS.len());
    }
}
