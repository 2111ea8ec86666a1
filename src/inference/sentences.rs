//! Sentences of a trained model: lines are read as its words, and latent points written as sentences, a word at a time
//! on the host, by the views `start` and `next`. B sentences, V words, Z latent dimensions, H numbers of a state.
//!
//! Each word is chosen of those that the model may write: never the fill-up `<pad>` or the begin symbol `<bos>`, the
//! unknown word `<unk>` only where nothing else has a finite logit, the end not before the first word. A sentence stops
//! at its end, or where the end is all that the model's longest row has room for.

use std::cmp::Ordering;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Trained;
use super::stages::CHUNK;
use crate::data::ragged::Ragged;
use crate::data::table::{TEXT, Table, Values};
use crate::data::text::vocabulary::{BOS, EOS, FIRST_WORD, PAD, UNK};
use crate::error::{Error, Result, plain};

/// How words are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Writing {
    /// The most probable word each time.
    Greedy,
    /// Drawn. Sentence n has random numbers of its own, whatever is written beside it.
    Sampled {
        /// What divides the logits: below 1 plainer sentences, above 1 wilder ones.
        temperature: f32,
        /// Drawn of so many most probable words alone; `None` draws of all.
        top_k: Option<usize>,
        /// Of the random numbers.
        seed: u64,
    },
    /// Of so many beginnings kept after each word, the sentence of the largest log p(w|z) that is found.
    Beam(usize),
}

/// Sentences on their way, R rows: what is to be told next, and the decoder's state.
struct Rows {
    /// (R)
    word: Vec<u32>,
    /// (R,Z)
    z: Vec<f32>,
    /// (R,H)
    h: Vec<f32>,
    /// (R,H)
    c: Vec<f32>,
}

impl Rows {
    /// Of these rows, each with the word that it goes on with. A row may be taken more than once.
    fn kept(&self, rows: &[(usize, u32)]) -> Rows {
        let count = self.word.len();
        let of = |values: &[f32]| -> Vec<f32> {
            let width = values.len() / count;
            rows.iter().flat_map(|&(row, _)| &values[row * width..(row + 1) * width]).copied().collect()
        };
        Rows { word: rows.iter().map(|&(_, word)| word).collect(), z: of(&self.z), h: of(&self.h), c: of(&self.c) }
    }
}

/// A beginning of a sentence, of a beam.
#[derive(Clone)]
struct Beginning {
    words: Vec<u32>,
    /// log p(words|z) in nats.
    log_p: f64,
}

impl Trained {
    /// V and the longest row, its end counted. Errors: it is no model of sentences.
    pub fn sentence_sizes(&self) -> Result<[usize; 2]> {
        self.vocabulary()?;
        self.card.columns.tokens(TEXT)
    }

    /// Lines as a table of sentences, in their order. A word that the model does not know is `<unk>`.
    ///
    /// Errors: no model of sentences; a line without a word, or of more tokens than the model's longest.
    pub fn read_lines<S: AsRef<str>>(&self, lines: &[S]) -> Result<Table> {
        let vocabulary = self.vocabulary()?;
        let sizes = self.sentence_sizes()?;
        let read = |line: &S| {
            let line = line.as_ref();
            let (row, longest) = (vocabulary.encode(line), sizes[1]);
            match row.len() {
                1 => Err(Error::Usage(format!("\"{}\" has no word: a sentence has one at least", plain(line)))),
                tokens if tokens > longest => Err(Error::Usage(format!(
                    "\"{}\" has {tokens} tokens, the end counted, and the model's longest sentence {longest}",
                    beginning(line)
                ))),
                _ => Ok(row),
            }
        };
        let rows: Vec<Vec<u32>> = lines.iter().map(read).collect::<Result<_>>()?;
        Ok(Table::of_tokens(Ragged::new(rows.iter().map(Vec::as_slice), sizes[0]), sizes))
    }

    /// The sentences of a table as the model knows them, with `<unk>` for a word that it does not know.
    ///
    /// Errors: no model of sentences. Panics where the table has none.
    pub fn shown(&self, table: &Table) -> Result<Vec<String>> {
        let vocabulary = self.vocabulary()?;
        let Some(Values::Ragged(rows)) = table.column(TEXT).map(|column| &column.values) else {
            panic!("the table has no sentences")
        };
        Ok((0..rows.count()).map(|n| vocabulary.decode(rows.row(n))).collect())
    }

