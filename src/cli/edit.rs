//! `elbo edit`

mod compression;
mod inpaint;
mod latents;
mod super_resolution;

use std::path::{Path, PathBuf};

use clap::ArgGroup;
use elbo::data::{Dataset, Selection};
use elbo::error::Result;
use elbo::inference::Trained;
use serde_json::{Value, json};

use super::data::DataArgs;
use super::shared::{ModelArgs, PictureArgs, require, require_picture, wrote};

/// Pictures side by side at most.
const COLUMNS: usize = 16;

#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
#[command(group(ArgGroup::new("edit").required(true)
    .args(["fuse", "attribute", "style", "inpaint", "super_resolution", "compression"])))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Draw the picture between two or more, numbers of test pictures or files, by the mean of their latent points
    #[arg(long, value_name = "PICTURE", num_args = 2..)]
    fuse: Vec<String>,
    /// The share of each of them, as in 0.7,0.3 [default: all the same]
    #[arg(long, value_name = "X", value_delimiter = ',', requires = "fuse")]
    weights: Vec<f32>,
    /// Move test pictures along a label, as in `smile+1.5` or `7-1`: so many times from the mean of the training
    /// pictures without it to the mean of those with it
    #[arg(long, value_name = "LABEL+X")]
    attribute: Option<String>,
    /// Draw --content in the style of this one, numbers of test pictures or files: its latent dimensions that the
    /// labels of the training pictures explain least
    #[arg(long, value_name = "PICTURE", requires = "content")]
    style: Option<String>,
    /// The picture whose other latent dimensions are kept
    #[arg(long, value_name = "PICTURE", requires = "style")]
    content: Option<String>,
    /// The latent dimensions that are style [default: the half that the labels explain least]
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "style")]
    style_dimensions: Vec<usize>,
    /// Fill in pixels of test pictures where this picture of the same size is white, by the latent point that explains
    /// the others best
    #[arg(long, value_name = "MASK")]
    inpaint: Option<PathBuf>,
    /// Draw test pictures larger than they are, by a model such as digits-super; measured against bicubic interpolation
    #[arg(long)]
    super_resolution: bool,
    /// Of --super-resolution, the small pictures themselves in the place of test pictures made smaller
    #[arg(long, value_name = "FILES", num_args = 1.., requires = "super_resolution")]
    small: Vec<PathBuf>,
    /// Estimate the bits that the test pictures take when they are coded with the model by bits back, beside PNG
    #[arg(long)]
    compression: bool,
    /// How many pictures to draw, spread evenly over the set
    #[arg(long, value_name = "N", default_value_t = 16)]
    count: usize,
    /// Take N test pictures only: the first ones, of a folder or array a share of all; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_limit: usize,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        require(self.count > 0, "--count is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        model.card.picture()?;
        self.picture.check_output(&model)?;
        if !self.fuse.is_empty() {
            return latents::fuse(&self, &mut model);
        }
        if let Some(attribute) = &self.attribute {
            return latents::attribute(&self, &mut model, attribute);
        }
        if let (Some(style), Some(content)) = (&self.style, &self.content) {
            return latents::style(&self, &mut model, [style, content]);
        }
        if let Some(mask) = &self.inpaint {
            return inpaint::run(&self, &mut model, mask);
        }
        if self.super_resolution {
            return super_resolution::run(&self, &mut model);
        }
        compression::run(&self, &mut model)
    }

    /// The data set that is asked for. Errors: those of opening it.
    fn open(&self, model: &Trained) -> Result<Dataset> {
        let data = self.data.open(&self.model, model, false)?;
        Ok(data.limited(Selection::ByName, [None, Some(self.test_limit).filter(|&n| n > 0)]))
    }

    /// The same, opened the first time that it is asked for.
    fn opened<'a>(&self, model: &Trained, data: &'a mut Option<Dataset>) -> Result<&'a Dataset> {
        if data.is_none() {
            *data = Some(self.open(model)?);
        }
        Ok(data.as_ref().expect("it was opened"))
    }

    /// The pictures of these numbers of test pictures, or files, (N,D); and their labels for a model that is told them.
    /// `data` is opened where a number is given.
    fn pictures(
        &self,
        model: &Trained,
        data: &mut Option<Dataset>,
        option: &str,
        given: &[&str],
    ) -> Result<(Vec<f32>, Option<Vec<usize>>)> {
        let (mut pictures, mut labels) = (Vec::new(), Vec::new());
        for text in given {
            let file;
            let (of, index) = match text.parse::<usize>() {
                Ok(index) if !Path::new(text).exists() => (self.opened(model, data)?, index),
                _ => {
                    file = DataArgs::of(Path::new(text)).open(&self.model, model, false)?;
                    (&file, 0)
                }
            };
            require_picture(option, index, of)?;
            pictures.extend(of.test.values(index..index + 1));
            labels.extend(model.labels_of("encode", &of.test, index..index + 1)?.unwrap_or_default());
        }
        Ok((pictures, (!labels.is_empty()).then_some(labels)))
    }

    /// Ends with the line that says what was written, or with the JSON object that a program reads.
    fn tell(&self, picture: &Path, what: &str, mut object: Value) {
        match self.json {
            false => wrote(picture, what),
            true => {
                object["picture"] = json!(picture);
                super::print_json(&object);
            }
        }
    }
}
