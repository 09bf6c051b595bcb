//! What a server owes one connection, and whether what comes is that: echoes in order, pushes in order, or nothing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::lane::Step;
use crate::payload::{NUMBER_BYTES, PUSH_HEAD_BYTES, Pattern, decode_number};

#[derive(Debug)]
pub(crate) enum Inbound {
    Echoes(Echoes),
    Pushes(Pushes),
    /// Every message is one too many.
    Nothing,
}

impl Inbound {
    /// Takes a run of a message's payload; `end` if the message is complete with it.
    pub(crate) fn handle_data(&mut self, bytes: &[u8], end: bool, steps: &mut Vec<Step>) {
        match self {
            Self::Echoes(echoes) => steps.extend(echoes.handle_data(bytes, end)),
            Self::Pushes(pushes) => pushes.handle_data(bytes, end, steps),
            Self::Nothing if end => steps.push(Step::Mismatched),
            Self::Nothing => {}
        }
    }

    pub(crate) fn outstanding(&self) -> usize {
        match self {
            Self::Echoes(echoes) => echoes.outstanding.len(),
            Self::Pushes(_) | Self::Nothing => 0,
        }
    }

    /// The number of the push that should come next, once there was one.
    pub(crate) fn next_push(&self) -> Option<u64> {
        match self {
            Self::Pushes(pushes) => pushes.next,
            Self::Echoes(_) | Self::Nothing => None,
        }
    }

    /// The answer to a message that was due at `due` is owed from now on.
    pub(crate) fn expect(&mut self, due: Instant) {
        if let Self::Echoes(echoes) = self {
            echoes.outstanding.push_back(due);
        }
    }
}

/// The echoes that a server owes, in order, and how much of the first has come.
#[derive(Debug)]
pub(crate) struct Echoes {
    pattern: Rc<Pattern>,
    tag: u64,
    outstanding: VecDeque<Instant>,
    offset: usize,
    intact: bool,
}

impl Echoes {
    pub(crate) fn new(pattern: Rc<Pattern>, first_tag: u64) -> Self {
        Self {
            pattern,
            tag: first_tag,
            outstanding: VecDeque::new(),
            offset: 0,
            intact: true,
        }
    }

    fn handle_data(&mut self, bytes: &[u8], end: bool) -> Option<Step> {
        self.intact &= self.pattern.matches(self.tag, self.offset, bytes);
        self.offset += bytes.len();
        if !end {
            return None;
        }
        let bytes = self.offset;
        let whole = bytes == self.pattern.size(self.tag) && self.intact;
        self.tag += 1;
        self.offset = 0;
        self.intact = true;
        match self.outstanding.pop_front() {
            Some(due) if whole => Some(Step::Echoed { due, bytes }),
            _ => Some(Step::Mismatched),
        }
    }
}

/// The backend's pushes: the first may have any number, then each the next.
#[derive(Debug)]
pub(crate) struct Pushes {
    pattern: Rc<Pattern>,
    next: Option<u64>,
    /// Enough to know which push it is; the noise is checked as it comes.
    head: Vec<u8>,
    offset: usize,
    intact: bool,
}

impl Pushes {
    pub(crate) fn new(pattern: Rc<Pattern>) -> Self {
        Self {
            pattern,
            next: None,
            head: Vec::with_capacity(PUSH_HEAD_BYTES),
            offset: 0,
            intact: true,
        }
    }

    fn handle_data(&mut self, mut bytes: &[u8], end: bool, steps: &mut Vec<Step>) {
        let head_left = PUSH_HEAD_BYTES - self.head.len().min(PUSH_HEAD_BYTES);
        let (in_head, in_noise) = bytes.split_at(bytes.len().min(head_left));
        self.head.extend_from_slice(in_head);
        self.offset += in_head.len();
        bytes = in_noise;
        if !bytes.is_empty() {
            let offset = self.offset - PUSH_HEAD_BYTES;
            let known = self
                .numbers()
                .is_some_and(|(number, _)| self.pattern.has_noise(number, offset, bytes));
            self.intact &= known;
            self.offset += bytes.len();
        }
        if end {
            self.finish(steps);
        }
    }

