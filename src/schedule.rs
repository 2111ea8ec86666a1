//! Schedules of the learning rate and of a model's knobs, such as the KL weight.
//!
//! Letters: s the step, counted from 0 over the whole run; T all steps of the run; E steps of an epoch; f a final
//! factor; each schedule gives a factor that multiplies the setting (`lr`, or `kl_weight` and the like).

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::nearest;

/// How the learning rate changes over the run, after a warm-up of W steps.
///
/// While s < W the factor is (s + 1) / W, which is never 0. Afterwards, with p = (s - W) / (T - W) in [0, 1):
///
/// | text | factor |
/// |---|---|
/// | `constant` | 1 |
/// | `linear[:f]` | 1 - (1 - f) p |
/// | `cosine[:f]` | f + (1 - f) (1 + cos(pi p)) / 2 |
/// | `cyclical[:M[:f]]` | the cosine of p' = M p - floor(M p): M cycles of equal length, each from 1 again |
///
/// f is 0 and M is 4 where not given. Cosine and its warm restarts: Loshchilov and Hutter 2017 (arXiv 1608.03983),
/// equation 5, updated each step as there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LrSchedule {
    /// Always `lr`, after the warm-up.
    Constant,
    /// Down on a straight line over the rest of the run.
    Linear {
        /// f, the factor that the end of the run would have, 0 to 1.
        last: f64,
    },
    /// Down on half a cosine over the rest of the run.
    Cosine {
        /// f, the factor that the end of the run would have, 0 to 1.
        last: f64,
    },
    /// Down on half a cosine again and again.
    Cyclical {
        /// M, at least 1.
        cycles: u32,
        /// f, the factor that each cycle comes down to, 0 to 1.
        last: f64,
    },
}

/// How a knob, such as the KL weight, grows over the run.
///
/// | text | factor |
/// |---|---|
/// | `constant` | 1 |
/// | `linear:N` | min(1, s / (N E)): from 0 to 1 over N epochs |
/// | `cosine:N` | (1 - cos(pi min(1, s / (N E)))) / 2 |
/// | `cyclical[:M[:R]]` | min(1, tau / R), tau = (s mod ceil(T / M)) / (T / M): M cycles that ramp for their part R |
/// | `logistic:N[:k]` | 1 / (1 + e^(-k (s / (N E) - 1))): near 0 at first, 1/2 after N epochs, then towards 1 |
/// | `exponential:r[:f]` | max(f, e^(-r s)): down from 1 to the floor f |
///
/// M is 4, R is 0.5, k is 6.25 and f is 0 where not given. Cyclical: Fu et al. 2019 (arXiv 1903.10145), equations 6 and
/// 7 with t = s + 1. Logistic: Bowman et al. 2016 (arXiv 1511.06349), figure 2; k as in timbmg/Sentence-VAE.
/// Exponential: the temperature of Jang et al. 2016 (arXiv 1611.01144), section 4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KnobSchedule {
    /// Always the setting.
    Constant,
    /// Up on a straight line, then constant.
    Linear {
        /// N, epochs until the factor is 1; more than 0, not always whole.
        epochs: f64,
    },
    /// Up on half a cosine, then constant.
    Cosine {
        /// N, epochs until the factor is 1; more than 0, not always whole.
        epochs: f64,
    },
    /// Up on a straight line from 0, then constant, again and again.
    Cyclical {
        /// M, at least 1.
        cycles: u32,
        /// R, the part of a cycle in which the factor rises; above 0, at most 1.
        ramp: f64,
    },
    /// Up on a logistic curve.
    Logistic {
        /// N, epochs until the factor is 1/2; more than 0, not always whole.
        epochs: f64,
        /// k, more than 0: the larger, the more of the way is taken about N.
        steepness: f64,
    },
    /// Down by the same factor at each step, to a floor.
    Exponential {
        /// r, by a step; more than 0.
        rate: f64,
        /// f, the factor that it does not fall below, 0 to 1.
        last: f64,
    },
}

