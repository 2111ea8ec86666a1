#!/usr/bin/env python3
"""Prints what the unit test of src/kernels/stroke_mixture.rs holds: a point's loss and its gradient in PyTorch.

    python3 tests/golden/record_strokes.py

Computed in float64, of inputs that are float32, by torch.distributions and autograd of PyTorch 2.15.0.
"""

import torch
from torch.distributions import Bernoulli, Categorical, MixtureSameFamily, MultivariateNormal

# Two components: logits, mu1, mu2, log sigma1, log sigma2, rho-hat; and the pen's logit.
OUTPUTS = [0.3, -0.6, 0.5, -1.2, 0.1, 0.8, -0.4, 0.25, 0.6, -0.9, 0.7, -1.4, 1.1]
POINTS = [[0.4, -0.3, 0.0], [-1.1, 0.9, 1.0]]
RANGES = [6.0, 6.0, 4.0]


def loss(outputs, point):
    """-log p of a point (3) in nats."""
    logits, mu1, mu2, *free = outputs[:-1].reshape(6, -1)
    log_sigma1, log_sigma2, t = (limit * torch.tanh(v / limit) for v, limit in zip(free, RANGES, strict=True))
    sigma1, sigma2, rho = log_sigma1.exp(), log_sigma2.exp(), torch.tanh(t)
    off = rho * sigma1 * sigma2
    covariance = torch.stack([torch.stack([sigma1**2, off], -1), torch.stack([off, sigma2**2], -1)], -2)
    normals = MultivariateNormal(torch.stack([mu1, mu2], -1), covariance)
    mixture = MixtureSameFamily(Categorical(logits=logits), normals)
    pen = Bernoulli(logits=outputs[-1])
    return -mixture.log_prob(point[:2]) - pen.log_prob(point[2])


def main():
    for point in POINTS:
        outputs = torch.tensor(OUTPUTS).double().requires_grad_()
        nats = loss(outputs, torch.tensor(point).double())
        nats.backward()
        print(f"{point}: {nats.item()!r}")
        print([float(f"{g:.10f}") for g in outputs.grad.tolist()])


if __name__ == "__main__":
    main()
