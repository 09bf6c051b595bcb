//! What messages carry, so that each can be told from every other: a head that numbers it, then a stretch of noise that
//! depends on the number.

use clap::ValueEnum;

use crate::random::Random;
use crate::sizes::Sizes;

/// A number in hexadecimal, valid in text as well.
pub(crate) const NUMBER_BYTES: usize = 16;
/// What a push carries before its noise: its number, and when it was due.
pub(crate) const PUSH_HEAD_BYTES: usize = 2 * NUMBER_BYTES;
/// How many different stretches of noise there are.
const STRETCHES: usize = 256;
/// Both ends of a push make the same noise of it.
const PUSH_SEED: u64 = 6455;

/// The type of the messages (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Binary,
    /// Printable ASCII.
    Text,
}

#[derive(Debug)]
pub(crate) struct Pattern {
    sizes: Sizes,
    noise: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new(sizes: Sizes, kind: Kind) -> Self {
        Self::with_noise(sizes, kind, Random::new())
    }

    /// For pushes, which are made by one process and checked by another.
    pub(crate) fn shared(size: usize) -> Self {
        Self::with_noise(Sizes::Fixed(size), Kind::Text, Random::seeded(PUSH_SEED))
    }

    fn with_noise(sizes: Sizes, kind: Kind, mut random: Random) -> Self {
        let words = (sizes.max() + STRETCHES).div_ceil(8);
        let noise = (0..words).flat_map(|_| random.next_u64().to_le_bytes());
        let noise = match kind {
            Kind::Binary => noise.collect(),
            Kind::Text => noise.map(|byte| b'0' + (byte & 0x3f)).collect(),
        };
        Self { sizes, noise }
    }

    pub(crate) fn size(&self, tag: u64) -> usize {
        self.sizes.of(tag)
    }

    /// Writes the payload of message `tag`.
    pub(crate) fn write(&self, tag: u64, out: &mut Vec<u8>) {
        out.clear();
        self.append(tag, &encode_number(tag), out);
    }

    /// Writes the payload of push `tag`, which was due at `due`.
    pub(crate) fn write_push(&self, tag: u64, due: u64, out: &mut Vec<u8>) {
        out.clear();
        let mut head = [0; PUSH_HEAD_BYTES];
        let (number, time) = head.split_at_mut(NUMBER_BYTES);
        number.copy_from_slice(&encode_number(tag));
        time.copy_from_slice(&encode_number(due));
        self.append(tag, &head, out);
    }

    fn append(&self, tag: u64, head: &[u8], out: &mut Vec<u8>) {
        let size = self.size(tag);
        out.extend_from_slice(head);
        out.extend_from_slice(self.stretch(tag, size.saturating_sub(head.len())));
        out.truncate(size);
    }

    /// Whether `bytes` are what message `tag` has at `offset`.
    pub(crate) fn matches(&self, tag: u64, offset: usize, bytes: &[u8]) -> bool {
        let number = encode_number(tag);
        let head = number.get(offset..).unwrap_or_default();
        let (in_head, in_noise) = bytes.split_at(bytes.len().min(head.len()));
        offset + bytes.len() <= self.size(tag)
            && head.starts_with(in_head)
            && self.has_noise(tag, offset.saturating_sub(NUMBER_BYTES), in_noise)
    }

    /// Whether the noise of message `tag` has `bytes` at `offset`.
    pub(crate) fn has_noise(&self, tag: u64, offset: usize, bytes: &[u8]) -> bool {
        let noise = self.noise.get(stretch_start(tag) + offset..);
        noise.unwrap_or_default().starts_with(bytes)
    }

    fn stretch(&self, tag: u64, len: usize) -> &[u8] {
        let start = stretch_start(tag);
        self.noise.get(start..start + len).unwrap_or_default()
    }
}

fn stretch_start(tag: u64) -> usize {
    usize::from(tag.to_le_bytes()[0])
}

/// The lowest digit first: what fits of it into a short message differs from one to the next.
pub(crate) fn encode_number(number: u64) -> [u8; NUMBER_BYTES] {
    let mut left = number;
    std::array::from_fn(|_| {
        let digit = (left & 0xf).to_le_bytes()[0];
        left >>= 4;
        digit + if digit < 10 { b'0' } else { b'a' - 10 }
    })
}

pub(crate) fn decode_number(digits: &[u8]) -> Option<u64> {
    digits.iter().rev().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_matches_its_tag_however_it_was_cut_and_no_other() {
        for (size, kind) in [0, 1, 7, 15, 16, 17, 64, 1000]
            .into_iter()
            .flat_map(|size| [(size, Kind::Text), (size, Kind::Binary)])
        {
            let pattern = Pattern::new(Sizes::Fixed(size), kind);
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

    #[test]
    fn text_is_text() {
        let mut payload = Vec::new();
        Pattern::new(Sizes::Fixed(1000), Kind::Text).write(7, &mut payload);
        assert!(payload.is_ascii());
    }

    #[test]
    fn numbers_are_written_and_read() {
        for number in [0, 9, 10, 0x1234_abcd, u64::MAX] {
            assert_eq!(decode_number(&encode_number(number)), Some(number));
        }
        assert_eq!(decode_number(b"12x4"), None);
    }

    #[test]
    fn two_patterns_for_pushes_agree() {
        let mut payload = Vec::new();
        Pattern::shared(100).write_push(3, 77, &mut payload);
        assert_eq!(payload.len(), 100);
        let (head, noise) = payload.split_at(PUSH_HEAD_BYTES);
        assert_eq!(decode_number(&head[NUMBER_BYTES..]), Some(77));
        assert!(Pattern::shared(100).has_noise(3, 0, noise));
        assert!(!Pattern::shared(100).has_noise(4, 0, noise));
    }
}