const DEFAULT_CYCLES: u32 = 4;
const DEFAULT_RAMP: f64 = 0.5;
const DEFAULT_STEEPNESS: f64 = 6.25;

impl LrSchedule {
    /// The factor of step `step` in a run of `total_steps` whose first `warmup_steps` (not always whole) are warm-up.
    pub fn factor(&self, step: u64, warmup_steps: f64, total_steps: u64) -> f64 {
        let step = step as f64;
        if step < warmup_steps {
            return ((step + 1.0) / warmup_steps).min(1.0);
        }
        // A step past the end counts as the end.
        let progress = ((step - warmup_steps) / (total_steps as f64 - warmup_steps).max(1.0)).min(1.0);
        let cosine = |p: f64, last: f64| last + (1.0 - last) * (1.0 + (PI * p).cos()) / 2.0;
        match *self {
            LrSchedule::Constant => 1.0,
            LrSchedule::Linear { last } => 1.0 - (1.0 - last) * progress,
            LrSchedule::Cosine { last } => cosine(progress, last),
            LrSchedule::Cyclical { cycles, last } => cosine((progress * cycles as f64).fract(), last),
        }
    }
}

impl KnobSchedule {
    /// The factor of step `step` in a run of `total_steps`, of which `steps_per_epoch` make an epoch.
    pub fn factor(&self, step: u64, steps_per_epoch: f64, total_steps: u64) -> f64 {
        let ramp = |epochs: f64| (step as f64 / (epochs * steps_per_epoch)).min(1.0);
        match *self {
            KnobSchedule::Constant => 1.0,
            KnobSchedule::Linear { epochs } => ramp(epochs),
            KnobSchedule::Cosine { epochs } => (1.0 - (PI * ramp(epochs)).cos()) / 2.0,
            KnobSchedule::Cyclical { cycles, ramp } => {
                let cycle = total_steps as f64 / cycles as f64;
                let tau = (step as f64 % cycle.ceil()) / cycle;
                (tau / ramp).min(1.0)
            }
            KnobSchedule::Logistic { epochs, steepness } => {
                1.0 / (1.0 + (-steepness * (step as f64 / (epochs * steps_per_epoch) - 1.0)).exp())
            }
            KnobSchedule::Exponential { rate, last } => (-rate * step as f64).exp().max(last),
        }
    }
}

impl FromStr for LrSchedule {
    type Err = String;

    fn from_str(text: &str) -> Result<LrSchedule, String> {
        let mut parts = Parts::of(text);
        let last = |parts: &mut Parts| parts.number("final factor", Some(0.0), |f| (0.0..=1.0).contains(&f), "0 to 1");
        let schedule = match parts.name {
            "constant" => LrSchedule::Constant,
            "linear" => LrSchedule::Linear { last: last(&mut parts)? },
            "cosine" => LrSchedule::Cosine { last: last(&mut parts)? },
            "cyclical" => LrSchedule::Cyclical { cycles: parts.cycles()?, last: last(&mut parts)? },
            other => return Err(unknown(other, &NAMES)),
        };
        parts.end(schedule)
    }
}

impl FromStr for KnobSchedule {
    type Err = String;

    fn from_str(text: &str) -> Result<KnobSchedule, String> {
        let mut parts = Parts::of(text);
        let epochs = |parts: &mut Parts| parts.number("number of epochs", None, |n| n > 0.0, "more than 0");
        let schedule = match parts.name {
            "constant" => KnobSchedule::Constant,
            "linear" => KnobSchedule::Linear { epochs: epochs(&mut parts)? },
            "cosine" => KnobSchedule::Cosine { epochs: epochs(&mut parts)? },
            "cyclical" => KnobSchedule::Cyclical {
                cycles: parts.cycles()?,
                ramp: parts.number("ramp", Some(DEFAULT_RAMP), |r| r > 0.0 && r <= 1.0, "more than 0, at most 1")?,
            },
            "logistic" => KnobSchedule::Logistic {
                epochs: epochs(&mut parts)?,
                steepness: parts.number("steepness", Some(DEFAULT_STEEPNESS), |k| k > 0.0, "more than 0")?,
            },
            "exponential" => KnobSchedule::Exponential {
                rate: parts.number("rate", None, |r| r > 0.0, "more than 0")?,
                last: parts.number("floor", Some(0.0), |f| (0.0..=1.0).contains(&f), "0 to 1")?,
            },
            other => return Err(unknown(other, &[&NAMES[..], &["logistic", "exponential"]].concat())),
        };
        parts.end(schedule)
    }
}

