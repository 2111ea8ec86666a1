//! The instruments, on every device.

mod common;

use std::collections::BTreeSet;
use std::time::Instant;

use elbo::arena::Arena;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::Options;
use elbo::backend::{Backend, Device, TimingClock};
use elbo::data::table::Columns;
use elbo::instruments::faults::{self, FAULTS};
use elbo::instruments::ladder::{Verdict, climb};
use elbo::instruments::lockstep;
use elbo::instruments::peak::{self, Peak};
use elbo::instruments::plan::{Dispatch, plan};
use elbo::instruments::profile::{Timed, profile};
use elbo::instruments::subject::{REPLAYS, Subject};
use elbo::instruments::translate;
use elbo::kernels::{self, ladder, probe};
use elbo::program::Recorder;
use elbo::tensor::Tensor;
use elbo::train::settings::Settings;

/// Timing a step is running it: the same parameters come out, and every dispatch has its time.
#[test]
fn a_timed_step_is_a_step() {
    let subject = Subject::open("mnist-mlp", Some(4)).unwrap();
    let parameters = subject.arena.flat_parameters();
    for (name, device) in common::devices() {
        let mut backend = device.backend();
        let step = subject.load(&mut backend).unwrap();
        backend.run(&[(step, 1)]).unwrap();
        let run = backend.read_one(parameters).unwrap();
        for time in [Backend::time, Backend::time_by_wall] {
            subject.write_inputs(&mut backend);
            let start = Instant::now();
            let timings = time(&mut backend, step).unwrap();
            let elapsed = start.elapsed().as_secs_f64();
            assert!(backend.read_one(parameters).unwrap() == run, "{name}");
            assert_eq!(timings.seconds.len(), subject.step.steps.len(), "{name}");
            let total: f64 = timings.seconds.iter().sum();
            // All of it was in the call, of which it is a good part on the CPU, though other tests run beside.
            let is_cpu = matches!(device, Device::Cpu(_));
            let least = if is_cpu { 0.02 * elapsed } else { 0.0 };
            let is_within = total > least && total <= elapsed;
            assert!(timings.seconds.iter().all(|&s| s >= 0.0) && is_within, "{name}: {timings:?} in {elapsed} s");
        }
        assert_eq!(backend.time_by_wall(step).unwrap().clock, TimingClock::Wall, "{name}");
    }
}

// ---- Plan, profile, kernels

/// Devices whose speed is measured. A GPU is here once: its clock and its probes are the same in both of its forms.
fn timed_devices() -> impl Iterator<Item = (&'static str, Device)> {
    common::devices().into_iter().filter(|(name, _)| ["CPU accelerated", "GPU portable"].contains(name))
}

/// A plan has every dispatch of the step, with the shader that would run.
#[test]
fn a_plan_lists_what_would_run() {
    let subject = Subject::open("mnist-conv", Some(4)).unwrap();
    for (name, device) in common::devices() {
        let plan = plan(&subject, &device);
        assert_eq!(plan.dispatches.len(), subject.step.steps.len(), "{name}");
        for (dispatch, step) in plan.dispatches.iter().zip(&subject.step.steps) {
            let cost = step.cost();
            assert_eq!((dispatch.kernel, dispatch.flops, dispatch.bytes), (step.kernel.name, cost.flops, cost.bytes));
            assert_eq!([dispatch.reads.len(), dispatch.writes.len()], [step.reads.len(), step.writes.len()]);
            assert_eq!(dispatch.grid.is_some(), matches!(device, Device::Gpu(_)), "{name}");
        }
        assert_eq!(plan.flops, plan.dispatches.iter().map(|d| d.flops).sum::<u64>(), "{name}");
        let weight =
            |d: &&Dispatch| d.kernel == "conv2d.forward" && d.reads[1].to_string().starts_with("encoder.0.0.weight (");
        assert!(plan.dispatches.iter().any(|d| weight(&d)), "{name}");
        let forms: Vec<&str> = plan.dispatches.iter().map(|d| d.form.as_str()).collect();
        let is_expected = match name {
            "CPU reference" => forms.iter().all(|form| *form == "reference"),
            "CPU accelerated" => forms.contains(&"accelerated") && forms.contains(&"reference"),
            "GPU portable" => {
                forms.contains(&"shaders/conv2d_vec4.wgsl") && !forms.iter().any(|f| f.contains("software"))
            }
            _ => forms.contains(&"shaders/software/conv2d.wgsl"),
        };
        assert!(is_expected, "{name}: {forms:?}");
    }
}

