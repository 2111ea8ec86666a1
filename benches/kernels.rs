//! Every kernel on its own cases, on the CPU device and on the best adapter: `cargo bench --bench kernels [-- NAME]`.
//!
//! A sample is many replays in one go and one synchronisation, as in training, divided by their number.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use elbo::backend::{Device, choose, cpu::Cpu};
use elbo::check::case::{self, Prepared};
use elbo::kernels;

fn kernels(c: &mut Criterion) {
    let mut devices = vec![("cpu", Device::Cpu(Cpu::Accelerated))];
    match choose::open("gpu") {
        Ok(gpu) => devices.push(("gpu", gpu)),
        Err(e) => eprintln!("the CPU device alone is timed: {e}"),
    }
    for (name, device) in &devices {
        eprintln!("{name}: {}", device.description());
        for kernel in kernels::ALL {
            if let Some(what) = device.lacks(kernel) {
                eprintln!("{name}/{} is not timed: the device has no {what}", kernel.name);
                continue;
            }
            let mut group = c.benchmark_group(format!("{name}/{}", kernel.name));
            group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
            for case in (kernel.cases)() {
                group.throughput(Throughput::Bytes((kernel.cost)(&case.params).bytes));
                let Prepared { mut backend, program, writes } =
                    case::prepare(device, kernel, &case).expect("cases fit every device");
                group.bench_function(&case.label, |b| {
                    b.iter_custom(|times| {
                        let start = Instant::now();
                        backend.run(&[(program, times as usize)]).expect("the device is there");
                        backend.read(&writes[..1]).expect("the device is there");
                        start.elapsed()
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
