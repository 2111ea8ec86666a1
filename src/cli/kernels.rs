//! `elbo kernels`

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use elbo::error::{Error, Result, nearest};
use elbo::files::write_atomic;
use elbo::instruments::catalogue::{self, Entry, Operand, entry};
use elbo::instruments::translate;
use elbo::kernel::{Candidate, Kernel, Shader};
use elbo::kernels;

use super::shared::{require, wrote};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Only this kernel, as in matmul.forward, or those of this file, as in matmul
    #[arg(value_name = "KERNEL")]
    name: Option<String>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the code of a kernel's shader, as it is or in the language that an adapter is given
    Show(Show),
}

#[derive(clap::Args)]
struct Show {
    /// A kernel, as in conv2d.backward_w
    #[arg(value_name = "KERNEL")]
    name: String,
    /// The language
    #[arg(long = "as", value_name = "LANGUAGE", default_value = "wgsl")]
    language: Language,
    /// The form for GPUs, or the one for adapters that run on a CPU
    #[arg(long, default_value = "portable")]
    form: Form,
    /// One of its candidates, as in "32x32 in 4", which are for the same work; `elbo kernels` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "form")]
    candidate: Option<String>,
    /// Write to a file instead; SPIR-V as its binary words
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    /// The file in shaders/, and below it the texts of shaders/common/ that are appended to it
    Wgsl,
    /// What Vulkan gets, disassembled
    Spirv,
    /// What Metal gets
    Msl,
    /// What DirectX 12 gets
    Hlsl,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Portable,
    Software,
}

impl Args {
    pub fn run(self) -> Result<()> {
        if let Some(Command::Show(show)) = self.command {
            return show.run();
        }
        let kernels = match &self.name {
            Some(name) => kernels::find(name)?,
            None => kernels::ALL.to_vec(),
        };
        let entries: Vec<Entry> = kernels.into_iter().map(entry).collect();
        if self.json {
            super::print_json(&entries);
            return Ok(());
        }
        for entry in &entries {
            print(entry);
        }
        super::print(&format!("{} kernels; `elbo kernels show NAME` prints the code of one", entries.len()));
        Ok(())
    }
}

fn print(entry: &Entry) {
    let Entry { name, formula, params, reads, writes, workgroup, shader, software, candidates, .. } = entry;
    let Entry { reference, is_accelerated, cases, .. } = entry;
    let operands = |operands: &[Operand]| {
        let text = |o: &Operand| format!("{} {}", o.name, o.shape.as_deref().unwrap_or("(?)"));
        operands.iter().map(text).collect::<Vec<_>>().join(", ")
    };
    super::print(&format!("{name}: {formula}"));
    super::print(&format!("    {} -> {}   params {}", operands(reads), operands(writes), params.join(", ")));
    let [x, y, z] = workgroup;
    let forms = std::iter::once(shader).chain(software).cloned().collect::<Vec<_>>().join(", ");
    super::print(&format!("    {forms}, workgroup {x} x {y} x {z}"));
    if !candidates.is_empty() {
        super::print(&format!("    candidates: {}", candidates.join(", ")));
    }
    let accelerated = if *is_accelerated { " and a fast CPU form" } else { "" };
    super::print(&format!("    {reference}: reference{accelerated}, {cases} cases"));
}

/// Errors: the kernel has none of that name, with the nearest.
fn candidate(kernel: &'static Kernel, name: &str) -> Result<&'static Candidate> {
    let candidates = catalogue::candidates(kernel);
    candidates.iter().copied().find(|candidate| candidate.name == name).ok_or_else(|| {
        let names = candidates.iter().map(|candidate| candidate.name);
        let hint = nearest(name, names).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        Error::Usage(format!("{} has no candidate `{name}`{hint} (`elbo kernels` lists them)", kernel.name))
    })
}

impl Show {
    fn run(self) -> Result<()> {
        let found = kernels::find(&self.name)?;
        let names = found.iter().map(|k| k.name).collect::<Vec<_>>().join(", ");
        require(
            found[0].name == self.name,
            &format!("`{}` is several kernels, and show takes one: {names}", self.name),
        )?;
        let kernel = found[0];
        let shader = match (&self.candidate, self.form) {
            (Some(name), _) => &candidate(kernel, name)?.shader,
            (None, Form::Portable) => &kernel.shader,
            (None, Form::Software) => catalogue::software(kernel).ok_or_else(|| {
                let none = "has no software form: adapters that run on a CPU take the portable one";
                Error::Usage(format!("{} {none}", kernel.name))
            })?,
        };
        if let Some(path) = &self.out {
            let bytes = match self.language {
                Language::Spirv => bytemuck::cast_slice(&translate::spirv(shader)).to_vec(),
                _ => self.text(kernel, shader).into_bytes(),
            };
            write_atomic(path, &bytes)?;
            wrote(path, kernel.name);
            return Ok(());
        }
        super::print(&self.text(kernel, shader));
        Ok(())
    }

    /// The code, under a comment that says what it is.
    fn text(&self, kernel: &Kernel, shader: &Shader) -> String {
        let Shader { source, entry, .. } = shader;
        let (comment, what, code) = match self.language {
            Language::Wgsl => {
                let is_whole = source.common.is_empty() && source.constants.is_empty();
                let what = if is_whole { "as it is" } else { "with the texts and constants that are appended to it" };
                ("//", what.to_string(), format!("// ---- shaders/{}\n{}", source.file, source.full_text()))
            }
            Language::Spirv => (";", "as SPIR-V".into(), translate::disassemble(&translate::spirv(shader))),
            Language::Msl => ("//", "as MSL".into(), translate::msl(shader)),
            Language::Hlsl => ("//", "as HLSL".into(), translate::hlsl(shader)),
        };
        let [x, y, z] = shader.workgroup;
        format!(
            "{comment} {}: entry point {entry} of shaders/{}, workgroup {x} x {y} x {z}; {what}\n\n{}",
            kernel.name,
            source.file,
            code.trim_end()
        )
    }
}