/// What is said of a step adds up, and of the same work the slower dispatch has the smaller share of the peak.
#[test]
fn a_profile_adds_up() {
    let subject = Subject::open("mnist-mlp", Some(16)).unwrap();
    for (name, device) in timed_devices() {
        let profile = profile(&subject, &device, &mut |_, done, parts| assert!(done < parts)).unwrap();
        assert_eq!(profile.dispatches.len(), subject.step.steps.len(), "{name}");
        let sum: f64 = profile.dispatches.iter().map(|timed| timed.seconds).sum();
        assert!((profile.sum - sum).abs() < 1e-9 && profile.replays >= 3, "{name}: {sum}");
        let percents = [
            profile.dispatches.iter().map(|timed| timed.percent).sum::<f64>(),
            profile.kernels.iter().map(|kernel| kernel.percent).sum(),
        ];
        assert!(percents.iter().all(|percent| (percent - 100.0).abs() < 1e-6), "{name}: {percents:?}");
        assert!(profile.kernels.is_sorted_by(|a, b| a.seconds >= b.seconds), "{name}");
        let least: f64 = subject.step.steps.iter().map(|step| profile.peak.seconds(step.cost())).sum();
        let empty = profile.dispatches.len() as f64 * profile.peak.empty_dispatch;
        assert!((profile.floor - least - empty).abs() < 1e-9 && profile.floor > 0.0, "{name}");
        // What the step takes here, at best of several; other tests run beside.
        let mut backend = device.backend();
        let step = subject.load(&mut backend).unwrap();
        let own = (0..REPLAYS).map(|_| {
            let start = Instant::now();
            backend.run(&[(step, 1)]).unwrap();
            backend.read_one(subject.data.clock).unwrap();
            start.elapsed().as_secs_f64()
        });
        let own = own.fold(f64::INFINITY, f64::min);
        assert!((0.1..4.0).contains(&(profile.step / own)), "{name}: {} s, here {own} s", profile.step);
        let of = |kernel: &str, layer: &str| {
            let is = |t: &&Timed| t.dispatch.kernel == kernel && t.dispatch.layer == layer;
            profile.dispatches.iter().find(is).unwrap_or_else(|| panic!("{name}: no {kernel} of {layer}"))
        };
        let (a, b) = (of("matmul.forward", "fc21"), of("matmul.forward", "fc22"));
        assert_eq!((a.dispatch.flops, a.reached.bound), (b.dispatch.flops, b.reached.bound), "{name}");
        assert_eq!(a.seconds < b.seconds, a.reached.share() > b.reached.share(), "{name}");
    }
}