/// A text form `name:number:number`, read from the left.
struct Parts<'a> {
    text: &'a str,
    name: &'a str,
    rest: std::str::Split<'a, char>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Parts<'a> {
        let mut rest = text.split(':');
        Parts { text, name: rest.next().unwrap_or_default(), rest }
    }

    /// The next number; `default` where the text ends before it, or an error if there is no default.
    fn number(
        &mut self,
        what: &str,
        default: Option<f64>,
        fits: impl Fn(f64) -> bool,
        range: &str,
    ) -> Result<f64, String> {
        let Some(part) = self.rest.next() else {
            return default
                .ok_or_else(|| format!("schedule `{}` lacks the {what}: for instance `{}:5`", self.text, self.name));
        };
        let number = part.parse().ok().filter(|n: &f64| n.is_finite() && fits(*n));
        number.ok_or_else(|| format!("schedule `{}`: the {what} is `{part}`, but must be {range}", self.text))
    }

    fn cycles(&mut self) -> Result<u32, String> {
        let whole = |n: f64| n.fract() == 0.0 && (1.0..=1e6).contains(&n);
        let default = Some(DEFAULT_CYCLES as f64);
        self.number("number of cycles", default, whole, "a whole number of 1 or more").map(|n| n as u32)
    }

    fn end<T>(mut self, schedule: T) -> Result<T, String> {
        match self.rest.next() {
            Some(extra) => Err(format!("schedule `{}`: `{extra}` is one number too many", self.text)),
            None => Ok(schedule),
        }
    }
}

/// Those that both have.
const NAMES: [&str; 4] = ["constant", "linear", "cosine", "cyclical"];

fn unknown(name: &str, names: &[&str]) -> String {
    let hint = nearest(name, names.iter().copied()).map_or(".".into(), |n| format!("; did you mean `{n}`?"));
    format!("no schedule is called `{name}`{hint} There are {}.", names.join(", "))
}

impl fmt::Display for LrSchedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            LrSchedule::Constant => write!(f, "constant"),
            LrSchedule::Linear { last } => write!(f, "linear:{last}"),
            LrSchedule::Cosine { last } => write!(f, "cosine:{last}"),
            LrSchedule::Cyclical { cycles, last } => write!(f, "cyclical:{cycles}:{last}"),
        }
    }
}

impl fmt::Display for KnobSchedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            KnobSchedule::Constant => write!(f, "constant"),
            KnobSchedule::Linear { epochs } => write!(f, "linear:{epochs}"),
            KnobSchedule::Cosine { epochs } => write!(f, "cosine:{epochs}"),
            KnobSchedule::Cyclical { cycles, ramp } => write!(f, "cyclical:{cycles}:{ramp}"),
            KnobSchedule::Logistic { epochs, steepness } => write!(f, "logistic:{epochs}:{steepness}"),
            KnobSchedule::Exponential { rate, last } => write!(f, "exponential:{rate}:{last}"),
        }
    }
}

impl TryFrom<String> for LrSchedule {
    type Error = String;
    fn try_from(text: String) -> Result<LrSchedule, String> {
        text.parse()
    }
}

impl TryFrom<String> for KnobSchedule {
    type Error = String;
    fn try_from(text: String) -> Result<KnobSchedule, String> {
        text.parse()
    }
}

impl From<LrSchedule> for String {
    fn from(schedule: LrSchedule) -> String {
        schedule.to_string()
    }
}

impl From<KnobSchedule> for String {
    fn from(schedule: KnobSchedule) -> String {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests;
