//! The words of a text as numbers. A vocabulary is made of the training sentences once and then kept with the model,
//! which knows its words by these numbers alone.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What fills a row up behind its end.
pub const PAD: u32 = 0;
/// A word that the vocabulary does not have.
pub const UNK: u32 = 1;
/// What a decoder sees before the first word. No row of a data set has it.
pub const BOS: u32 = 2;
/// The end of a sentence, the last id of each row.
pub const EOS: u32 = 3;
/// The id of the first word.
pub const FIRST_WORD: u32 = 4;
/// What the ids below [`FIRST_WORD`] are shown as.
const SYMBOLS: [&str; FIRST_WORD as usize] = ["<pad>", "<unk>", "<bos>", "<eos>"];

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenisation {
    /// In lower case, a run of the letters a to z and digits; any other sign that is no space by itself:
    /// `don't` is `don`, `'`, `t`.
    #[default]
    Words,
    /// Each character as it is, spaces within the line too.
    Characters,
}

impl Tokenisation {
    /// Calls `take` with the tokens of a line, one after the other.
    pub fn split(self, line: &str, mut take: impl FnMut(&str)) {
        match self {
            Tokenisation::Words => {
                let line = line.to_lowercase();
                let mut rest = line.trim_start();
                while let Some(first) = rest.chars().next() {
                    let end = match rest.find(|sign: char| !sign.is_ascii_alphanumeric()) {
                        Some(0) => first.len_utf8(),
                        Some(end) => end,
                        None => rest.len(),
                    };
                    take(&rest[..end]);
                    rest = rest[end..].trim_start();
                }
            }
            Tokenisation::Characters => {
                line.trim().chars().for_each(|sign| take(sign.encode_utf8(&mut [0; 4])));
            }
        }
    }

    /// Tokens of a line.
    pub fn count(self, line: &str) -> usize {
        let mut count = 0;
        self.split(line, |_| count += 1);
        count
    }
}

/// Words and their ids: [`PAD`], [`UNK`], [`BOS`], [`EOS`], then the words by falling count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Vocabulary {
    tokens: Tokenisation,
    words: Vec<String>,
    /// The id of each word.
    ids: HashMap<String, u32>,
}

/// A vocabulary in a file.
#[derive(Serialize, Deserialize)]
struct Stored {
    tokens: Tokenisation,
    words: Vec<String>,
}

impl From<Stored> for Vocabulary {
    fn from(stored: Stored) -> Vocabulary {
        Vocabulary::new(stored.tokens, stored.words)
    }
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Stored {
        Stored { tokens: vocabulary.tokens, words: vocabulary.words }
    }
}

impl Vocabulary {
    /// These words, from [`FIRST_WORD`] on in this order.
    pub fn new(tokens: Tokenisation, words: Vec<String>) -> Vocabulary {
        let ids = words.iter().zip(FIRST_WORD..).map(|(word, id)| (word.clone(), id)).collect();
        Vocabulary { tokens, words, ids }
    }