/// Complete events in microseconds, end to end; each layer spans its dispatches.
#[test]
fn a_trace_is_one_step_end_to_end() {
    let subject = Subject::open("mnist-mlp", Some(2)).unwrap();
    let profile = profile(&subject, &Device::Cpu(Cpu::Accelerated), &mut |_, _, _| {}).unwrap();
    let trace = profile.trace("a step");
    let of_thread = |thread: u64| -> Vec<&serde_json::Value> {
        let events = trace["traceEvents"].as_array().unwrap();
        events.iter().filter(|event| event["ph"] == "X" && event["tid"] == thread).collect()
    };
    let number = |event: &serde_json::Value, key: &str| event[key].as_f64().unwrap();
    let (layers, dispatches) = (of_thread(1), of_thread(2));
    assert_eq!(dispatches.len(), profile.dispatches.len());
    for events in [&layers, &dispatches] {
        let mut now = 0.0;
        for event in events {
            assert!((number(event, "ts") - now).abs() < 1e-6, "{event} starts at {now}");
            now += number(event, "dur");
        }
        assert!((now - 1e6 * profile.sum).abs() < 1e-3, "{now} us of {} s", profile.sum);
    }
    let forward = dispatches.iter().find(|event| event["name"] == "matmul.forward").unwrap();
    assert_eq!(forward["cat"], "fc1");
    assert_eq!(forward["args"]["reads"][1], "fc1.weight (400,784)");
    let timed = profile.dispatches.iter().find(|timed| timed.dispatch.kernel == "matmul.forward").unwrap();
    assert_eq!(forward["args"]["flops"].as_u64(), Some(timed.dispatch.flops));
}

/// Operations and bytes a second by the kernel's own cost and the clock of this test, and the seconds of a dispatch:
/// the best of several, each long against the way to the device and back.
fn reached(device: &Device, [words, dispatches]: [usize; 2], record: impl Fn(&mut Recorder, [Tensor; 2])) -> [f64; 3] {
    let mut arena = Arena::new();
    let tensors = ["x", "y"].map(|name| arena.tensor(name, &[words]));
    let mut r = Recorder::new(&mut arena);
    (0..dispatches).for_each(|_| record(&mut r, tensors));
    let program = r.finish("probe");
    let cost = program.steps[0].cost();
    let mut backend = device.backend();
    let loaded = backend.load(&arena, &program).unwrap();
    let word = Tensor::new(tensors[1].buffer, 0, &[1]);
    let mut seconds = f64::INFINITY;
    for replays in [1, 1, 4, 4, 4] {
        backend.read_one(word).unwrap();
        let start = Instant::now();
        backend.run(&[(loaded, replays)]).unwrap();
        backend.read_one(word).unwrap();
        seconds = seconds.min(start.elapsed().as_secs_f64() / (replays * dispatches) as f64);
    }
    [cost.flops as f64 / seconds, cost.bytes as f64 / seconds, seconds]
}

/// The roof is what the same kernels reach when this test times them: a wrong unit, words for bytes or a replay too
/// many would be seen. Other tests run beside and take a part of the machine now and then, so one of a few tries must
/// do.
#[test]
fn the_peak_of_every_device_is_what_its_kernels_reach() {
    for (name, device) in timed_devices() {
        let mut unlike = String::new();
        let is_reached = (0..5).any(|_| {
            let peak = peak::measure(&device).unwrap();
            let [flops, ..] = reached(&device, [1 << 16, 64], |r, [x, y]| probe::multiply_add(r, x, y, 16));
            // More than caches hold.
            let [_, bytes, _] = reached(&device, [1 << 25, 1], |r, [x, y]| probe::copy(r, x, y));
            let [.., empty] = reached(&device, [1, 256], |r, [_, y]| probe::empty(r, y));
            let own = [flops, bytes, 1.0 / empty];
            let measured = [peak.flops_per_second, peak.bytes_per_second, 1.0 / peak.empty_dispatch];
            unlike = format!("operations, bytes and dispatches a second: {measured:?}, here {own:?}");
            measured.iter().zip(own).all(|(measured, own)| (0.33..3.0).contains(&(measured / own)))
        });
        assert!(is_reached, "{name}: {unlike}");
    }
}

