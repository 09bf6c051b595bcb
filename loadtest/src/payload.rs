//! What messages carry, so that each echo can be told from every other: a tag, then a stretch of noise that depends on it.

use crate::random::Random;

const TAG_BYTES: usize = 8;
/// How many different stretches of noise there are.
const STRETCHES: usize = 256;

#[derive(Debug)]
pub(crate) struct Pattern {
    size: usize,
    noise: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new(size: usize) -> Self {
        let mut random = Random::new();
        let noise =
            (0..(size + STRETCHES).div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes());
        Self {
            size,
            noise: noise.collect(),
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Writes the payload of message `tag`.
    pub(crate) fn write(&self, tag: u64, out: &mut Vec<u8>) {
        out.clear();
        let (head, noise) = self.parts(tag);
        out.extend_from_slice(&head);
        out.extend_from_slice(noise);
        out.truncate(self.size);
    }

    /// Whether `bytes` are what message `tag` has at `offset`.
    pub(crate) fn matches(&self, tag: u64, offset: usize, bytes: &[u8]) -> bool {
        let (head, noise) = self.parts(tag);
        let head = head.get(offset..).unwrap_or_default();
        let (in_head, in_noise) = bytes.split_at(bytes.len().min(head.len()));
        let noise = noise
            .get(offset.saturating_sub(TAG_BYTES)..)
            .unwrap_or_default();
        offset + bytes.len() <= self.size
            && head.starts_with(in_head)
            && noise.starts_with(in_noise)
    }

    fn parts(&self, tag: u64) -> ([u8; TAG_BYTES], &[u8]) {
        let head = tag.to_le_bytes();
        let start = usize::from(head[0]);
        let len = self.size.saturating_sub(TAG_BYTES);
        (head, self.noise.get(start..start + len).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_matches_its_tag_however_it_was_cut_and_no_other() {
        for size in [0, 1, 7, 8, 9, 64, 1000] {
            let pattern = Pattern::new(size);
            let mut payload = Vec::new();
            pattern.write(0x0102_0304, &mut payload);
            assert_eq!(payload.len(), size);
            for cut in 0..=size {
                let (left, right) = payload.split_at(cut);
                assert!(
                    pattern.matches(0x0102_0304, 0, left)
                        && pattern.matches(0x0102_0304, cut, right)
                );
            }
            assert_eq!(pattern.matches(0x0102_0305, 0, &payload), size == 0);
            payload.push(0);
            assert!(!pattern.matches(0x0102_0304, 0, &payload));
        }
    }
}
