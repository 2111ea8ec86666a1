//! What exists in the repository, and what is wrong with a page that names something else.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use elbo::instruments::faults::{FAULTS, Fault};
use elbo::kernels;
use elbo::models::presets;

use crate::page::{Kind, items, slugs};

/// Folders whose paths are checked when a page names them.
const FOLDERS: [&str; 9] = ["src", "shaders", "tests", "docs", "scripts", "benches", "data", ".ci", ".github"];
/// Endings of files of the repository. A name like `close.rs` must be one of them.
const SOURCES: [&str; 6] = ["rs", "wgsl", "md", "sh", "py", "js"];
/// Endings of files that users have: `metrics.csv`.
const FILES: [&str; 10] = ["csv", "gif", "html", "json", "npy", "npz", "png", "safetensors", "toml", "txt"];
/// What parameters and statistics are called: `fc1.weight`.
const PARAMETERS: [&str; 5] = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];
/// First segments of names in other people's code, and the placeholder `stem.entry`.
const FOREIGN: [&str; 8] = ["wgpu", "naga", "std", "f32", "f64", "torch", "nn", "stem"];

pub struct Repository {
    root: PathBuf,
    /// Every file but what is built, downloaded or trained, relative to the root with `/`.
    pub files: BTreeSet<String>,
    /// Every identifier of src/.
    words: BTreeSet<String>,
    /// `--help` of a command, by its words; `None` where there is no such command.
    help: RefCell<HashMap<Vec<String>, Option<String>>>,
}

impl Repository {
    pub fn open() -> Repository {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeSet::new();
        walk(&root, &root, &mut files);
        let is_identifier = |c: char| c.is_alphanumeric() || c == '_';
        let sources = files.iter().filter(|file| file.starts_with("src/") && file.ends_with(".rs"));
        let words = sources
            .map(|file| fs::read_to_string(root.join(file)).unwrap())
            .flat_map(|text| text.split(|c| !is_identifier(c)).map(str::to_string).collect::<Vec<_>>())
            .collect();
        Repository { root, files, words, help: RefCell::default() }
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    /// One line for each thing that is wrong with a page. `file` is where it lies, from the root. In the guide, code
    /// must be included.
    pub fn problems(&self, file: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for item in items(text) {
            let problem = match &item.kind {
                Kind::Span(span) => self.span(span),
                Kind::Line(line) => self.command(line),
                Kind::Include(include) => self.include(file, include),
                Kind::Link(target) => self.link(file, text, target),
                Kind::Code(language, body) => {
                    let is_code = file.starts_with("docs/") && ["rust", "wgsl"].contains(&language.as_str());
                    let copied = body.lines().any(|line| !line.trim().starts_with("{{#include "));
                    (is_code && copied).then(|| format!("{language} is copied, not included"))
                }
            };
            problems.extend(problem.map(|p| format!("{file}:{}: {p}", item.line)));
        }
        problems
    }

    fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains(path) || self.files.iter().any(|file| file.starts_with(&folder))
    }

    // ---- Inline code

    fn span(&self, span: &str) -> Option<String> {
        if span.starts_with("elbo ") {
            return self.command(span);
        }
        let name = span.trim_end_matches("()");
        // A placeholder, an expression, a formula.
        if name.contains(|c: char| c.is_whitespace() || "<>*{}()[]=,+|$\"@#;&".contains(c)) {
            return None;
        }
        if name.contains("::") {
            return self.item_of_code(name);
        }
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if name.contains('/') {
            let is_ours = FOLDERS.contains(&name.split('/').next().unwrap()) || SOURCES.contains(&ending);
            let is_built = name.starts_with("docs/book");
            let found = self.exists(name) || self.exists(&format!("src/{name}"));
            return (is_ours && !is_built && !found).then(|| format!("there is no file `{name}`"));
        }
        if SOURCES.contains(&ending) && !name.starts_with('.') {
            let found = self.files.iter().any(|file| file.rsplit('/').next() == Some(name));
            return (!found).then(|| format!("no file is called `{name}`"));
        }
        let is_word = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let (stem, entry) = name.split_once('.')?;
        let is_dotted = is_word(stem) && is_word(entry) && stem.starts_with(|c: char| c.is_ascii_lowercase());
        let is_known =
            is_kernel(name) || FILES.contains(&entry) || PARAMETERS.contains(&entry) || FOREIGN.contains(&stem);
        (is_dotted && !is_known).then(|| format!("no kernel is called `{name}`"))
    }

    /// `Recorder::random_site`: every part is a word of src/.
    fn item_of_code(&self, name: &str) -> Option<String> {
        let mut parts = name.split("::");
        let is_foreign = FOREIGN.contains(&parts.clone().next().unwrap());
        let missing = parts.find(|part| !self.words.contains(*part))?;
        (!is_foreign).then(|| format!("`{name}`: src/ has no `{missing}`"))
    }

    // ---- Commands