/// Every kernel in every language: the entry point is there, and no division is wrapped in a check that runs do
/// without.
#[test]
fn kernels_are_shown_in_every_language() {
    for kernel in kernels::ALL {
        for shader in kernel.shaders() {
            let label = format!("{} in {}", kernel.name, shader.source.file);
            let words = translate::spirv(shader);
            assert_eq!(words[0], 0x0723_0203, "{label}");
            let assembly = translate::disassemble(&words);
            assert!(
                assembly.contains("OpEntryPoint GLCompute") && assembly.contains(&format!("\"{}\"", shader.entry)),
                "{label}"
            );
            let [x, y, z] = shader.workgroup;
            assert!(assembly.contains(&format!("LocalSize {x} {y} {z}")), "{label}");
            let (msl, hlsl) = (translate::msl(shader), translate::hlsl(shader));
            assert!(msl.contains("kernel void") && msl.contains(shader.entry), "{label}");
            assert!(hlsl.contains(&format!("[numthreads({x}, {y}, {z})]")) && hlsl.contains(shader.entry), "{label}");
            assert!(!assembly.contains("naga_div") && !msl.contains("naga_div"), "{label}");
        }
    }
}

// ---- Lockstep

/// A small network with all that the convolutional presets are made of.
fn convolutional() -> Subject {
    let networks = "encoder = '(conv 8 k4 s2 p1, batchnorm, relu), residual(conv 8 k3 p1, relu, conv 8 k3 p1), flatten'\n\
         decoder = 'flatten, linear 128, view 8 4 4, batchnorm, relu, conv_transpose 8 k3 p1, relu, \
         conv_transpose 3 k4 s2 p1'";
    let preset = Settings::of_preset("cifar-conv").unwrap();
    let settings = preset.with(&format!("batch_size = 4\nlatent = 4\n{networks}")).unwrap();
    Subject::record("convolutional", settings, Columns::of_pictures([3, 8, 8], 0)).unwrap()
}

/// `mnist-mlp` with a small hidden layer, whose width is no multiple of a tile.
fn products() -> Subject {
    let settings = Settings::of_preset("mnist-mlp").unwrap().with("batch_size = 5\nhidden = [75]").unwrap();
    Subject::record("products", settings, Columns::of_pictures([1, 28, 28], 0)).unwrap()
}

/// The whole step, whatever differs.
fn whole_step(model: &Subject, device: &Device, fault: Option<&faults::Fault>) -> Vec<lockstep::Dispatch> {
    lockstep::run(model, device, fault.map(|fault| fault.broken()), &mut |_| true).unwrap()
}

#[test]
fn a_step_in_lockstep_agrees_on_every_device() {
    let models = [Subject::open("mnist-mlp", Some(5)).unwrap(), convolutional()];
    for (name, device) in common::devices() {
        for model in &models {
            let dispatches = whole_step(model, &device, None);
            assert_eq!(dispatches.len(), model.step.steps.len());
            let difference = dispatches.iter().find_map(lockstep::Dispatch::difference);
            assert_eq!(difference, None, "{name}, {}", model.name);
            // Something is compared: sums in f32 are not those in f64.
            let inexact = dispatches.iter().flat_map(|d| &d.outputs).any(|o| o.comparison.of_accepted > 0.0);
            assert_eq!(inexact, name != "CPU reference", "{name}, {}", model.name);
        }
    }
}

/// Each fault differs where its kernel runs and nowhere else, however many dispatches follow; those that a first step
/// cannot show are not shown.
#[test]
fn lockstep_names_the_broken_kernel() {
    // Together they dispatch every kernel that a fault is known for.
    let models = [products(), convolutional()];
    let gpu = common::gpu(Options::default());
    for (name, device) in [("CPU", Some(Device::Cpu(Cpu::Accelerated))), ("GPU", gpu)] {
        let Some(device) = device else { continue };
        for fault in FAULTS {
            let dispatched = |model: &&Subject| model.step.steps.iter().any(|s| s.kernel.name == fault.kernel.name);
            let model = models.iter().find(dispatched).expect("a model for each fault");
            let dispatches = whole_step(model, &device, Some(fault));
            let differ: BTreeSet<_> = dispatches.iter().filter(|d| !d.agrees()).map(|d| d.kernel.name).collect();
            let expected: BTreeSet<_> = fault.shows_in_a_step.then_some(fault.kernel.name).into_iter().collect();
            assert_eq!(differ, expected, "{} on the {name}", fault.id());
            if let Some(first) = dispatches.iter().find_map(lockstep::Dispatch::difference) {
                assert!(first.contains(fault.kernel.name) && first.contains("the reference has"), "{first}");
            }
        }
    }
}

