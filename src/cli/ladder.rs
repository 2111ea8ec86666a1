//! `elbo ladder`

use std::path::PathBuf;

use elbo::backend::{Device, choose};
use elbo::error::{Error, Result};
use elbo::instruments::ladder::{Climb, Outcome, Verdict, climb, rungs, usual_size};
use elbo::instruments::peak;
use elbo::kernels::ladder::{LADDERS, Ladder, find};
use elbo::messages::notice;
use elbo::picture::{self, Bar, Bars, bars};
use elbo::units::metric;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::shared::wrote;
use super::table::{Column, table};

/// Each rung is a kernel of its own, shaders/ladder/NAME.wgsl, whose header says what it adds and why that is faster on
/// a GPU. It is first held against its reference, then timed: the best of several samples, each of many replays. The
/// last rungs are the kernel that models run, in its form for GPUs and in its form for adapters that run on a CPU.
#[derive(clap::Args)]
pub struct Args {
    /// matmul, conv2d, reduce or batch_norm [default: all four]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// gpu (the best adapter, one that runs on a CPU included), auto, cpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "gpu")]
    device: String,
    /// M,K,N of matmul; B,H,I,O,K,stride,padding of conv2d; N of reduce; R,C of batch_norm [default: by the adapter]
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', requires = "name")]
    size: Option<Vec<usize>>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
    /// Draw the rates as bars, a PNG or JPEG file
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let ladders = match &self.name {
            Some(name) => vec![find(name)?],
            None => LADDERS.to_vec(),
        };
        if let Some(size) = &self.size {
            ladders[0].check(size)?;
        }
        self.chart.as_ref().map(picture::Format::of).transpose()?;
        let device = choose::open(&self.device)?;
        notice(&format!("device: {}", device.description()));
        let climbs = self.climb(&ladders, &device)?;
        if self.json {
            let list: Vec<_> = climbs.iter().map(to_json).collect();
            super::print_json(&list);
        } else {
            climbs.iter().for_each(print);
            remarks(&device, &climbs);
        }
        if let Some(file) = &self.chart {
            bars(&climbs.iter().map(chart).collect::<Vec<_>>()).save(file)?;
            if !self.json {
                wrote(file, "the rates of the rungs, under the measured peak");
            }
        }
        let wrong: Vec<_> = climbs.iter().flat_map(|climb| &climb.rungs).filter(|r| is_wrong(r)).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = wrong.iter().map(|rung| rung.name.as_str()).collect();
        Err(Error::Failed(format!("{} differ from their reference on this device: {}", wrong.len(), names.join("; "))))
    }

    /// Under a progress bar.
    fn climb(&self, ladders: &[&'static Ladder], device: &Device) -> Result<Vec<Climb>> {
        let steps: usize = ladders.iter().map(|ladder| rungs(ladder, device)).sum();
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}").expect("a valid template");
        let bar = ProgressBar::new(steps as u64 + 1).with_style(style);
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        bar.set_message("the device's peak");
        let peak = peak::measure(device)?;
        let climb_one = |ladder: &&'static Ladder| {
            let size = self.size.as_deref().unwrap_or(usual_size(ladder, device));
            climb(ladder, device, size, peak, &mut |rung| {
                bar.inc(1);
                bar.set_message(rung.to_string());
            })
        };
        let climbs = ladders.iter().map(climb_one).collect();
        bar.finish_and_clear();
        climbs
    }
}

fn is_wrong(rung: &Outcome) -> bool {
    matches!(rung.verdict, Verdict::Wrong(_))
}

/// As in `M,K,N = 128,784,400`.
fn size(climb: &Climb) -> String {
    let numbers: Vec<_> = climb.size.iter().map(usize::to_string).collect();
    format!("{} = {}", climb.ladder.dimensions.join(","), numbers.join(","))
}

fn print(climb: &Climb) {
    let cost = climb.cost();
    super::print(&format!("{}: {}", climb.ladder.name, climb.ladder.formula));
    let least = format!("{}FLOP and at least {}B", metric(cost.flops as f64), metric(cost.bytes as f64));
    let peak = format!("{:.1} {}", climb.peak_rate(), climb.unit());
    super::print(&format!("{}: {least}; the device's peak, measured just now: {peak}", size(climb)));
    super::print("");
    let heads = [
        ("rung", Column::Left),
        ("adds", Column::Left),
        ("ms", Column::Right),
        (climb.unit(), Column::Right),
        ("of peak", Column::Right),
        ("over previous", Column::Right),
        ("over first", Column::Right),
    ];
    let rows: Vec<_> = (0..climb.rungs.len()).map(|rung| row(climb, rung)).collect();
    super::print(&table(&heads, &rows));
    super::print("");
    for rung in &climb.rungs {
        match &rung.verdict {
            Verdict::Seconds(_) => {}
            Verdict::Skipped(why) => super::print(&format!("{} was not run: {why}.", rung.name)),
            Verdict::Wrong(what) => super::print(&format!("{} IS WRONG and was not timed: {what}", rung.name)),
        }
    }
    if let Some(used) = climb.rungs.iter().find(|rung| rung.is_used) {
        super::print(&format!("Models on this device run {}.", used.name));
    }
    super::print(&format!("{}\n", climb.ladder.advice));
}

