use super::*;

fn lr(text: &str) -> LrSchedule {
    text.parse().unwrap()
}

fn kl(text: &str) -> KnobSchedule {
    text.parse().unwrap()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn learning_rate_formulas() {
    for step in [0, 50, 99] {
        close(lr("constant").factor(step, 0.0, 100), 1.0);
    }
    close(lr("linear").factor(0, 0.0, 100), 1.0);
    close(lr("linear").factor(25, 0.0, 100), 0.75);
    close(lr("linear:0.1").factor(50, 0.0, 100), 0.55);
    close(lr("cosine").factor(0, 0.0, 100), 1.0);
    close(lr("cosine").factor(25, 0.0, 100), (1.0 + 0.5f64.sqrt()) / 2.0);
    close(lr("cosine:0.2").factor(50, 0.0, 100), 0.6);
    close(lr("cyclical:2").factor(25, 0.0, 100), 0.5);
    close(lr("cyclical:2").factor(50, 0.0, 100), 1.0);
    close(lr("cyclical:2:0.5").factor(75, 0.0, 100), 0.75);
    // Past the end.
    close(lr("linear:0.1").factor(300, 0.0, 100), 0.1);
}

#[test]
fn warm_up_rises_to_one_and_the_schedule_starts_after_it() {
    close(lr("constant").factor(0, 10.0, 110), 0.1);
    close(lr("constant").factor(9, 10.0, 110), 1.0);
    close(lr("linear").factor(10, 10.0, 110), 1.0);
    close(lr("linear").factor(60, 10.0, 110), 0.5);
    close(lr("constant").factor(2, 2.5, 100), 1.0);
    // A warm-up longer than the run.
    close(lr("cosine").factor(5, 60.0, 10), 0.1);
}

#[test]
fn kl_formulas() {
    close(kl("constant").factor(0, 10.0, 100), 1.0);
    close(kl("linear:5").factor(0, 10.0, 100), 0.0);
    close(kl("linear:5").factor(20, 10.0, 100), 0.4);
    close(kl("linear:5").factor(50, 10.0, 100), 1.0);
    close(kl("linear:5").factor(99, 10.0, 100), 1.0);
    close(kl("linear:0.5").factor(1, 10.0, 100), 0.2);
    close(kl("cosine:5").factor(0, 10.0, 100), 0.0);
    close(kl("cosine:5").factor(25, 10.0, 100), 0.5);
    close(kl("cosine:5").factor(60, 10.0, 100), 1.0);
}

#[test]
fn cyclical_kl_restarts_as_in_the_paper() {
    let schedule = kl("cyclical");
    for start in [0, 25, 50, 75] {
        close(schedule.factor(start, 10.0, 100), 0.0);
        close(schedule.factor(start + 5, 10.0, 100), 0.4);
        close(schedule.factor(start + 20, 10.0, 100), 1.0);
    }
    // T / M = 2.5: the step is taken modulo 3, and divided by 2.5.
    close(kl("cyclical:4:1").factor(2, 10.0, 10), 0.8);
    close(kl("cyclical:4:1").factor(3, 10.0, 10), 0.0);
}

#[test]
fn an_exponential_knob_falls_by_step_to_its_floor() {
    let schedule = kl("exponential:0.01:0.5");
    close(schedule.factor(0, 10.0, 100), 1.0);
    close(schedule.factor(20, 10.0, 100), (-0.2f64).exp());
    close(schedule.factor(20, 3.0, 7), (-0.2f64).exp());
    close(schedule.factor(1000, 10.0, 100), 0.5);
    assert_eq!(kl("exponential:0.5"), KnobSchedule::Exponential { rate: 0.5, last: 0.0 });
    assert!("exponential".parse::<KnobSchedule>().unwrap_err().contains("lacks the rate"));
    assert!("exponential:-1".parse::<KnobSchedule>().unwrap_err().contains("more than 0"));
    assert!("exponential:0.1:2".parse::<KnobSchedule>().unwrap_err().contains("the floor is `2`"));
    assert!("exponentil:1".parse::<KnobSchedule>().unwrap_err().contains("did you mean `exponential`?"));
}

#[test]
fn a_logistic_knob_is_half_way_after_its_epochs() {
    let schedule = kl("logistic:5");
    // Sentence-VAE's: 1 / (1 + e^(-0.0025 (s - 2500))).
    for step in [0u64, 1_000, 2_500, 4_000] {
        close(schedule.factor(step, 500.0, 9_999), 1.0 / (1.0 + (-0.0025 * (step as f64 - 2_500.0)).exp()));
    }
    assert!(kl("logistic:5:20").factor(0, 10.0, 100) < 1e-8);
    assert!("logistic".parse::<KnobSchedule>().unwrap_err().contains("lacks the number of epochs"));
    assert!("logistic:5:0".parse::<KnobSchedule>().unwrap_err().contains("the steepness is `0`"));
}

#[test]
fn text_forms_read_back() {
    for text in ["constant", "linear:0.1", "cosine:0", "cyclical:3:0.25"] {
        assert_eq!(lr(text).to_string(), text);
    }
    for text in ["constant", "linear:0.5", "cosine:5", "cyclical:3:0.25", "logistic:2:6.25", "exponential:0.0001:0.5"] {
        assert_eq!(kl(text).to_string(), text);
    }
    assert_eq!(lr("linear"), LrSchedule::Linear { last: 0.0 });
    assert_eq!(lr("cyclical"), LrSchedule::Cyclical { cycles: 4, last: 0.0 });
    assert_eq!(kl("cyclical"), KnobSchedule::Cyclical { cycles: 4, ramp: 0.5 });
}

#[test]
fn bad_text_says_what_is_wrong() {
    let fails = |text: &str, part: &str| {
        let message = text.parse::<KnobSchedule>().unwrap_err();
        assert!(message.contains(part), "{message}");
    };
    fails("liner:5", "did you mean `linear`?");
    fails("", "no schedule is called ``");
    fails("linear", "lacks the number of epochs: for instance `linear:5`");
    fails("linear:x", "the number of epochs is `x`");
    fails("linear:0", "must be more than 0");
    fails("linear:inf", "must be more than 0");
    fails("cosine:NaN", "must be more than 0");
    fails("linear:5:6", "`6` is one number too many");
    fails("constant:1", "`1` is one number too many");
    fails("cyclical:0", "the number of cycles is `0`");
    fails("cyclical:2.5", "a whole number");
    fails("cyclical:4:0", "the ramp is `0`");
    fails("cyclical:4:1.5", "at most 1");
    assert!("linear:1.5".parse::<LrSchedule>().unwrap_err().contains("must be 0 to 1"));
    assert!("cosine:-1".parse::<LrSchedule>().is_err());
    assert!("cosin".parse::<LrSchedule>().unwrap_err().contains("did you mean `cosine`?"));
}