#[test]
fn a_difference_has_layer_tensor_element_and_both_values() {
    let model = Subject::open("mnist-mlp", Some(2)).unwrap();
    let device = Device::Cpu(Cpu::Accelerated);
    let stopped = |id: &str| {
        let fault = faults::find(id).unwrap();
        let mut seen = 0;
        let dispatches = lockstep::run(&model, &device, Some(fault.broken()), &mut |dispatch| {
            seen += 1;
            dispatch.agrees()
        })
        .unwrap();
        assert!(dispatches.len() == seen && seen < model.step.steps.len());
        dispatches.last().unwrap().difference().unwrap()
    };
    let message = stopped("matmul.forward:no_bias");
    assert!(message.contains("matmul.forward in fc1: y = fc1.y["), "{message}");
    let message = stopped("adam.forward:no_correction");
    assert!(message.contains("adam.forward in optimizer: p = fc"), "{message}");
}

// ---- The ladder

/// Every rung agrees with its reference and is timed, but those that need fours at a size that is none and those that
/// need what the adapter has not. The last are the production kernel, and one of them is what models run.
#[test]
fn a_ladder_has_every_rung_and_ends_with_the_production_kernel() {
    let Some(device) = common::gpu(Options::default()) else { return };
    let peak = Peak { flops_per_second: 1e9, bytes_per_second: 1e9, empty_dispatch: 1e-6 };
    for (name, size, rungs, refused) in [("matmul", &[65, 33, 17][..], 8, 2), ("reduce", &[5003][..], 6, 0)] {
        let ladder = ladder::find(name).unwrap();
        let mut heard = Vec::new();
        let start = Instant::now();
        let climb = climb(ladder, &device, size, peak, &mut |rung| heard.push(rung.to_string())).unwrap();
        let elapsed = start.elapsed().as_secs_f64();
        assert_eq!(climb.rungs.iter().map(|rung| rung.name.as_str()).collect::<Vec<_>>(), heard);
        assert_eq!(climb.rungs.len(), rungs, "{heard:?}");
        let mut skipped = 0;
        for (index, rung) in climb.rungs.iter().enumerate() {
            match &rung.verdict {
                Verdict::Seconds(seconds) => {
                    let cost = (ladder.cost)(size);
                    let work = if ladder.bound_by_memory { cost.bytes } else { cost.flops };
                    let rate = climb.rate(index).unwrap();
                    assert!((rate * 1e9 * seconds / work as f64 - 1.0).abs() < 1e-9, "{}: {rate}", rung.name);
                    assert!(*seconds > 0.0 && *seconds < elapsed, "{}: {seconds} s of {elapsed}", rung.name);
                }
                Verdict::Skipped(why) if why.contains("multiples of 4") => skipped += 1,
                Verdict::Skipped(why) => assert!(rung.name.contains("subgroup") && why.contains("subgroups"), "{why}"),
                Verdict::Wrong(what) => panic!("{}: {what}", rung.name),
            }
        }
        assert_eq!(skipped, refused, "{name}");
        let last = climb.rungs.last().unwrap();
        assert_eq!(last.kernels[0], ladder.production.name);
        assert_eq!(climb.rungs.iter().filter(|rung| rung.is_used).count(), 1);
        assert!(climb.rungs.iter().all(|rung| !rung.is_used || rung.kernels == last.kernels));
    }
}
