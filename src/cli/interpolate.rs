//! `elbo interpolate`

use clap::ValueEnum;
use elbo::data::Dataset;
use elbo::error::Result;
use elbo::inference::Trained;
use elbo::messages::print;
use elbo::picture::latent::{lerp, slerp};

use super::data::DataArgs;
use super::sentences::{note_unknown, refuse, written_by};
use super::shared::{LabelArgs, ModelArgs, PictureArgs, evenly, picture_name, require, require_picture, wrote};
use super::sounds;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Of a model of sentences, the two to go between; of a model of recordings two .wav files, where they are not of
    /// the test set
    #[arg(value_name = "SENTENCE")]
    ends: Vec<String>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Index of the test picture to start from [default: 0]
    #[arg(long, value_name = "I")]
    from: Option<usize>,
    /// Index of the test picture to end at [default: the first with another label]
    #[arg(long, value_name = "I")]
    to: Option<usize>,
    /// Pictures or sentences from one end to the other, both ends included
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// The way through latent space [default: both, of sentences linear]
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// Of a model of sentences, keep the N most probable beginnings after each word, and write the best sentence found
    /// [default: the most probable word each time]
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
}

/// A way between two latent points: the point at a share of it.
type Path = fn(&[f32], &[f32], f32) -> Vec<f32>;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// A straight line
    Linear,
    /// A great circle, which keeps to the radii where the prior has its mass
    Spherical,
    /// A row each
    Both,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let steps = self.steps;
        require(steps >= 2, &format!("--steps is {steps}, but must be at least 2: the two ends"))?;
        let mut model = self.model.open()?;
        let is_of_sentences = model.is_of_sentences();
        let method = self.method.unwrap_or(if is_of_sentences { Method::Linear } else { Method::Both });
        let (ways, named): (&[Path], _) = match method {
            Method::Linear => (&[lerp], "linear"),
            Method::Spherical => (&[slerp], "spherical"),
            Method::Both => (&[lerp, slerp], "linear above spherical"),
        };
        if is_of_sentences {
            return self.write_sentences(&mut model, ways);
        }
        let has_files = !self.ends.is_empty();
        let is_of_sentences = has_files && model.spectrogram().is_err();
        refuse(&model, "sentences", &[("SENTENCE", is_of_sentences), ("--beam", self.beam.is_some())])?;
        let from = self.from.unwrap_or(0);
        self.picture.check([ways.len(), steps], "--steps", &model)?;
        let data = match has_files {
            true => {
                let given = self.ends.len();
                require(given == 2, &format!("a way is between two recordings, and {given} are given"))?;
                let is_index = self.from.is_some() || self.to.is_some();
                require(!is_index, "--from and --to are of the test set: leave them out where files are given")?;
                sounds::read(&model, &self.ends)?
            }
            false => self.data.open(&self.model, &model, false)?,
        };
        require_picture("--from", from, &data)?;
        let to = self.to.unwrap_or_else(|| if has_files { 1 } else { other_label(from, &data) });
        require_picture("--to", to, &data)?;

        let own = |model: &Trained, i: usize| model.labels_of("encode", &data.test, i..i + 1);
        let (label_a, label_b) = (own(&model, from)?, own(&model, to)?);
        let [a, _] = model.encode(&data.test.values(from..from + 1), label_a.as_deref())?;
        let [b, _] = model.encode(&data.test.values(to..to + 1), label_b.as_deref())?;
        let times = evenly(0.0, 1.0, steps);
        let z: Vec<f32> = ways.iter().flat_map(|way| times.iter().flat_map(|&t| way(&a, &b, t))).collect();
        // All of one label: the first picture's, where none is given.
        let label = self.label.given(&model, "decode")?.or(label_a.map(|labels| labels[0]));
        let labels = label.map(|label| vec![label; ways.len() * steps]);
        let pictures = model.decode(&z, labels.as_deref())?;
        let path = self.picture.write(&self.model, "interpolation.png", &model, &pictures, steps)?;
        let (from, to) = (picture_name(from, &data), picture_name(to, &data));
        wrote(&path, &format!("{steps} steps from test {} {from} of {} to {to}, {named}", data.example(), data.name));
        Ok(())
    }

    /// Prints the sentences on the way between two, those of each way below each other.
    fn write_sentences(&self, model: &mut Trained, ways: &[Path]) -> Result<()> {
        let flags =
            [("--from", self.from.is_some()), ("--to", self.to.is_some()), ("--label", self.label.label.is_some())];
        refuse(model, "pictures", &[&flags[..], &self.picture.given()].concat())?;
        let given = self.ends.len();
        let problem =
            format!("a way is between two sentences, as in \"I am here .\" \"Where is he ?\", and {given} are given");
        require(given == 2, &problem)?;
        let writing = written_by(self.beam)?;
        let read = model.read_lines(&self.ends)?;
        note_unknown(model, &self.ends)?;
        let [mean, _] = model.encode(&read.values(0..2), None)?;
        let (a, b) = mean.split_at(mean.len() / 2);
        let times = evenly(0.0, 1.0, self.steps);
        for (n, way) in ways.iter().enumerate() {
            if n > 0 {
                print("");
            }
            let z: Vec<f32> = times.iter().flat_map(|&t| way(a, b, t)).collect();
            model.write(&z, writing)?.iter().for_each(|sentence| print(sentence));
        }
        Ok(())
    }
}

/// The first test picture whose label is not that of `from`; where there is none, the one after it.
fn other_label(from: usize, data: &Dataset) -> usize {
    let labels = data.test.labels().unwrap_or_default();
    labels.iter().position(|label| *label != labels[from]).unwrap_or((from + 1) % data.test.count)
}