    fn finish(&mut self, steps: &mut Vec<Step>) {
        let numbers = self.numbers();
        let bytes = std::mem::take(&mut self.offset);
        let intact = std::mem::replace(&mut self.intact, true);
        self.head.clear();
        let Some((number, due)) = numbers.filter(|_| intact) else {
            return steps.push(Step::Mismatched);
        };
        let expected = self.next.unwrap_or(number);
        match number.checked_sub(expected) {
            // Twice, or out of order.
            None => return steps.push(Step::Mismatched),
            Some(0) => {}
            Some(count) => steps.push(Step::Missed { count }),
        }
        self.next = Some(number.saturating_add(1));
        // Its length is that of the pattern, or it is not whole.
        steps.push(match bytes == self.pattern.size(number) {
            true => Step::Pushed { number, due, bytes },
            false => Step::Mismatched,
        });
    }

    /// Number and due time, once the head is complete.
    fn numbers(&self) -> Option<(u64, u64)> {
        let (number, due) = self.head.split_at_checked(NUMBER_BYTES)?;
        let due = due.get(..NUMBER_BYTES)?;
        Some((decode_number(number)?, decode_number(due)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Kind;
    use crate::sizes::Sizes;

    /// Feeds messages in pieces of `size` and gives what was made of them.
    fn feed(inbound: &mut Inbound, messages: &[Vec<u8>], size: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for message in messages {
            let mut pieces = message.chunks(size).peekable();
            while let Some(piece) = pieces.next() {
                inbound.handle_data(piece, pieces.peek().is_none(), &mut steps);
            }
        }
        steps
    }

    fn push(number: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        Pattern::shared(64).write_push(number, 1000 + number, &mut payload);
        payload
    }

    #[test]
    fn pushes_are_checked_for_order_length_and_content() {
        let check = |messages: &[Vec<u8>], expected: &[Step]| {
            for size in [1, 15, 31, 32, 33, 64, 100] {
                let mut inbound = Inbound::Pushes(Pushes::new(Rc::new(Pattern::shared(64))));
                assert_eq!(
                    feed(&mut inbound, messages, size),
                    expected,
                    "pieces of {size}"
                );
            }
        };
        let pushed = |number| Step::Pushed {
            number,
            due: 1000 + number,
            bytes: 64,
        };
        let mut harmed = push(6);
        harmed[40] ^= 1;
        let short = push(6)[..63].to_vec();
        check(&[push(5), push(6)], &[pushed(5), pushed(6)]);
        check(
            &[push(5), push(8)],
            &[pushed(5), Step::Missed { count: 2 }, pushed(8)],
        );
        check(&[push(5), push(5)], &[pushed(5), Step::Mismatched]);
        check(&[push(5), harmed], &[pushed(5), Step::Mismatched]);
        check(&[push(5), short], &[pushed(5), Step::Mismatched]);
    }

    #[test]
    fn echoes_are_checked_for_order_length_and_content() {
        let due = crate::clock::now();
        let pattern = Rc::new(Pattern::new(Sizes::Fixed(20), Kind::Binary));
        let echo = |tag| {
            let mut payload = Vec::new();
            pattern.write(tag, &mut payload);
            payload
        };
        let check = |messages: &[Vec<u8>], expected: &[Step]| {
            let mut inbound = Inbound::Echoes(Echoes::new(Rc::clone(&pattern), 9));
            (0..2).for_each(|_| inbound.expect(due));
            assert_eq!(feed(&mut inbound, messages, 7), expected);
        };
        let echoed = Step::Echoed { due, bytes: 20 };
        check(&[echo(9), echo(10)], &[echoed, echoed]);
        check(&[echo(10), echo(9)], &[Step::Mismatched, Step::Mismatched]);
        check(
            &[echo(9), echo(10)[..19].to_vec()],
            &[echoed, Step::Mismatched],
        );
        check(
            &[echo(9), echo(10), echo(11)],
            &[echoed, echoed, Step::Mismatched],
        );
    }
}
