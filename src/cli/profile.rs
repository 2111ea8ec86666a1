//! `elbo profile`

use std::path::PathBuf;

use elbo::backend::{Device, TimingClock};
use elbo::error::Result;
use elbo::files::write_atomic;
use elbo::instruments::profile::{Bound, Profile, Timed, profile};
use elbo::instruments::subject::Subject;
use elbo::picture::{Mark, roofline};
use elbo::units::metric;
use indicatif::{ProgressBar, ProgressStyle};

use super::shared::{SubjectArgs, plain_name, wrote};
use super::table::{Column, table};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// The folder for trace.json and roofline.png [default: profiles/MODEL-DEVICE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let (subject, device) = self.subject.open()?;
        let profile = measure(&subject, &device)?;

        let folder =
            self.out.unwrap_or_else(|| PathBuf::from("profiles").join(folder_name(&subject.name, device.name())));
        let trace = folder.join("trace.json");
        let title = format!("{}, {} on {}", subject.name, subject.step.name, device.name());
        write_atomic(&trace, profile.trace(&title).to_string().as_bytes())?;
        let picture = folder.join("roofline.png");
        let peak = [profile.peak.flops_per_second, profile.peak.bytes_per_second];
        roofline(&marks(&profile), peak, &title).save(&picture)?;

        if self.json {
            super::print_json(&serde_json::json!({
                "model": subject.name,
                "batch_size": subject.settings.batch_size,
                "device": device.description(),
                "trace": trace,
                "picture": picture,
                "profile": profile,
            }));
            return Ok(());
        }
        print(&title, &profile, matches!(device, Device::Gpu(_)));
        super::print("");
        wrote(&trace, "the step, for chrome://tracing or Perfetto");
        wrote(&picture, "the kernels under the device's roof");
        Ok(())
    }
}

/// Under a progress bar, if it takes two seconds.
fn measure(subject: &Subject, device: &Device) -> Result<Profile> {
    let style = ProgressStyle::with_template("{bar:30} {msg} {elapsed}").expect("a valid template");
    let bar = ProgressBar::new(1).with_style(style);
    let profile = profile(subject, device, &mut |what, done, parts| {
        bar.set_length(parts as u64);
        bar.set_position(done as u64);
        bar.set_message(what.to_string());
    });
    bar.finish_and_clear();
    profile
}

/// As in `mnist-mlp-cpu`: the model's name, or its run folder's, and the device's, in small letters and digits.
fn folder_name(model: &str, device: &str) -> String {
    let model = std::path::Path::new(model).file_name().unwrap_or_default().to_string_lossy();
    plain_name(&[&model, device])
}

fn marks(profile: &Profile) -> Vec<Mark> {
    let mark = |kernel: &elbo::instruments::profile::OfKernel| Mark {
        name: kernel.kernel.into(),
        intensity: kernel.intensity,
        flops_per_second: kernel.reached.flops_per_second,
        share: kernel.percent / 100.0,
    };
    profile.kernels.iter().map(mark).collect()
}

fn print(title: &str, profile: &Profile, is_gpu: bool) {
    let Profile { peak, clock, distrust, replays, dispatches, sum, step, floor, .. } = profile;
    super::print(title);
    super::print(&format!(
        "peak, measured just now: {}FLOP/s, {}B/s, {}s an empty dispatch",
        metric(peak.flops_per_second),
        metric(peak.bytes_per_second),
        metric(peak.empty_dispatch)
    ));
    let by = match clock {
        TimingClock::Timestamps => "timestamps of the device",
        TimingClock::Wall if is_gpu => "the WALL CLOCK of the host, each with the way to the device and back",
        TimingClock::Wall => "the host's clock",
    };
    super::print(&format!("times: median of {replays} replays, by {by}"));
    if *clock == TimingClock::Wall && is_gpu {
        let why = distrust.as_deref().unwrap_or("the adapter has none");
        super::print(&format!("       not by timestamps: {why}"));
    }
    super::print("");
    let mut slowest: Vec<&Timed> = dispatches.iter().collect();
    slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let heads = [
        ("#", Column::Right),
        ("layer", Column::Left),
        ("kernel", Column::Left),
        ("time", Column::Right),
        ("step", Column::Right),
        ("reached", Column::Right),
        ("of peak", Column::Right),
        ("bound by", Column::Left),
    ];
    super::print(&table(&heads, &slowest.into_iter().map(row).collect::<Vec<_>>()));
    super::print("");
    super::print(&format!("{} dispatches, each timed alone: {}s", dispatches.len(), metric(*sum)));
    super::print(&format!("the step as in training, many replays a submission: {}s", metric(*step)));
    super::print(&format!(
        "its floor, every dispatch at the peak: {}s; the step takes {:.2} times as long",
        metric(*floor),
        step / floor
    ));
    if dispatches.iter().any(|timed| timed.reached.share() > 1.0) {
        super::print(
            "more than 100 %: the peak of memory is of tensors that no cache holds, and small ones come faster",
        );
    }
}

fn row(timed: &Timed) -> Vec<String> {
    let reached = match timed.reached.bound {
        Bound::Arithmetic => format!("{}FLOP/s", metric(timed.reached.flops_per_second)),
        Bound::Memory => format!("{}B/s", metric(timed.reached.bytes_per_second)),
    };
    vec![
        timed.dispatch.number.to_string(),
        timed.dispatch.layer.clone(),
        timed.dispatch.kernel.into(),
        format!("{}s", metric(timed.seconds)),
        format!("{:.1} %", timed.percent),
        reached,
        format!("{:.0} %", 100.0 * timed.reached.share()),
        match timed.reached.bound {
            Bound::Arithmetic => "arithmetic".into(),
            Bound::Memory => "memory".into(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_after_model_and_device() {
        assert_eq!(folder_name("mnist-mlp", "cpu"), "mnist-mlp-cpu");
        assert_eq!(
            folder_name("runs/My run", "llvmpipe (LLVM 15.0.6, 256 bits)"),
            "my-run-llvmpipe-llvm-15-0-6-256-bits"
        );
    }
}
