//! The sentence VAE of Bowman et al. (2016, arXiv 1511.06349): a sentence as one point of a space, read by an LSTM and
//! written by another, and its form whose decoder is told no words.
//!
//! A sentence is words w_1 .. w_n, the last of them the end symbol. Minimised is, in nats a sentence,
//!
//!   -ELBO(w) = E_q(z|w)[sum_t -log p(w_t | w_<t, z)] + kl_weight KL(q(z|w) || N(0,1))
//!
//!   q(z|w) = N(mean(h_n), e^logvar(h_n))                h_n the encoder's state after the last word
//!   p(w_t | w_<t, z) = softmax(W s_t + b) at w_t        s_t = LSTM(x_t, s_t-1), s_0 = W_0 z + b_0, c_0 = 0
//!
//!   x_t = (embedding of w_t-1, z)     teacher_forcing, and z where z_every_step: a share word_dropout of the words is
//!                                     told as `<unk>`, anew at each step
//!   x_t = z                           without: what is written hangs on z alone
//!
//! A decoder that is told every word writes well without z: the KL goes to 0, and nothing is learned of sentences as
//! wholes (a collapse). A weight of the KL that grows, hidden words and free bits are against it.
//!
//! B sentences, T steps, V words, E numbers of a word's embedding, H of a state, Z of a latent. Steps are time-major:
//! row t*B + b is step t of sentence b. A row behind a sentence's end costs nothing and moves nothing.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::{Batch, Tokens};
use super::draw::Draw;
use super::parts::gaussian::Gaussian;
use super::parts::networks::{Divergence, LARGEST_SIZE, require};
use super::parts::vocabulary::Vocabulary;
use super::parts::{complete, read, reads};
use super::vae::{KL, RECON};
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, TEXT};
use crate::data::text::vocabulary::{BOS, FIRST_WORD, PAD, UNK};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::word_dropout::{self, Marks};
use crate::kernels::{joint, recurrent, tokens};
use crate::layers::Mode;
use crate::layers::embedding::Embedding;
use crate::layers::linear::{self, Linear};
use crate::layers::lstm::{self, Lstm};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The words of a sentence, its end counted: what perplexity is taken over.
const WORDS: Term = Term { name: "words", weight: Weight::Zero, about: "words a sentence, its end counted" };

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "sentence",
    about: "a VAE of sentences, read and written by LSTMs (Bowman et al. 2016)",
    formula: "-ELBO(w) = E_q[sum_t -log p(w_t|w_<t,z)] + kl_weight KL(q(z|w) || N(0,1))   (arXiv 1511.06349)",
    takes: &[TEXT],
    terms: |_| &[RECON, KL, WORDS],
    keys: &[Sentences::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: |_, _| (),
    fill_in: |_, _| Ok(()),
    presets: &presets::SENTENCE,
    open: |arena, table, columns| Ok(Box::new(Sentence::open(arena, read(table)?, columns)?)),
};

