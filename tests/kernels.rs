use elbo::backend::{Device, choose, cpu::Cpu, gpu::Checks};
use elbo::check::{case, gradient};
use elbo::kernels;

fn check_all(device: &Device) {
    let mut failures = Vec::new();
    let mut cases = 0;
    for kernel in kernels::ALL {
        for c in (kernel.cases)() {
            cases += 1;
            failures.extend(case::check(device, kernel, &c).err());
        }
    }
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn accelerated() {
    check_all(&Device::Cpu(Cpu::Accelerated));
}
#[test]
fn gpu_checked() {
    check_all(&pollster::block_on(choose::open_async("gpu", Checks::On)).unwrap());
}
#[test]
fn gpu_unchecked() {
    check_all(&pollster::block_on(choose::open_async("gpu", Checks::Off)).unwrap());
}
#[test]
fn gradients() {
    let failures: Vec<_> = kernels::gradients().iter().filter_map(|c| gradient::check(c).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
