//! Which addresses a name has had lately, so that connections to others are let go of.
//!
//! A connection that is kept does not notice that its name has moved: it would go on to the old address for as long as
//! there is traffic. So the name is looked up again while connections lie idle, and one whose address is in none of the
//! last [`ANSWERS`] answers is used no more.
//!
//! The interval is fixed. The system's resolver tells no time to live, and is kept for what it knows besides DNS
//! (`/etc/hosts`, search domains, the order of addresses), which is what a cluster relies on; it, or the cluster's DNS, keeps
//! answers for as long as they live. Several answers and not the last alone, because many names answer with a few of
//! their addresses at a time.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Answers that an address must be missing in.
const ANSWERS: usize = 3;

/// The last answers for one name.
#[derive(Debug, Default)]
pub struct Addresses {
    answers: VecDeque<Vec<IpAddr>>,
}

impl Addresses {
    /// The name has these addresses now.
    pub fn note(&mut self, answer: &[IpAddr]) {
        if self.answers.len() == ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(answer.to_vec());
    }

    /// A connection was made to this one, so the name has it now.
    pub fn dialled(&mut self, address: IpAddr) {
        match self.answers.back_mut() {
            Some(last) if last.contains(&address) => {}
            Some(last) => last.push(address),
            None => self.note(&[address]),
        }
    }

    /// Whether the name has this address no more.
    pub fn has_left(&self, address: IpAddr) -> bool {
        self.answers.len() == ANSWERS && !self.answers.iter().any(|answer| answer.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_has_left_when_three_answers_are_without_it() {
        let mut addresses = Addresses::default();
        addresses.dialled(ip(1));
        for _ in 0..2 {
            addresses.note(&[ip(2)]);
            assert!(!addresses.has_left(ip(1)));
        }
        addresses.note(&[ip(2), ip(3)]);
        assert!(addresses.has_left(ip(1)));
        assert!(!addresses.has_left(ip(2)));
        addresses.note(&[ip(1)]);
        assert!(!addresses.has_left(ip(1)), "it is back");
    }

    #[test]
    fn one_that_is_new_has_not_left() {
        let mut addresses = Addresses::default();
        for _ in 0..5 {
            addresses.note(&[ip(1)]);
        }
        assert!(addresses.has_left(ip(2)));
        addresses.dialled(ip(2));
        assert!(!addresses.has_left(ip(2)));
    }

    #[test]
    fn answers_that_take_turns_let_nobody_go() {
        let mut addresses = Addresses::default();
        for number in 0..20 {
            addresses.note(&[ip(number % 3)]);
        }
        for number in 0..3 {
            assert!(!addresses.has_left(ip(number)));
        }
    }
}
