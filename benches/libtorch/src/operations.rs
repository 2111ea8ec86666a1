//! The operations that `elbo bench` times too, under its names and at its sizes.

use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};

pub struct Operation {
    pub name: String,
    /// Starts it once; the device may still be at it afterwards.
    pub run: Box<dyn FnMut()>,
}

pub fn all(device: Device) -> Vec<Operation> {
    let random = move |shape: &[i64]| Tensor::rand(shape, (Kind::Float, device));
    let mut all = Vec::new();
    for [m, k, n] in [[128, 784, 400], [4096, 784, 400], [2048, 2048, 2048]] {
        let (a, b) = (random(&[m, k]), random(&[k, n]));
        all.push(operation("matmul", &[m, k, n], move || drop(a.matmul(&b))));
    }
    let convolutions =
        [[128, 28, 1, 16, 4, 2, 0], [128, 28, 8, 8, 3, 1, 1], [128, 14, 32, 32, 3, 1, 1], [128, 28, 64, 64, 3, 1, 1]];
    for [b, h, i, o, k, stride, padding] in convolutions {
        let (x, w) = (random(&[b, i, h, h]), random(&[o, i, k, k]));
        all.push(operation("conv2d", &[b, h, i, o, k, stride, padding], move || {
            drop(x.conv2d(&w, None::<Tensor>, [stride, stride], [padding, padding], [1, 1], 1));
        }));
    }
    let x = random(&[1 << 25]);
    all.push(operation("reduce", &[1 << 25], move || drop(x.sum(Kind::Float))));
    // What batch norm starts with: mean and variance of each column.
    let x = random(&[401_408, 64]);
    all.push(operation("column_moments", &[401_408, 64], move || drop(x.var_mean_dim(&[0i64][..], false, false))));

    let variables = nn::VarStore::new(device);
    let parameters = variables.root().var_copy("p", &random(&[1 << 22]));
    let mut adam = nn::adam(0.9, 0.999, 0.0).build(&variables, 1e-3).expect("an optimiser of the library");
    // A gradient, once.
    (&parameters * random(&[1 << 22])).sum(Kind::Float).backward();
    // The C++ interface has no fused Adam: `elbo bench` times one dispatch under another name, `adam`, as PyTorch's is
    // there.
    all.push(operation("adam_unfused", &[1 << 22], move || {
        // The store keeps the parameters alive.
        let _ = &variables;
        adam.step();
    }));
    all
}

fn operation(name: &str, size: &[i64], mut run: impl FnMut() + 'static) -> Operation {
    let numbers: Vec<String> = size.iter().map(i64::to_string).collect();
    Operation { name: format!("{name} {}", numbers.join(",")), run: Box::new(move || no_grad(&mut run)) }
}