crate::keys! {
    /// The networks, and what the decoder is told.
    Sentences {
        "Model" {
            embedding: usize = 128, "N", "Numbers that stand for a word";
            hidden: usize = 256, "N", "Size of the state of encoder and decoder";
            latent: usize = 32, "N", "Number of latent dimensions";
            teacher_forcing: bool = true, "true or false",
                "Tell the decoder the word before at each step; without it what is written hangs on z alone";
            word_dropout: f64 = 0.0, "P", "Share of the words that the decoder is told as `<unk>`, anew at each step";
            z_every_step: bool = true, "true or false", "Give the decoder z at each step, not at the start alone";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The networks.
    #[serde(flatten)]
    pub sentences: Sentences,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        let Sentences { embedding, hidden, latent, teacher_forcing, word_dropout, z_every_step } = self.sentences;
        for (key, size) in [("embedding", embedding), ("hidden", hidden), ("latent", latent)] {
            require((1..=LARGEST_SIZE).contains(&size), key, size, &format!("must be 1 to {LARGEST_SIZE}"))?;
        }
        require((0.0..=1.0).contains(&word_dropout), "word_dropout", word_dropout, "must be 0 to 1")?;
        let is_told = teacher_forcing || z_every_step;
        require(is_told, "z_every_step", z_every_step, "must be true without teacher_forcing: there is nothing else")?;
        let rule = "must be 0 without teacher_forcing: there are no words to hide";
        require(teacher_forcing || word_dropout == 0.0, "word_dropout", word_dropout, rule)?;
        self.divergence.check()
    }

    /// I, the inputs of the decoder.
    fn told(&self) -> usize {
        let Sentences { embedding, latent, teacher_forcing, z_every_step, .. } = self.sentences;
        let [of_words, of_z] =
            [(teacher_forcing, embedding), (z_every_step, latent)].map(|(is, n)| if is { n } else { 0 });
        of_words + of_z
    }
}

/// The model.
pub struct Sentence {
    config: Config,
    /// V and the longest sentence.
    sizes: [usize; 2],
    embedding: Embedding,
    encoder: Lstm,
    latent: Gaussian,
    /// From z to s_0.
    start: Linear,
    decoder: Lstm,
    vocabulary: Vocabulary,
}

/// What the decoder's backward needs of its forward.
struct Decoded {
    start: linear::Saved,
    lstm: lstm::Saved,
    /// (T*B) words that it was told.
    told: Option<Tensor>,
}

impl Sentence {
    /// Declares the parameters for the sentences of the columns. Errors: settings out of range, no column of sentences.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Sentence> {
        let sizes = columns.tokens(TEXT)?;
        config.check()?;
        let Sentences { embedding, hidden, latent, .. } = config.sentences;
        Ok(Sentence {
            embedding: Embedding::new(arena, "embedding", sizes[0], embedding, Some(PAD)),
            encoder: Lstm::new(arena, "encoder", embedding, hidden),
            latent: Gaussian::of_features(arena, hidden, latent, config.divergence.free_bits),
            start: Linear::new(arena, "fc3", latent, hidden, Activation::Identity),
            decoder: Lstm::new(arena, "decoder", config.told(), hidden),
            vocabulary: Vocabulary::new(arena, "output", hidden, sizes[0], PAD),
            config,
            sizes,
        })
    }

    // ANCHOR: decoder
    /// The decoder's states (T*B,H) for z (B,Z), told the words of `text`, of which training hides some.
    fn decode(&self, r: &mut Recorder, z: Tensor, text: Tokens, draw: &mut Draw, mode: Mode) -> (Tensor, Decoded) {
        let [b, _] = z.matrix();
        let steps = text.ids.len() / b;
        let (h0, start) = self.start.forward(r, z); // (B,H)
        r.scope("decoder");
        let c0 = r.zeros("c0", h0.shape());
        let z = recurrent::at_each_step(r, z, steps); // (T*B,Z)
        let is_told = self.config.sentences.teacher_forcing;
        let told = is_told.then(|| self.told(r, text.ids, b, draw, mode)); // (T*B): w_t-1
        let x = self.input(r, told, z);
        let (states, lstm) = self.decoder.forward(r, x, text.lengths, Some([h0, c0]));
        (states.h, Decoded { start, lstm, told })
    }

    /// dh (T*B,H) to dz (B,Z); adds to the parameters' gradients.
    fn decode_backward(&self, r: &mut Recorder, Decoded { start, lstm, told }: Decoded, dh: Tensor) -> Tensor {
        let Sentences { embedding, z_every_step, .. } = self.config.sentences;
        let lstm::Gradients { dx, dstart: [dh0, _] } = self.decoder.backward(r, lstm, Some(dh), None);
        let of_z = match (told, z_every_step) {
            (Some(told), true) => {
                let (dwords, dz) = joint::split(r, dx, embedding);
                self.embedding.backward(r, told, dwords);
                Some(dz)
            }
            (Some(told), false) => {
                self.embedding.backward(r, told, dx);
                None
            }
            (None, _) => Some(dx),
        };
        let dz = self.start.backward(r, start, dh0); // (B,Z)
        let Some(of_z) = of_z else { return dz };
        let of_steps = recurrent::over_steps(r, of_z, dz.matrix()[0]);
        joint::add(r, dz, of_steps, 1.0)
    }
    // ANCHOR_END: decoder

    /// The decoder's inputs (R,I): the embeddings of the words (R) that it is told, z (R,Z), or both.
    fn input(&self, r: &mut Recorder, told: Option<Tensor>, z: Tensor) -> Tensor {
        let Some(told) = told else { return z };
        let words = self.embedding.forward(r, told); // (R,E)
        if self.config.sentences.z_every_step { joint::concat(r, words, z) } else { words }
    }

    /// What the decoder is told at each step, (T*B) integers.
    fn told(&self, r: &mut Recorder, ids: Tensor, b: usize, draw: &mut Draw, mode: Mode) -> Tensor {
        let p = match mode {
            Mode::Train { .. } => self.config.sentences.word_dropout as f32,
            Mode::Evaluate => 0.0,
        };
        let noise = if p > 0.0 { draw.uniform(r, ids.shape()) } else { r.zeros("noise", ids.shape()) };
        word_dropout::forward(r, ids, noise, b, Marks { first: BOS, unknown: UNK, words: FIRST_WORD }, p)
    }

    /// h_n (B,H), the encoder's state after the last word, and what a backward needs.
    fn read(&self, r: &mut Recorder, text: Tokens) -> (Tensor, lstm::Saved) {
        let seen = self.embedding.forward(r, text.ids); // (T*B,E)
        let (states, saved) = self.encoder.forward(r, seen, text.lengths, None);
        (states.last[0], saved)
    }
}

