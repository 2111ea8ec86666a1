//! `elbo sweep`

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use elbo::error::{Error, Result};
use elbo::files::write_atomic;
use elbo::messages::notice;
use elbo::train::history::{Comparison, History};
use elbo::train::sweep::{Planned, State, Sweep, shell_line};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use sysinfo::{Pid, ProcessesToUpdate, Signal, System};

use super::compare;
use super::shared::wrote;
use super::signals::Stop;
use super::table::{Column, table};

/// How often the running processes are looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The TOML file that says which runs
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Runs at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Train nothing: print the runs that are not finished, a command line each, for GNU parallel or a Slurm array
    #[arg(long)]
    print: bool,
    /// Print JSON for a program to read in the place of the table
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

const HELP: &str = "\
Each run is a process of this program. What is finished is left out, what was cut off goes on. Ctrl-C lets each \
running one finish its step and save. At the end stands the table of `elbo compare`, and sweep.csv in the folder of \
the runs has a row for each. Exit code 1 where a run failed: the others are trained all the same.

The file:
  out = \"runs/weights\"            # of the runs' folders; by default runs/ and the file's name
  [base]                          # keys of a settings file, for every run
  preset = \"mnist-mlp\"
  [grid]                          # lists of values: a run for every combination
  kl_weight = [0.5, 1.0, 4.0]
  seed = [1, 2, 3]
  [[runs]]                        # or single runs, each with every combination of a grid
  lr = 1e-3

A run's folder is named after what varies, as in runs/weights/kl_weight-0.5_seed-1. What it says on stderr stands \
beside it, in kl_weight-0.5_seed-1.log.

The same by GNU parallel: elbo sweep FILE --print | parallel --jobs 4";

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// It has not been started, or was asked to stop.
    Open,
    Finished,
    /// Its exit code (none of a process that was killed), and its last line on stderr.
    Failed(Option<i32>, String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Outcome::Open => "open",
            Outcome::Finished => "finished",
            Outcome::Failed(..) => "failed",
        }
    }
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let sweep = Sweep::read(&self.file)?;
        let states = sweep.runs.iter().map(Planned::state).collect::<Result<Vec<State>>>()?;
        let done = states.iter().filter(|state| **state == State::Finished).count();
        let begun = states.iter().filter(|state| **state == State::Begun).count();
        notice(&format!("{} runs in {}: {done} finished, {begun} begun", sweep.runs.len(), sweep.out.display()));
        if self.print {
            let program = std::env::args().next().unwrap_or_else(|| "elbo".into());
            for (run, &state) in sweep.runs.iter().zip(&states).filter(|(_, state)| **state != State::Finished) {
                let words: Vec<String> = std::iter::once(program.clone()).chain(run.arguments(state)).collect();
                super::print(&shell_line(&words));
            }
            return Ok(ExitCode::SUCCESS);
        }
        fs::create_dir_all(&sweep.out).map_err(Error::io("create the folder", &sweep.out))?;
        let stop = Stop::on_signals();
        let outcomes = train_all(&sweep, &states, usize::from(self.jobs), &stop)?;
        let histories: Vec<Option<History>> = sweep
            .runs
            .iter()
            .map(|run| run.folder.join("run.toml").is_file().then(|| History::read(&run.folder)).transpose())
            .collect::<Result<_>>()?;
        let table_file = sweep.out.join("sweep.csv");
        let compared = Comparison::of(histories.iter().flatten().cloned().collect());
        write_table(&table_file, &sweep, &outcomes, &histories, &compared)?;
        let failed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed(..))).count();
        if self.json {
            let run = |(run, outcome): (&Planned, &Outcome)| {
                let (code, message) = match outcome {
                    Outcome::Failed(code, message) => (*code, Some(message)),
                    _ => (None, None),
                };
                json!({
                    "run": run.folder, "outcome": outcome.word(), "exit_code": code, "message": message,
                })
            };
            super::print_json(&json!({
                "runs": sweep.runs.iter().zip(&outcomes).map(run).collect::<Vec<_>>(),
                "comparison": compare::to_json(&compared),
            }));
        } else {
            if !compared.runs.is_empty() {
                compare::print(&compared);
            }
            print_failures(&sweep, &outcomes);
            wrote(&table_file, "a row for each run");
        }
        if let Some(code) = stop.exit_code() {
            notice("stopped: everything is saved, and the same command goes on");
            return Ok(code);
        }
        match failed {
            0 => Ok(ExitCode::SUCCESS),
            _ => Err(Error::Failed(format!("{failed} of {} runs failed; their .log files say why", outcomes.len()))),
        }
    }
}

// ---- The processes

/// A run whose process has not ended.
struct Running {
    index: usize,
    child: Child,
    bar: ProgressBar,
}

