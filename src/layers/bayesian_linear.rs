//! y = x W^T + b with a Gaussian for every weight: W ~ N(weight, e^weight_logvar), b likewise. What is drawn is y, of
//! which each row has its own (Kingma, Salimans & Welling 2015, arXiv 1506.02557):
//!
//!   y ~ N(x weight^T + bias, x^2 V^T + v),   V = e^weight_logvar, v = e^bias_logvar
//!
//! For one row that is the same distribution as drawing W and b once, and its gradient varies less.

use rand_chacha::ChaCha8Rng;

use crate::arena::{Arena, Parameter};
use crate::kernels::activation::Activation;
use crate::kernels::{fill, joint, local_reparameterise, matmul, weight_kl};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A matrix and a bias of Gaussians, for I inputs and O outputs.
pub struct BayesianLinear {
    name: String,
    weight: Gaussian,
    bias: Gaussian,
}

/// One parameter's means and log variances: of the weight (O,I), of the bias (O).
struct Gaussian {
    mean: Parameter,
    logvar: Parameter,
}

/// What a backward needs of its forward.
pub struct Saved {
    x: Tensor,
    squares: Tensor,
    /// (O,I) and (O)
    variances: [Tensor; 2],
    /// (B,O)
    variance: Tensor,
    noise: Tensor,
}

impl Gaussian {
    fn new(arena: &mut Arena, name: String, shape: &[usize]) -> Gaussian {
        let logvar = format!("{name}_logvar");
        Gaussian { mean: arena.parameter(name, shape), logvar: arena.parameter(logvar, shape) }
    }

    /// Value and gradient of the means and of the log variances as matrices: a bias is one row.
    fn matrices(&self) -> [[Tensor; 2]; 2] {
        let matrix = |t: Tensor| if t.shape().len() == 2 { t } else { t.reshape(&[1, t.len()]) };
        [&self.mean, &self.logvar].map(|p| [matrix(p.value), matrix(p.grad)])
    }
}

impl BayesianLinear {
    /// Declares `name.weight` and `name.weight_logvar` (outputs, inputs), `name.bias` and `name.bias_logvar` (outputs).
    pub fn new(arena: &mut Arena, name: &str, inputs: usize, outputs: usize) -> BayesianLinear {
        let weight = Gaussian::new(arena, format!("{name}.weight"), &[outputs, inputs]);
        let bias = Gaussian::new(arena, format!("{name}.bias"), &[outputs]);
        BayesianLinear { name: name.into(), weight, bias }
    }

    /// O
    pub fn outputs(&self) -> usize {
        self.bias.mean.value.len()
    }

    /// The means as PyTorch starts a linear layer, uniform within 1/sqrt(fan_in); all log variances the same.
    pub fn initial(&self, rng: &mut ChaCha8Rng, logvar: f32) -> Vec<(Tensor, Vec<f32>)> {
        let mut values = super::uniform_by_fan_in(rng, &self.weight.mean, Some(&self.bias.mean));
        values.extend([&self.weight, &self.bias].map(|p| (p.logvar.value, vec![logvar; p.logvar.value.len()])));
        values
    }

    // ANCHOR: passes
    /// x (B,I) and noise (B,O), standard normal, to a draw of y (B,O).
    pub fn forward(&self, r: &mut Recorder, x: Tensor, noise: Tensor) -> (Tensor, Saved) {
        r.scope(&self.name);
        let mean = self.mean(r, x); // (B,O)
        let squares = joint::multiply(r, x, x); // (B,I)
        let variances = [&self.weight, &self.bias].map(|p| local_reparameterise::variances(r, p.logvar.value));
        let variance = matmul::forward(r, squares, variances[0], variances[1], Activation::Identity); // (B,O)
        let y = local_reparameterise::forward(r, mean, variance, noise);
        (y, Saved { x, squares, variances, variance, noise })
    }

    /// dy (B,O) to dx (B,I); adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let (x, variances) = (saved.x, saved.variances[0]);
        let dvariance = self.backward_parameters(r, saved, dy);
        let dx = matmul::backward_x(r, dy, self.weight.mean.value);
        let dsquares = matmul::backward_x(r, dvariance, variances);
        local_reparameterise::backward_x(r, x, dsquares, dx);
        dx
    }

    /// The parameters' share alone, for a first layer. Returns the gradient of y's variance, (B,O).
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        let Saved { x, squares, variances, variance, noise } = saved;
        let dvariance = local_reparameterise::backward(r, variance, noise, dy);
        matmul::backward_w(r, dy, x, self.weight.mean.grad, self.bias.mean.grad);
        let dvariances = variances.map(|v| r.tensor("dvariances", v.shape()));
        dvariances.iter().for_each(|&gradient| fill::forward(r, gradient, 0.0));
        matmul::backward_w(r, dvariance, squares, dvariances[0], dvariances[1]);
        for (p, (v, dv)) in [&self.weight, &self.bias].into_iter().zip(variances.into_iter().zip(dvariances)) {
            local_reparameterise::backward_logvar(r, v, dv, p.logvar.grad);
        }
        dvariance
    }
    // ANCHOR_END: passes

    /// x (B,I) to the mean of y, (B,O): every weight at its mean.
    pub fn mean(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        matmul::forward(r, x, self.weight.mean.value, self.bias.mean.value, Activation::Identity)
    }

    /// scale * KL(q(W,b) || N(0, sigma^2)) in nats, in (O) parts of the weight and one of the bias.
    pub fn kl(&self, r: &mut Recorder, sigma: f64, scale: f32) -> [Tensor; 2] {
        r.scope(&self.name);
        [&self.weight, &self.bias].map(|p| {
            let [[mean, _], [logvar, _]] = p.matrices();
            weight_kl::loss(r, mean, logvar, sigma, scale)
        })
    }

    /// Adds the gradients of that KL.
    pub fn kl_backward(&self, r: &mut Recorder, sigma: f64, scale: f32) {
        r.scope(&self.name);
        for p in [&self.weight, &self.bias] {
            let [[mean, dmean], [logvar, dlogvar]] = p.matrices();
            weight_kl::backward(r, [mean, logvar], [dmean, dlogvar], sigma, scale);
        }
    }
}