    /// A line as one would type it. What is no command of this project is left alone.
    fn command(&self, line: &str) -> Option<String> {
        let line = line.split(['#', '|', '>', ';']).next().unwrap().trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["cargo", "run", "--release", "--", rest @ ..] | ["elbo", rest @ ..] => self.elbo(rest),
            ["cargo", "test", "--test", test, ..] => {
                let found = self.exists(&format!("tests/{test}.rs")) || self.exists(&format!("tests/{test}/main.rs"));
                (!found).then(|| format!("there is no test `{test}`"))
            }
            ["cargo", "bench", "--bench", bench, ..] => {
                (!self.exists(&format!("benches/{bench}.rs"))).then(|| format!("there is no bench `{bench}`"))
            }
            ["bash" | "python3", script, ..] if !script.starts_with('-') => {
                (!self.exists(script)).then(|| format!("there is no file `{script}`"))
            }
            _ => None,
        }
    }

    fn elbo(&self, words: &[&str]) -> Option<String> {
        let mut path = Vec::new();
        let mut help = self.help(&path)?;
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let command = format!("elbo {}", path.join(" "));
            if let Some(option) = word.strip_prefix("--") {
                let name = format!("--{}", option.split('=').next().unwrap());
                let is_end = |c: char| !(c.is_alphanumeric() || c == '-');
                let mut uses = help.match_indices(&name).map(|(at, text)| &help[at + text.len()..]);
                let Some(after) = uses.find(|after| after.starts_with(is_end)) else {
                    return Some(format!("`{}` has no option {name}", command.trim_end()));
                };
                let takes_next = after.starts_with(" <") && !option.contains('=');
                let value = if takes_next { words.next() } else { None };
                if let (true, Some(&value)) = (name == "--break", value) {
                    let (kernel, fault) = value.split_once(':').unwrap_or((value, ""));
                    let is_it = |f: &Fault| f.kernel.name == kernel && (fault.is_empty() || f.name == fault);
                    if !is_placeholder(kernel) && !FAULTS.iter().any(is_it) {
                        return Some(format!("no fault is called `{value}`"));
                    }
                }
            } else if subcommands(&help).any(|name| name == word) {
                path.push(word.to_string());
                help = self.help(&path)?;
            } else if !word.starts_with('-') && !self.is_value(word, &help) {
                return Some(format!("`{}` takes no `{word}`", command.trim_end()));
            }
        }
        None
    }

    /// `--help` of the command.
    fn help(&self, path: &[String]) -> Option<String> {
        let run = || {
            let output = Command::new(env!("CARGO_BIN_EXE_elbo")).args(path).arg("--help").output().unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        };
        self.help.borrow_mut().entry(path.to_vec()).or_insert_with(run).clone()
    }

    /// Whether a command with this help can be given the word, which is no option.
    fn is_value(&self, word: &str, help: &str) -> bool {
        let usage = help.lines().find(|line| line.trim_start().starts_with("Usage:")).unwrap_or("");
        let takes_some =
            usage.replace("[OPTIONS]", "").replace("<COMMAND>", "").replace("[COMMAND]", "").contains(['<', '[']);
        let is_file = word.contains('/') || FILES.iter().any(|ending| word.ends_with(&format!(".{ending}")));
        let is_name = is_kernel(word) || kernels::find(word).is_ok() || presets::find(word).is_ok();
        let in_help = help.split(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).any(|w| w == word);
        takes_some && (is_placeholder(word) || is_file || is_name || in_help || word.parse::<f64>().is_ok())
    }

    // ---- Includes and links

    fn include(&self, file: &str, include: &str) -> Option<String> {
        let (path, anchor) = include.split_once(':').unwrap_or((include, ""));
        let target = beside(file, path);
        if !self.files.contains(&target) {
            return Some(format!("there is no file {path} to include"));
        }
        if anchor.is_empty() {
            return None;
        }
        if anchor.starts_with(|c: char| c.is_ascii_digit() || c == ':') {
            return Some(format!("{include}: lines move, use an anchor"));
        }
        (!self.anchors(&target).contains(anchor)).then(|| format!("{target} has no anchor `{anchor}`"))
    }

    /// The anchors of a file that begin and end.
    pub fn anchors(&self, file: &str) -> BTreeSet<String> {
        let text = self.read(file);
        let marked = |mark: &str| -> BTreeSet<String> {
            let names = text.lines().filter_map(|line| line.trim().strip_prefix("// ")?.strip_prefix(mark));
            names.map(|name| name.trim().to_string()).collect()
        };
        let (starts, ends) = (marked("ANCHOR:"), marked("ANCHOR_END:"));
        assert_eq!(starts, ends, "{file}: anchors that begin, then those that end");
        starts
    }

    fn link(&self, file: &str, text: &str, target: &str) -> Option<String> {
        if target.contains("://") {
            return None;
        }
        let (path, heading) = target.split_once('#').unwrap_or((target, ""));
        let to = if path.is_empty() { file.to_string() } else { beside(file, path) };
        if !self.exists(&to) && to != file {
            return Some(format!("the link to {path} leads nowhere"));
        }
        if heading.is_empty() {
            return None;
        }
        let there = if to == file { text.to_string() } else { self.read(&to) };
        let found = slugs(&there).iter().any(|slug| slug == heading);
        (!found).then(|| format!("{to} has no heading #{heading}"))
    }
}

fn is_kernel(name: &str) -> bool {
    kernels::ALL.iter().any(|kernel| kernel.name == name)
}

/// `MODEL`
fn is_placeholder(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Names under `Commands:`.
fn subcommands(help: &str) -> impl Iterator<Item = &str> {
    let list = help.lines().skip_while(|line| line.trim() != "Commands:").skip(1);
    list.take_while(|line| !line.trim().is_empty()).filter_map(|line| line.split_whitespace().next())
}

/// The path, from the root, that `path` means on a page.
pub fn beside(page: &str, path: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn walk(root: &Path, folder: &Path, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        if path.is_dir() {
            let is_built = relative.starts_with("benches/") && relative.ends_with("/target");
            if !is_built && !["target", ".git", "runs", "docs/book"].contains(&relative.as_str()) {
                walk(root, &path, files);
            }
        } else {
            files.insert(relative);
        }
    }
}