impl Model for Sentence {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let text = batch.tokens(r, TEXT); // ids (T*B), lengths (B)

        let (last, encoder) = self.read(r, text); // (B,H)
        let (z, q) = self.latent.sample(r, last, draw, batch.mode); // (B,Z): z ~ q(z|w)
        let (h, decoder) = self.decode(r, z, text, draw, batch.mode); // (T*B,H)
        let (recon, dh) = self.vocabulary.step(r, h, text.ids, batch.weight); // (T*B): -log p(w_t|w_<t,z), and backward
        let kl = self.latent.kl(r, &q); // (Z)

        let dz = self.decode_backward(r, decoder, dh);
        let dlast = self.latent.backward_features(r, q, kl, dz, batch); // (B,H)
        r.scope("encoder");
        let dc = r.zeros("dc", dlast.shape());
        let read = self.encoder.backward(r, encoder, None, Some([dlast, dc]));
        self.embedding.backward(r, text.ids, read.dx);
        vec![recon.rows, kl, recon.words]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let text = batch.tokens(r, TEXT);
        let (last, _) = self.read(r, text);
        let (z, q) = self.latent.sample(r, last, draw, Mode::Evaluate);
        let (h, _) = self.decode(r, z, text, draw, Mode::Evaluate);
        let recon = self.vocabulary.evaluate(r, h, text.ids);
        vec![recon.rows, self.latent.whole_kl(r, &q), recon.words]
    }

    fn views(&self) -> Vec<View> {
        let [vocabulary, longest] = self.sizes;
        let Sentences { hidden, latent, .. } = self.config.sentences;
        let (text, word) = (Kind::Tokens { vocabulary, longest }, Kind::Tokens { vocabulary, longest: 1 });
        let (z, state) = (Kind::Vector(latent), Kind::Vector(hidden));
        vec![
            View::new("encode").takes(TEXT, text).gives("mean", z).gives("logvar", z),
            View::new("likelihood").takes(TEXT, text).takes("z", z).gives("recon", Kind::Vector(1)),
            View::new("start").takes("z", z).gives("h", state),
            View::new("next")
                .takes("word", word)
                .takes("z", z)
                .takes("h", state)
                .takes("c", state)
                .gives("logits", Kind::Vector(vocabulary))
                .gives("h", state)
                .gives("c", state),
        ]
    }

    /// `start` gives the decoder's first h, whose c is 0; `next` the logits of the word after `word`, which is the
    /// begin symbol at first, and the state there.
    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("encode", &[text]) => {
                let text = self.given(r, text);
                let (last, _) = self.read(r, text);
                let q = self.latent.forward(r, last, Mode::Evaluate);
                vec![q.mean, q.logvar]
            }
            ("likelihood", &[text, z]) => {
                let text = self.given(r, text);
                let (h, _) = self.decode(r, z, text, draw, Mode::Evaluate);
                let [b, _] = z.matrix();
                let rows = self.vocabulary.evaluate(r, h, text.ids).rows;
                vec![recurrent::over_steps(r, rows.reshape(&[rows.len(), 1]), b)]
            }
            ("start", &[z]) => vec![self.start.forward(r, z).0],
            ("next", &[word, z, h, c]) => {
                let [b, _] = z.matrix();
                let told = self.config.sentences.teacher_forcing.then(|| word.reshape(&[b]));
                let x = self.input(r, told, z);
                // A step updates its state in place, and inputs stay.
                let state = [h, c].map(|of| joint::scale(r, of, 1.0));
                let lengths = recurrent::endless(r, b);
                let (h, _) = self.decoder.step(r, x, state, lengths, 0);
                vec![self.vocabulary.logits(r, h), state[0], state[1]]
            }
            _ => panic!("sentence has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let Sentences { embedding, hidden, latent, .. } = self.config.sentences;
        format!("{} words, {embedding}-{hidden}-{latent}", self.sizes[0])
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [
            self.embedding.initial(rng),
            self.encoder.initial(rng),
            self.latent.initial(rng),
            self.start.initial(rng),
            self.decoder.initial(rng),
            self.vocabulary.initial(rng),
        ]
        .concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }
}

impl Sentence {
    /// The sentences of a view, rows of `longest` ids.
    fn given(&self, r: &mut Recorder, text: Tensor) -> Tokens {
        let [ids, lengths] = tokens::given(r, text, self.sizes[1]);
        Tokens { ids, lengths }
    }
}
