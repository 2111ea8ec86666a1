//! The models, their loss and a training step.

use std::collections::HashMap;

use elbo_bench_peer::{Inputs, LEARNING_RATE, Model};
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Reduction, Tensor};

use crate::wait;

/// A model with its optimiser and its data, all on the device.
pub struct Training {
    device: Device,
    network: Network,
    optimizer: nn::Optimizer,
    /// (N,784), values 0 to 1.
    pictures: Tensor,
    /// (E,N).
    order: Tensor,
    batch: i64,
    /// Full batches of an epoch.
    batches: i64,
    taken: i64,
    /// Sum of the losses since it was cleared.
    total: Tensor,
}

struct Network {
    parameters: HashMap<String, Tensor>,
    /// Batch norm's running mean and variance, by layer.
    running: HashMap<String, [Tensor; 2]>,
    is_convolutional: bool,
}

impl Training {
    /// Panics where the batch is larger than the data.
    pub fn new(model: &Model, inputs: &Inputs, batch: usize, device: Device) -> Training {
        tch::manual_seed(1);
        let mut variables = nn::VarStore::new(device);
        let mut parameters = HashMap::new();
        let mut running = HashMap::new();
        let mut initial: Vec<_> = inputs.parameters(model.name).into_iter().collect();
        initial.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, (shape, values)) in initial {
            let value = tensor(&shape, &values).to_device(device);
            // libtch keeps the names free of points.
            let parameter = variables.root().var_copy(&name.replace('.', "_"), &value);
            // A weight of one dimension is a batch norm's.
            if let (Some(layer), [channels]) = (name.strip_suffix(".weight"), &shape[..]) {
                let of_channels = |value: f64| Tensor::full([*channels as i64], value, (Kind::Float, device));
                running.insert(layer.to_string(), [of_channels(0.0), of_channels(1.0)]);
            }
            parameters.insert(name, parameter);
        }
        variables.float();
        let [beta1, beta2] = model.betas.map(|beta| f64::from(beta));
        let adam = nn::adam(beta1, beta2, model.weight_decay.into());
        let optimizer = adam.build(&variables, LEARNING_RATE).expect("an optimiser of the library");
        let (shape, values) = inputs.pictures("train");
        let count = shape[0];
        assert!(batch <= count, "a batch of {batch} cannot be taken from {count} pictures");
        let order: Vec<i64> = inputs.order().into_iter().flatten().collect();
        let is_convolutional = parameters.contains_key("encoder.0.0.weight");
        Training {
            device,
            network: Network { parameters, running, is_convolutional },
            optimizer,
            pictures: tensor(&shape, &values).to_device(device),
            order: Tensor::from_slice(&order).view([-1, count as i64]).to_device(device),
            batch: batch as i64,
            batches: (count / batch) as i64,
            taken: 0,
            total: Tensor::zeros([], (Kind::Float, device)),
        }
    }

    /// Takes `n` steps and waits for them.
    pub fn take(&mut self, n: usize) {
        for _ in 0..n {
            let epoch = self.taken / self.batches % self.order.size()[0];
            let start = self.taken % self.batches * self.batch;
            let places = self.order.get(epoch).narrow(0, start, self.batch);
            let x = self.pictures.index_select(0, &places);
            let loss = self.network.loss(&x);
            self.optimizer.backward_step(&loss);
            let _ = self.total.g_add_(&loss.detach());
            self.taken += 1;
        }
        wait(self.device);
    }

    /// Mean loss of up to `steps` more steps, in nats a picture.
    pub fn loss(&mut self, steps: usize) -> f64 {
        let steps = steps.min(self.batches as usize);
        let _ = self.total.zero_();
        self.take(steps);
        self.total.double_value(&[]) / (steps as i64 * self.batch) as f64
    }
}

impl Network {
    /// -ELBO of pictures x (B,784), summed: binary cross-entropy of the logits and KL, with a sampled z.
    fn loss(&self, x: &Tensor) -> Tensor {
        let (mean, logvar) = self.encode(x);
        let z = &mean + (&logvar * 0.5).exp() * mean.randn_like();
        let logits = self.decode(&z);
        let recon = logits.binary_cross_entropy_with_logits(x, None::<Tensor>, None::<Tensor>, Reduction::Sum);
        let kl: Tensor = (&logvar + 1.0 - mean.square() - logvar.exp()).sum(Kind::Float) * -0.5;
        recon + kl
    }

    fn encode(&self, x: &Tensor) -> (Tensor, Tensor) {
        if !self.is_convolutional {
            let h = self.linear("fc1", x).relu();
            return (self.linear("fc21", &h), self.linear("fc22", &h));
        }
        let mut h = x.view([-1, 1, 28, 28]);
        for layer in 0..3 {
            let [weight, bias] = self.pair(&format!("encoder.{layer}.0"));
            h = h.conv2d(weight, Some(bias), [2, 2], [0, 0], [1, 1], 1);
            if layer < 2 {
                h = self.batch_norm(&format!("encoder.{layer}.1"), &h).relu();
            }
        }
        let both = h.flatten(1, -1).chunk(2, 1);
        (both[0].shallow_clone(), both[1].shallow_clone())
    }

    fn decode(&self, z: &Tensor) -> Tensor {
        if !self.is_convolutional {
            return self.linear("fc4", &self.linear("fc3", z).relu());
        }
        let mut h = z.view([-1, z.size()[1], 1, 1]);
        for (layer, stride) in [2, 1, 2, 2].into_iter().enumerate() {
            let [weight, bias] = self.pair(&format!("decoder.{layer}.0"));
            h = h.conv_transpose2d(weight, Some(bias), [stride, stride], [0, 0], [0, 0], 1, [1, 1]);
            if layer < 3 {
                h = self.batch_norm(&format!("decoder.{layer}.1"), &h).relu();
            }
        }
        h.flatten(1, -1)
    }

    fn pair(&self, layer: &str) -> [&Tensor; 2] {
        ["weight", "bias"].map(|name| &self.parameters[&format!("{layer}.{name}")])
    }

    fn linear(&self, layer: &str, x: &Tensor) -> Tensor {
        let [weight, bias] = self.pair(layer);
        x.linear(weight, Some(bias))
    }

    fn batch_norm(&self, layer: &str, x: &Tensor) -> Tensor {
        let [weight, bias] = self.pair(layer);
        let [mean, variance] = &self.running[layer];
        x.batch_norm(Some(weight), Some(bias), Some(mean), Some(variance), true, 0.1, 1e-5, true)
    }
}

pub fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    Tensor::from_slice(values).view(&shape[..])
}
