//! A training step after the other.

use burn::backend::wgpu::WgpuDevice;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{Adam, AdamConfig, GradientsParams, Optimizer};
use burn::tensor::backend::Backend as _;
use burn::tensor::{ElementConversion, Tensor, TensorData};
use elbo_bench_peer::{Inputs, LEARNING_RATE, Model, PIXELS};

use crate::Backend;
use crate::model::{Network, negative_elbo};

/// Pictures of one tensor: adapters bind 128 MiB at least, and not all pictures fit into that.
const MOST_PICTURES: usize = 32_768;

pub struct Training<N: Network> {
    /// Taken out while the optimiser makes a new one of it.
    network: Option<N>,
    optimizer: OptimizerAdaptor<Adam, N, Backend>,
    /// (P,784) each, whole batches of the first epoch's order.
    pictures: Vec<Tensor<Backend, 2>>,
    batch: usize,
    taken: usize,
    total: Option<Tensor<Backend, 1>>,
    device: WgpuDevice,
}

impl<N: Network> Training<N> {
    /// Panics where the batch is larger than the data.
    pub fn new(network: N, model: &Model, inputs: &Inputs, batch: usize, device: &WgpuDevice) -> Training<N> {
        Backend::seed(device, 1);
        let (shape, values) = inputs.pictures("train");
        assert!(batch <= shape[0], "a batch of {batch} cannot be taken from {} pictures", shape[0]);
        let order = &inputs.order()[0];
        let whole = shape[0] / batch * batch;
        let part = (MOST_PICTURES / batch).max(1) * batch;
        let pictures = order[..whole].chunks(part).map(|places| {
            let picture = |&place: &i64| values[place as usize * PIXELS..][..PIXELS].iter().copied();
            let values: Vec<f32> = places.iter().flat_map(picture).collect();
            Tensor::from_data(TensorData::new(values, [places.len(), PIXELS]), device)
        });
        let [beta1, beta2] = model.betas;
        let mut adam = AdamConfig::new().with_beta_1(beta1).with_beta_2(beta2).with_epsilon(1e-8);
        if model.weight_decay > 0.0 {
            adam = adam.with_weight_decay(Some(WeightDecayConfig::new(model.weight_decay)));
        }
        Training {
            network: Some(network),
            optimizer: adam.init(),
            pictures: pictures.collect(),
            batch,
            taken: 0,
            total: None,
            device: device.clone(),
        }
    }

    /// Takes `n` steps and waits for them.
    pub fn take(&mut self, n: usize) {
        for _ in 0..n {
            let x = self.next();
            let network = self.network.take().expect("it is put back below");
            let loss = negative_elbo(&network, x);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            self.network = Some(self.optimizer.step(LEARNING_RATE, network, gradients));
            let loss = loss.detach();
            self.total = Some(match self.total.take() {
                None => loss,
                Some(total) => total + loss,
            });
            self.taken += 1;
        }
        Backend::sync(&self.device).expect("the device is there");
    }

    /// The next batch.
    fn next(&self) -> Tensor<Backend, 2> {
        let batches: usize = self.pictures.iter().map(|part| part.dims()[0] / self.batch).sum();
        let mut start = self.taken % batches * self.batch;
        for part in &self.pictures {
            let rows = part.dims()[0];
            if start < rows {
                return part.clone().slice([start..start + self.batch, 0..PIXELS]);
            }
            start -= rows;
        }
        unreachable!("the parts hold all batches")
    }

    /// Mean loss of more steps, in nats a picture.
    pub fn loss(&mut self, steps: usize) -> f64 {
        self.total = None;
        self.take(steps);
        let total = self.total.take().expect("steps were taken").into_scalar();
        total.elem::<f64>() / (steps * self.batch) as f64
    }
}
