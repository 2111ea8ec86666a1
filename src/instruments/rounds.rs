//! The rounds of loops in a list of dispatches: a step over time records the same dispatches again and again.

use std::ops::Range;

/// The most dispatches of a round.
const LONGEST: usize = 100;
/// Fewer rounds are shown as they are.
const FEWEST: usize = 3;

/// Some dispatches that stand for themselves or, of a loop, for all its rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Those of one round.
    pub first: Range<usize>,
    /// How often they come, one after the other; 1 of what is no loop.
    pub times: usize,
}

impl Rounds {
    /// Where the last round ends.
    pub fn end(&self) -> usize {
        self.first.start + self.times * self.first.len()
    }
}

/// The list as rounds, where `same` says of two places whether a round may have either. The loop that takes up most
/// dispatches is found first at each place.
pub fn rounds(count: usize, same: impl Fn(usize, usize) -> bool) -> Vec<Rounds> {
    let mut all: Vec<Rounds> = Vec::new();
    let mut at = 0;
    while at < count {
        let repeats = |length: usize| {
            let same_as_first = (at + length..count).take_while(|&i| same(i, at + (i - at) % length)).count();
            1 + same_as_first / length
        };
        // Of equal length in all the shorter round, which comes first.
        let lengths = (1..=LONGEST.min((count - at) / FEWEST)).map(|length| (length * repeats(length), length));
        let found = lengths
            .filter(|(covered, length)| covered / length >= FEWEST)
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        let next = match found {
            Some((covered, length)) => Rounds { first: at..at + length, times: covered / length },
            None => Rounds { first: at..at + 1, times: 1 },
        };
        at = next.end();
        match all.last_mut() {
            Some(last) if last.times == 1 && next.times == 1 => last.first.end = next.first.end,
            _ => all.push(next),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(String, usize)> {
        let letters: Vec<char> = text.chars().collect();
        let found = rounds(letters.len(), |a, b| letters[a] == letters[b]);
        assert_eq!(found.iter().map(Rounds::end).next_back().unwrap_or(0), letters.len());
        found.into_iter().map(|r| (letters[r.first].iter().collect(), r.times)).collect()
    }

    #[test]
    fn loops_are_found_and_all_else_stays() {
        let owned = |parts: &[(&str, usize)]| parts.iter().map(|&(text, n)| (text.to_string(), n)).collect::<Vec<_>>();
        assert_eq!(of("xyabababz"), owned(&[("xy", 1), ("ab", 3), ("z", 1)]));
        assert_eq!(of("abcabd"), owned(&[("abcabd", 1)]));
        assert_eq!(of("aaaa"), owned(&[("a", 4)]));
        // A round may hold another one's repetition.
        assert_eq!(of("aabaabaab"), owned(&[("aab", 3)]));
        assert_eq!(of("pqqqpqqqpqqqr"), owned(&[("pqqq", 3), ("r", 1)]));
        assert_eq!(of(""), owned(&[]));
    }
}
