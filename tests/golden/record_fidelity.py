#!/usr/bin/env python3
"""Records tests/golden/fidelity.safetensors: metrics of pictures by torchmetrics, pytorch-fid and prdc.

    pip install torch torchmetrics torch-fidelity pytorch-fid prdc scikit-learn safetensors
    python3 tests/golden/record_fidelity.py

The features are random numbers, correlated and apart, so that no network is needed: torchmetrics takes a module that
passes them through.
"""

from pathlib import Path

import numpy as np
import torch
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from safetensors.torch import save_file
from torch import nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

WIDTH, CLASSES = 12, 7


class Through(nn.Module):
    """The features themselves, in the place of a network's."""

    num_features = WIDTH

    def forward(self, x):
        return x


def main():
    torch.manual_seed(0)
    mix = torch.randn(WIDTH, WIDTH)
    real = torch.relu(torch.randn(300, WIDTH) @ mix)
    made = torch.relu(torch.randn(260, WIDTH) @ (mix + 0.4 * torch.randn(WIDTH, WIDTH)) + 0.3)
    probabilities = torch.softmax(3 * torch.randn(260, CLASSES), 1)

    fid = FrechetInceptionDistance(feature=Through(), input_img_size=(WIDTH,))
    kid = KernelInceptionDistance(feature=Through(), subsets=1, subset_size=260)
    fid.update(real, real=True), fid.update(made, real=False)
    # All of both sets: as many of the real ones as there are made ones.
    kid.update(real[:260], real=True), kid.update(made, real=False)
    moments = [(x.double().numpy().mean(0), np.cov(x.double().numpy(), rowvar=False)) for x in (real, made)]
    again = calculate_frechet_distance(*moments[0], *moments[1])
    assert abs(float(fid.compute()) - again) < 1e-4 * again, (fid.compute(), again)

    score = InceptionScore(feature=Through(), splits=10)
    score.update(probabilities.log())
    torch.manual_seed(1)
    mean, deviation = score.compute()
    torch.manual_seed(1)
    order = torch.randperm(260)

    shares = compute_prdc(real.double().numpy(), made.double().numpy(), nearest_k=5)

    a = torch.rand(4, 3, 20, 24)
    b = (a + 0.1 * torch.randn_like(a)).clamp(0, 1)
    # torchmetrics reflects the border and counts it too. Wang et al. and scikit-image take the windows inside.
    _, similar = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", return_full_image=True)
    ssim = similar[..., 5:-5, 5:-5].flatten(1).mean(1)
    psnr = peak_signal_noise_ratio(a, b, data_range=1.0, dim=(1, 2, 3), reduction="none")

    number = lambda value: torch.tensor([float(value)])
    tensors = {
        "real": real, "made": made, "probabilities": probabilities[order], "a": a, "b": b,
        "fid": number(again), "kid": number(kid.compute()[0]),
        "is": torch.stack([mean, deviation]), "ssim": ssim, "psnr": psnr,
    } | {name: number(value) for name, value in shares.items()}
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()},
              Path(__file__).with_name("fidelity.safetensors"))
    print({name: tensor.tolist() for name, tensor in tensors.items() if tensor.numel() <= 4})


main()