/// Trains what is not finished, `jobs` at the same time, in the order of the file. What came of each. Errors: a process
/// that cannot be started.
fn train_all(sweep: &Sweep, states: &[State], jobs: usize, stop: &Stop) -> Result<Vec<Outcome>> {
    let finished = |state: &State| if *state == State::Finished { Outcome::Finished } else { Outcome::Open };
    let mut outcomes: Vec<Outcome> = states.iter().map(finished).collect();
    let mut waiting = (0..states.len()).filter(|&i| states[i] != State::Finished);
    let bars = MultiProgress::new();
    let style = |text: &str| ProgressStyle::with_template(text).expect("a valid template");
    let all = bars.add(ProgressBar::new(states.len() as u64));
    all.set_style(style("{bar:30} {pos}/{len} runs"));
    all.set_position(outcomes.iter().filter(|outcome| **outcome == Outcome::Finished).count() as u64);
    let mut running: Vec<Running> = Vec::new();
    let mut is_stopping = false;
    let mut problem = None;
    loop {
        let is_asked = stop.exit_code().is_some() || problem.is_some();
        if is_asked && !is_stopping {
            is_stopping = true;
            running.iter().for_each(|run| ask_to_stop(&run.child));
            bars.suspend(|| notice("stopping after the steps under way; Ctrl-C once more to wait for nothing"));
        }
        while !is_stopping && running.len() < jobs {
            let Some(index) = waiting.next() else { break };
            let run = &sweep.runs[index];
            match start(run, states[index]) {
                Ok(child) => {
                    let bar = bars.add(ProgressBar::new(0)).with_message(run.name.clone());
                    bar.set_style(style("{bar:30} {pos}/{len} epochs of {msg}"));
                    running.push(Running { index, child, bar });
                }
                Err(e) => {
                    problem = Some(e);
                    break;
                }
            }
        }
        if running.is_empty() && (is_stopping || problem.is_none()) {
            break;
        }
        let mut i = 0;
        while i < running.len() {
            let Running { index, child, bar } = &mut running[i];
            let run = &sweep.runs[*index];
            let ended = child.try_wait().map_err(Error::io("wait for the run in", &run.folder))?;
            let Some(status) = ended else {
                let history = if bar.is_hidden() { None } else { History::read(&run.folder).ok() };
                if let Some(history) = history {
                    bar.set_length(history.record.settings.epochs as u64);
                    bar.set_position(history.rows.len() as u64);
                }
                i += 1;
                continue;
            };
            bar.finish_and_clear();
            let outcome = match status.success() {
                true => Outcome::Finished,
                // It was asked to stop, and has saved what it had.
                false if is_stopping && run.state().is_ok() => Outcome::Open,
                false => Outcome::Failed(status.code(), last_line(&log(run))),
            };
            all.inc(1);
            let told = match &outcome {
                Outcome::Failed(_, message) => format!("{}: failed: {message}", run.name),
                Outcome::Open => format!("{}: stopped", run.name),
                Outcome::Finished => format!("{}: finished", run.name),
            };
            bars.suspend(|| notice(&told));
            outcomes[*index] = outcome;
            running.remove(i);
        }
        std::thread::sleep(LOOK);
    }
    all.finish_and_clear();
    problem.map_or(Ok(outcomes), Err)
}

/// The file beside a run's folder that has what its process said on stderr: the folder itself must be new.
fn log(run: &Planned) -> PathBuf {
    run.folder.with_file_name(format!("{}.log", run.name))
}

/// A process that trains the run. On Ctrl-C it is this one that asks it to stop, once: twice would be at once.
fn start(run: &Planned, state: State) -> Result<Child> {
    let path = log(run);
    let log = File::options().create(true).append(true).open(&path).map_err(Error::io("write", &path))?;
    let program = std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
    let mut command = Command::new(&program);
    command.args(run.arguments(state)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(Error::io("start", &program))
}

/// Asks a process to stop in good order. Best effort: one that has just ended needs no asking.
fn ask_to_stop(child: &Child) {
    let pid = Pid::from_u32(child.id());
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
    system.process(pid).map(|process| process.kill_with(Signal::Term));
}

/// The last line of a log that says anything.
fn last_line(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_string()
}

// ---- What came of them

fn print_failures(sweep: &Sweep, outcomes: &[Outcome]) {
    let row = |(run, outcome): (&Planned, &Outcome)| match outcome {
        Outcome::Failed(code, message) => {
            Some(vec![run.name.clone(), code.map_or("killed".into(), |code| code.to_string()), message.clone()])
        }
        _ => None,
    };
    let rows: Vec<Vec<String>> = sweep.runs.iter().zip(outcomes).filter_map(row).collect();
    if !rows.is_empty() {
        let heads = [("failed run", Column::Left), ("exit code", Column::Right), ("last line", Column::Left)];
        super::print(&format!("\n{}", table(&heads, &rows)));
    }
}

/// A row a run: what varies, what it came to, in the columns that all of them have, and why it failed.
fn write_table(
    path: &Path,
    sweep: &Sweep,
    outcomes: &[Outcome],
    histories: &[Option<History>],
    compared: &Comparison,
) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut heads = vec!["run".to_string(), "outcome".into(), "exit_code".into()];
    heads.extend(sweep.varied.iter().cloned());
    heads.push("epochs".into());
    heads.extend(compared.columns.iter().map(|name| format!("test_{name}")));
    heads.extend(["best_test_loss", "best_epoch", "seconds", "message"].map(String::from));
    writer.write_record(&heads).expect("memory takes every row");
    for ((run, outcome), history) in sweep.runs.iter().zip(outcomes).zip(histories) {
        let (code, message) = match outcome {
            Outcome::Failed(code, message) => (code.map_or(String::new(), |code| code.to_string()), message.clone()),
            _ => (String::new(), String::new()),
        };
        let mut row = vec![run.name.clone(), outcome.word().into(), code];
        row.extend(sweep.varied.iter().map(|key| run.text(key).to_string()));
        let of = |value: Option<String>| value.unwrap_or_default();
        let (history, last) = (history.as_ref(), history.as_ref().and_then(|history| history.rows.last()));
        row.push(of(history.map(|history| history.rows.len().to_string())));
        let value = |name: &String| Some(format!("{:?}", history?.value(name, &last?.test)));
        row.extend(compared.columns.iter().map(|name| of(value(name))));
        let best = history.and_then(History::best);
        row.push(of(best.map(|best| format!("{:?}", best.test.loss))));
        row.push(of(best.map(|best| best.epoch.to_string())));
        row.push(of(history.map(|history| format!("{:.3}", history.seconds()))));
        row.push(message);
        writer.write_record(&row).expect("memory takes every row");
    }
    write_atomic(path, &writer.into_inner().expect("a Vec takes every byte"))
}