    /// The sentences of latent points (N,Z), in words.
    ///
    /// Errors: no model of sentences; no room on the device. Panics where `z` is not whole points, on a beam of width
    /// 0, and on a temperature that is not above 0.
    pub fn write(&mut self, z: &[f32], writing: Writing) -> Result<Vec<String>> {
        let ids = self.write_ids(z, writing)?;
        let vocabulary = self.vocabulary()?;
        Ok(ids.iter().map(|row| vocabulary.decode(row)).collect())
    }

    /// The same as ids of the vocabulary, without the end.
    pub fn write_ids(&mut self, z: &[f32], writing: Writing) -> Result<Vec<Vec<u32>>> {
        let latent = self.latent()?;
        assert!(z.len().is_multiple_of(latent), "{} numbers are no points of {latent}", z.len());
        // As many at a time as go through the view at once.
        let at_once = match writing {
            Writing::Beam(width) => (CHUNK / width).max(1),
            _ => CHUNK,
        };
        let mut all = Vec::with_capacity(z.len() / latent);
        for z in z.chunks(at_once * latent) {
            let written = match writing {
                Writing::Beam(width) => self.search(z, width)?,
                _ => self.write_straight(z, writing, all.len())?,
            };
            all.extend(written);
        }
        Ok(all)
    }

    /// Word by word without a way back. `first` is the number of the first sentence.
    fn write_straight(&mut self, z: &[f32], writing: Writing, first: usize) -> Result<Vec<Vec<u32>>> {
        let [vocabulary, longest] = self.sentence_sizes()?;
        let mut rows = self.begin(z)?;
        let mut written: Vec<Vec<u32>> = vec![Vec::new(); rows.word.len()];
        // The sentence of each row; those that have ended leave.
        let mut on_their_way: Vec<usize> = (0..written.len()).collect();
        let mut random: Vec<ChaCha8Rng> = (first..first + written.len()).map(|n| stream(writing, n)).collect();
        for step in 0..longest - 1 {
            let logits = self.next(&mut rows)?;
            let mut going = Vec::new();
            for (row, &sentence) in on_their_way.iter().enumerate() {
                let words = candidates(&logits[row * vocabulary..(row + 1) * vocabulary], step > 0);
                let word = match writing {
                    Writing::Sampled { temperature, top_k, .. } => {
                        draw(words, temperature, top_k, random[sentence].random())
                    }
                    _ => words.into_iter().max_by(by_logit).expect("there is a candidate").0,
                };
                if word != EOS {
                    written[sentence].push(word);
                    going.push((row, word));
                }
            }
            if going.is_empty() {
                break;
            }
            on_their_way = going.iter().map(|&(row, _)| on_their_way[row]).collect();
            rows = rows.kept(&going);
        }
        Ok(written)
    }

    /// Beam search, of each point by itself.
    fn search(&mut self, z: &[f32], width: usize) -> Result<Vec<Vec<u32>>> {
        assert!(width > 0, "a beam of width 0");
        let [vocabulary, longest] = self.sentence_sizes()?;
        let mut rows = self.begin(z)?;
        let count = rows.word.len();
        let mut best: Vec<Option<Beginning>> = vec![None; count];
        // The point and the beginning of each row, those of a point together.
        let mut open: Vec<(usize, Beginning)> =
            (0..count).map(|point| (point, Beginning { words: Vec::new(), log_p: 0.0 })).collect();
        for step in 0..longest {
            let logits = self.next(&mut rows)?;
            let (mut going, mut next) = (Vec::new(), Vec::new());
            for (point, best) in best.iter_mut().enumerate() {
                let mut longer: Vec<(f64, usize, u32)> = Vec::new();
                for (row, (_, beginning)) in open.iter().enumerate().filter(|(_, (of, _))| *of == point) {
                    let logits = &logits[row * vocabulary..(row + 1) * vocabulary];
                    let log_sum = log_sum(logits);
                    let words = match step + 1 == longest {
                        true => vec![(EOS, logits[EOS as usize])],
                        false => candidates(logits, step > 0),
                    };
                    let after = |(word, logit): (u32, f32)| (beginning.log_p + f64::from(logit) - log_sum, row, word);
                    longer.extend(most(words, width).into_iter().map(after));
                }
                longer.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
                for (log_p, row, word) in longer.into_iter().take(width) {
                    if best.as_ref().is_some_and(|best| best.log_p >= log_p) {
                        continue; // longer ones are less probable still
                    }
                    let mut words = open[row].1.words.clone();
                    if word == EOS {
                        *best = Some(Beginning { words, log_p });
                    } else {
                        words.push(word);
                        going.push((row, word));
                        next.push((point, Beginning { words, log_p }));
                    }
                }
            }
            if going.is_empty() {
                break;
            }
            rows = rows.kept(&going);
            open = next;
        }
        Ok(best.into_iter().map(|best| best.map_or(Vec::new(), |best| best.words)).collect())
    }

