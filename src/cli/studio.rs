//! `elbo studio`

mod server;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::data::Dataset;
use elbo::data::table::{LABELS, PICTURES, Table, Values};
use elbo::error::{Error, Result};
use elbo::files::read_regular;
use elbo::inference::Trained;
use elbo::train::run_folder::{RunFolder, RunRecord};
use serde_json::json;

use super::data::DataArgs;
use super::shared::ModelArgs;
use server::{Answer, serve};

/// What `--help` says beside the options.
const HELP: &str = "\
The studio is the same engine in a browser's tab: it trains a model, shows its latent space, reads a digit that you \
draw, and opens the recorded step dispatch by dispatch. The page comes from this machine alone and needs no network. \
Its files are made by `bash web/build.sh`. Ctrl-C ends the server.";

/// The largest model or state that is served, in bytes.
const LARGEST: u64 = 1 << 30;

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A run folder, whose model and data are opened in the page
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// The port on 127.0.0.1; 0 takes one that is free
    #[arg(long, value_name = "N", default_value = "8021")]
    port: u16,
    /// The folder of the page's files [default: studio beside the program, or web/dist of the source]
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let files = page(self.files)?;
        let run = self.run.as_deref().map(Run::open).transpose()?;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).map_err(|e| {
            Error::Usage(format!("127.0.0.1:{} cannot be served from: {e}. Another --port may be free", self.port))
        })?;
        let port = listener.local_addr().map_err(|e| Error::Usage(format!("the server has no address: {e}")))?.port();
        let query = if run.is_some() { "?run" } else { "" };
        super::print(&format!("studio: http://127.0.0.1:{port}/{query} (Ctrl-C ends it)"));
        serve(listener, &|path| answer(&files, run.as_ref(), path));
        Ok(())
    }
}

/// The folder of the page. Errors: there is none.
fn page(given: Option<PathBuf>) -> Result<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("studio"));
    // A program that was built here lies in target/release.
    let built = program.as_deref().and_then(|program| Some(program.ancestors().nth(3)?.join("web/dist")));
    let places: Vec<PathBuf> = match given {
        Some(folder) => vec![folder],
        None => beside.into_iter().chain(built).collect(),
    };
    places.iter().find(|place| place.join("index.html").is_file()).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Error::Usage(format!(
            "the studio's page is not built: there is no index.html in {}. `bash web/build.sh` in the source makes it, \
             and --files DIR says where it is",
            places.join(", ")
        ))
    })
}

/// A run as the page asks for it.
struct Run {
    folder: RunFolder,
    data: Dataset,
}

impl Run {
    /// Errors: no run, one without a model yet, one that is not of pictures; data that are not there any more.
    fn open(path: &Path) -> Result<Run> {
        let folder = RunFolder::open(path)?;
        let device = Device::Cpu(Cpu::Accelerated);
        let model = Trained::open(path, &device)?;
        model.card.picture()?;
        let data = DataArgs::default().open(&ModelArgs::of_run(path, &device), &model, true)?;
        // As many of them as the run trains and tests on: a state goes on with no others.
        let RunRecord { settings, selection, .. } = RunRecord::read(&folder)?;
        let limits = [settings.train_limit, settings.test_limit];
        let data = data.normal_alone(&settings.normal)?.limited(selection, limits);
        Ok(Run { folder, data })
    }

    fn answer(&self, name: &str) -> Answer {
        let file = |path: PathBuf| match read_regular(&path, LARGEST) {
            Ok(bytes) => Answer::Bytes(bytes, "application/octet-stream"),
            Err(_) => Answer::NotFound,
        };
        let (train, test) = (&self.data.train, &self.data.test);
        match name {
            "model.safetensors" => file(self.folder.model()),
            "state.safetensors" => file(self.folder.state()),
            "train.pictures" => pixels(train),
            "test.pictures" => pixels(test),
            "train.labels" => Answer::Bytes(labels(train), "application/octet-stream"),
            "test.labels" => Answer::Bytes(labels(test), "application/octet-stream"),
            "data.json" => {
                let described = json!({
                    "name": self.data.name,
                    "class_names": self.data.class_names,
                    "shape": test.shape(),
                    "classes": self.data.columns().label(LABELS).unwrap_or(0),
                    "has_state": self.folder.state().is_file(),
                });
                Answer::Bytes(described.to_string().into_bytes(), "application/json")
            }
            _ => Answer::NotFound,
        }
    }
}

fn pixels(table: &Table) -> Answer {
    match table.column(PICTURES).map(|column| &column.values) {
        Some(Values::Bytes(bytes)) => Answer::Bytes(bytes.clone(), "application/octet-stream"),
        _ => Answer::NotFound,
    }
}

fn labels(table: &Table) -> Vec<u8> {
    table.labels().unwrap_or_default().to_vec()
}

/// What is at a path of the address.
fn answer(files: &Path, run: Option<&Run>, path: &str) -> Answer {
    if let Some(name) = path.strip_prefix("/run/") {
        return run.map_or(Answer::NotFound, |run| run.answer(name));
    }
    let name = path.trim_start_matches('/');
    let name = if name.is_empty() { "index.html" } else { name };
    // Names of the page's own files alone, none that leads out of its folder.
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    if !name.split('/').all(is_plain) || name.contains(['\\', ':', '%']) {
        return Answer::NotFound;
    }
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("rs" | "wgsl") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    match read_regular(&files.join(name), LARGEST) {
        Ok(bytes) => Answer::Bytes(bytes, kind),
        Err(_) => Answer::NotFound,
    }
}
