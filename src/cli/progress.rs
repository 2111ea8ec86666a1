//! What is shown while a data set is opened: notices, and bars of what takes long.

use std::time::{Duration, Instant};

use elbo::data::progress::Progress;
use elbo::messages::notice;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Decoding that takes longer shows a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows on stderr what it is told: the notices always, the bars where that is a terminal.
pub fn shown() -> impl FnMut(Progress) + Send {
    let mut bar: Option<Bar> = None;
    move |progress: Progress| match progress {
        Progress::Notice(text) => match &bar {
            Some(Bar { bar, .. }) => bar.suspend(|| notice(text)),
            None => notice(text),
        },
        Progress::Pictures { done, total } if done == total => bar = None,
        Progress::Bytes { done, total, .. } if total == Some(done) => bar = None,
        Progress::Pictures { done, total } => {
            let style = "decoding {bar:30} {pos}/{len} pictures, {per_sec}, {eta} left";
            bar.get_or_insert_with(|| Bar::new(style, "", Some(total as u64), PATIENCE)).set(done as u64);
        }
        Progress::Bytes { name, done, total } => {
            if bar.as_ref().is_some_and(|bar| bar.bar.message() != name) {
                bar = None;
            }
            let style = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}";
            bar.get_or_insert_with(|| Bar::new(style, name, total, Duration::ZERO)).set(done);
        }
    }
}

/// A bar that counts `units`, with `what` in front. Whoever makes it moves it and clears it.
pub fn counting(what: &str, units: &str, count: usize) -> ProgressBar {
    let style = format!("{what}{{bar:30}} {{pos}}/{{len}} {units}, {{eta}} left");
    let bar =
        ProgressBar::new(count as u64).with_style(ProgressStyle::with_template(&style).expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar that appears once it is worth it. It goes when it is dropped.
struct Bar {
    bar: ProgressBar,
    start: Instant,
    patience: Duration,
    is_shown: bool,
}

impl Bar {
    fn new(style: &str, name: &str, total: Option<u64>, patience: Duration) -> Bar {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template(style).expect("a valid template");
        Bar {
            bar: bar.with_style(style).with_message(name.to_string()),
            start: Instant::now(),
            patience,
            is_shown: false,
        }
    }

    fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        if !self.is_shown && self.start.elapsed() >= self.patience {
            self.is_shown = true;
            // Nothing is drawn where stderr is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}