    /// The words that lines have `min_count` times or more, those that are seen more often first, of equal ones the
    /// first in the alphabet.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a str>, tokens: Tokenisation, min_count: usize) -> Vocabulary {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for line in lines {
            tokens.split(line, |word| match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.into(), 1)),
            });
        }
        let mut counted: Vec<(String, usize)> = counts.into_iter().filter(|(_, count)| *count >= min_count).collect();
        counted.sort_by(|(a, of_a), (b, of_b)| (Reverse(of_a), a).cmp(&(Reverse(of_b), b)));
        Vocabulary::new(tokens, counted.into_iter().map(|(word, _)| word).collect())
    }

    /// V, the special symbols counted: each id is below it.
    pub fn len(&self) -> usize {
        self.words.len() + FIRST_WORD as usize
    }

    /// Whether it has no word.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// What its words are.
    pub fn tokens(&self) -> Tokenisation {
        self.tokens
    }

    /// The words, without the special symbols, in the order of their ids.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The id of a word; [`UNK`] of one that it does not have.
    pub fn id(&self, word: &str) -> u32 {
        self.ids.get(word).copied().unwrap_or(UNK)
    }

    /// Whether it has a word.
    pub fn knows(&self, word: &str) -> bool {
        self.ids.contains_key(word)
    }

    /// The word of an id, `<eos>` and the like of a special symbol; `<unk>` of an id that there is not.
    pub fn word(&self, id: u32) -> &str {
        match (SYMBOLS.get(id as usize), id.checked_sub(FIRST_WORD)) {
            (Some(symbol), _) => symbol,
            (None, at) => at.and_then(|at| self.words.get(at as usize)).map_or(SYMBOLS[UNK as usize], String::as_str),
        }
    }

    /// A line as a row of a data set: the ids of its tokens, then [`EOS`].
    pub fn encode(&self, line: &str) -> Vec<u32> {
        let mut row = Vec::new();
        self.tokens.split(line, |word| row.push(self.id(word)));
        row.push(EOS);
        row
    }

    /// The words of a row up to its first [`EOS`], with spaces between words and none between characters. Neither
    /// [`PAD`] nor [`BOS`] is shown.
    pub fn decode(&self, ids: &[u32]) -> String {
        let shown = ids.iter().take_while(|&&id| id != EOS).filter(|&&id| id != PAD && id != BOS);
        let words: Vec<&str> = shown.map(|&id| self.word(id)).collect();
        words.join(if self.tokens == Tokenisation::Words { " " } else { "" })
    }

    /// Whether a file that claims it to be of so many ids can be taken at its word: no word is there twice.
    pub fn is_whole(&self, len: usize) -> bool {
        self.len() == len && self.ids.len() == self.words.len() && !self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(tokens: Tokenisation, line: &str) -> Vec<String> {
        let mut words = Vec::new();
        tokens.split(line, |word| words.push(word.to_string()));
        words
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_and_all_else_is_a_sign() {
        for (line, words) in [
            ("Don't go, Tom!", "don ' t go , tom !"),
            ("  It's 7:30,\tok?? ", "it ' s 7 : 30 , ok ? ?"),
            ("a-b\u{a0}c\u{3000}D", "a - b c d"),
            ("naïve café…", "na ï ve caf é …"),
            ("🙂🙂x", "🙂 🙂 x"),
            (" \t ", ""),
        ] {
            assert_eq!(split(Tokenisation::Words, line).join(" "), words, "{line}");
            assert_eq!(Tokenisation::Words.count(line), words.split(' ').filter(|word| !word.is_empty()).count());
        }
        assert_eq!(split(Tokenisation::Characters, " Aé b\n").join("|"), "A|é| |b");
    }

    #[test]
    fn words_are_numbered_by_falling_count_and_then_by_the_alphabet() {
        let lines = ["b a b .", "c a .", "d b ."];
        let vocabulary = Vocabulary::of(lines, Tokenisation::Words, 1);
        assert_eq!(vocabulary.words(), [".", "b", "a", "c", "d"]);
        assert_eq!((vocabulary.len(), vocabulary.id("."), vocabulary.id("d"), vocabulary.id("e")), (9, 4, 8, UNK));
        assert_eq!((vocabulary.word(5), vocabulary.word(UNK), vocabulary.word(9)), ("b", "<unk>", "<unk>"));
        assert_eq!([PAD, BOS, EOS].map(|id| vocabulary.word(id)), ["<pad>", "<bos>", "<eos>"]);
        assert_eq!(Vocabulary::of(lines, Tokenisation::Words, 2).words(), [".", "b", "a"]);
        assert!(Vocabulary::of(lines, Tokenisation::Words, 4).is_empty());
    }

    #[test]
    fn rows_keep_their_order_end_in_the_end_and_come_back() {
        let vocabulary = Vocabulary::of(["a b b c c c"], Tokenisation::Words, 1);
        let row = vocabulary.encode("a C c x A");
        assert_eq!(row, [6, 4, 4, UNK, 6, EOS]);
        assert_eq!(vocabulary.decode(&row), "a c c <unk> a");
        assert_eq!(vocabulary.decode(&[BOS, 5, EOS, 4, PAD]), "b");
        assert_eq!((vocabulary.encode(""), vocabulary.decode(&[])), (vec![EOS], String::new()));
        let letters = Vocabulary::of(["ab a"], Tokenisation::Characters, 1);
        assert_eq!(letters.decode(&letters.encode("ba a")), "ba a");
    }

    #[test]
    fn it_comes_back_from_a_file_and_one_that_lies_is_known() {
        let vocabulary = Vocabulary::of(["x \"y\" é"], Tokenisation::Characters, 1);
        let text = serde_json::to_string(&vocabulary).unwrap();
        let read: Vocabulary = serde_json::from_str(&text).unwrap();
        assert_eq!(read, vocabulary);
        assert!(read.is_whole(vocabulary.len()) && !read.is_whole(vocabulary.len() + 1));
        let twice: Vocabulary = serde_json::from_str(r#"{"tokens":"words","words":["a","a"]}"#).unwrap();
        assert!(!twice.is_whole(6));
    }
}