    /// Before the first word of the sentences of z (B,Z).
    fn begin(&mut self, z: &[f32]) -> Result<Rows> {
        let count = z.len() / self.latent()?;
        let h = self.view("start", &[("z", z)], 0)?.remove(0);
        Ok(Rows { word: vec![BOS; count], z: z.to_vec(), c: vec![0.0; h.len()], h })
    }

    /// The logits (R,V) of what follows, and the state there.
    fn next(&mut self, rows: &mut Rows) -> Result<Vec<f32>> {
        let word: &[f32] = bytemuck::cast_slice(&rows.word);
        let inputs = [("word", word), ("z", &rows.z), ("h", &rows.h), ("c", &rows.c)];
        let [logits, h, c] = self.view("next", &inputs, 0)?.try_into().expect("logits and a state");
        (rows.h, rows.c) = (h, c);
        Ok(logits)
    }
}

/// The random numbers of sentence n.
fn stream(writing: Writing, n: usize) -> ChaCha8Rng {
    let seed = if let Writing::Sampled { seed, .. } = writing { seed } else { 0 };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(n as u64);
    rng
}

/// The words that may be written, with their logits.
fn candidates(logits: &[f32], may_end: bool) -> Vec<(u32, f32)> {
    let is_word = |id: u32| id >= FIRST_WORD || (id == EOS && may_end);
    let words = (0..).zip(logits.iter().copied()).filter(|&(id, logit)| is_word(id) && logit.is_finite());
    let words: Vec<(u32, f32)> = words.collect();
    debug_assert!(words.iter().all(|&(id, _)| id != PAD && id != BOS));
    if words.is_empty() { vec![(UNK, 0.0)] } else { words }
}

/// By the logit; of equal ones the lower id counts as larger.
fn by_logit(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))
}

/// The `count` words of the largest logits, the largest first.
fn most(mut words: Vec<(u32, f32)>, count: usize) -> Vec<(u32, f32)> {
    if count < words.len() {
        words.select_nth_unstable_by(count, |a, b| by_logit(b, a));
        words.truncate(count);
    }
    words.sort_by(|a, b| by_logit(b, a));
    words
}

/// One word, by a uniform number of 0 to 1.
fn draw(words: Vec<(u32, f32)>, temperature: f32, top_k: Option<usize>, uniform: f64) -> u32 {
    assert!(temperature > 0.0, "a temperature of {temperature}");
    let count = top_k.unwrap_or(words.len());
    let words = most(words, count);
    let weight = |logit: f32| (f64::from(logit - words[0].1) / f64::from(temperature)).exp();
    let total: f64 = words.iter().map(|&(_, logit)| weight(logit)).sum();
    let mut left = uniform * total;
    let found = words.iter().find(|&&(_, logit)| {
        left -= weight(logit);
        left < 0.0
    });
    found.unwrap_or(&words[0]).0
}

/// log sum exp
fn log_sum(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(largest) + logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum::<f64>().ln()
}

/// The first signs of a line, for a message.
fn beginning(line: &str) -> String {
    let line = plain(line);
    match line.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_word_is_never_chosen() {
        let logits = [9.0, 8.0, 7.0, 6.0, 1.0, 2.0];
        let ids = |may_end| candidates(&logits, may_end).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!((ids(true), ids(false)), (vec![EOS, 4, 5], vec![4, 5]));
        assert_eq!(candidates(&[0.0, 0.0, 0.0, 0.0, f32::NAN], false), [(UNK, 0.0)]);
    }

    #[test]
    fn words_are_drawn_as_often_as_they_are_probable() {
        let words = || vec![(4, 0.0), (5, 2.0f32.ln()), (6, 4.0f32.ln())];
        assert_eq!(most(words(), 2), [(6, 4.0f32.ln()), (5, 2.0f32.ln())]);
        let drawn = |temperature, top_k| {
            let mut counts = [0; 3];
            (0..700).for_each(|n| {
                counts[draw(words(), temperature, top_k, (f64::from(n) + 0.5) / 700.0) as usize - 4] += 1;
            });
            counts
        };
        assert_eq!(drawn(1.0, None), [100, 200, 400]);
        assert_eq!(drawn(1.0, Some(1)), [0, 0, 700]);
        assert_eq!(drawn(1e-3, None), [0, 0, 700]);
        assert!((log_sum(&[1000.0, 1000.0]) - 1000.0 - 2.0f64.ln()).abs() < 1e-9);
    }
}