fn row(climb: &Climb, rung: usize) -> Vec<String> {
    let Outcome { name, adds, verdict, .. } = &climb.rungs[rung];
    let mut row = vec![name.clone(), adds.to_string()];
    let numbers = match (verdict, climb.rate(rung)) {
        (Verdict::Seconds(seconds), Some(rate)) => {
            let times = |n: f64| format!("{n:.2} x");
            let [over_previous, over_first] = climb.speed_ups(rung).map_or(Default::default(), |both| both.map(times));
            let share = format!("{:.1} %", 100.0 * rate / climb.peak_rate());
            [format!("{:.3}", seconds * 1e3), format!("{rate:.2}"), share, over_previous, over_first]
        }
        (Verdict::Wrong(_), _) => ["wrong".into(), "".into(), "".into(), "".into(), "".into()],
        _ => ["-".into(), "".into(), "".into(), "".into(), "".into()],
    };
    row.extend(numbers);
    row
}

/// What the numbers do not say by themselves.
fn remarks(device: &Device, climbs: &[Climb]) {
    if climbs.iter().any(|climb| climb.is_software) {
        super::print(
            "This adapter runs on the CPU. Workgroup memory is ordinary memory there, a barrier costs, and a cache serves\n\
             all lanes, so what makes a GPU fast can make it slow: the order of the rungs here is not a GPU's. The headers\n\
             in shaders/ladder/ say what each is expected to bring on one.",
        );
    }
    if climbs.iter().any(|climb| (0..climb.rungs.len()).any(|i| climb.rate(i) > Some(climb.peak_rate()))) {
        super::print(
            "More than 100 % of the peak: the peak is of memory, and what a cache holds comes faster. The peak is measured\n\
             once, too, and a busy machine slows what is measured then.",
        );
    }
    if let Device::Cpu(_) = device {
        super::print(
            "The rungs are shaders and need an adapter. On the CPU device a ladder has the production kernel's reference,\n\
             in f64 on one thread, and its accelerated form where it has one.",
        );
    }
}

fn to_json(climb: &Climb) -> serde_json::Value {
    let rung = |index: usize| {
        let Outcome { name, adds, kernels, shaders, is_used, verdict } = &climb.rungs[index];
        let (status, reason) = match verdict {
            Verdict::Seconds(_) => ("timed", None),
            Verdict::Skipped(why) => ("skipped", Some(why)),
            Verdict::Wrong(what) => ("wrong", Some(what)),
        };
        let rate = climb.rate(index);
        let speed_ups = climb.speed_ups(index);
        json!({
            "name": name, "adds": adds, "kernels": kernels, "shaders": shaders, "used_by_models": is_used,
            "status": status, "reason": reason,
            "ms": climb.rungs[index].seconds().map(|s| s * 1e3), "rate": rate,
            "share_of_peak": rate.map(|rate| rate / climb.peak_rate()),
            "over_previous": speed_ups.map(|s| s[0]), "over_first": speed_ups.map(|s| s[1]),
        })
    };
    let cost = climb.cost();
    json!({
        "ladder": climb.ladder.name, "formula": climb.ladder.formula, "device": climb.device,
        "software_adapter": climb.is_software,
        "dimensions": climb.ladder.dimensions, "size": climb.size, "flops": cost.flops, "bytes": cost.bytes,
        "unit": climb.unit(), "peak": climb.peak_rate(),
        "rungs": (0..climb.rungs.len()).map(rung).collect::<Vec<_>>(),
    })
}

fn chart(climb: &Climb) -> Bars {
    let bar = |index: usize| {
        let rung = &climb.rungs[index];
        let value = climb.rate(index);
        let note = match (&rung.verdict, value) {
            (Verdict::Seconds(_), Some(rate)) => format!("{rate:.2}"),
            (Verdict::Wrong(_), _) => "wrong".into(),
            _ => "not run".into(),
        };
        Bar { name: rung.name.clone(), value, note, is_marked: rung.is_used }
    };
    let device = climb.device.split(" (").next().unwrap_or_default();
    Bars {
        title: format!("{}, {}, {} on {device}", climb.ladder.name, size(climb), climb.unit()),
        bars: (0..climb.rungs.len()).map(bar).collect(),
        roof: (climb.peak_rate(), format!("measured peak {:.1}", climb.peak_rate())),
    }
}
