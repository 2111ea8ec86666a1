#!/usr/bin/env python3
"""The PyTorch side of `elbo parity`: the training steps that elbo wrote down, taken by PyTorch.

    python3 pytorch_parity.py FOLDER [--float64] [--whole]

FOLDER/exchange.safetensors, which `elbo parity` writes, holds the settings, the initial parameters,
and the pictures, labels and random numbers of every step. What PyTorch makes of them goes to
FOLDER/pytorch.safetensors: the loss of every step, norm and some elements of every gradient and
parameter, and after the last step all of them; with --whole all parameters after every step. Layers, autograd, optimisers and clipping are
PyTorch's own, in eager mode on the CPU; nothing is derived by hand.
Exit code 3: PyTorch or safetensors is not installed.
"""

import argparse
import hashlib
import json
import math
import sys
from pathlib import Path

try:
    import torch
    import torch.nn.functional as F
    from safetensors import safe_open
    from safetensors.torch import save_file
    from torch import nn
except ImportError as error:
    print(f"cannot import the Python package '{error.name}' ({error})", file=sys.stderr)
    sys.exit(3)

from pytorch_codes import GumbelVAE
from pytorch_network import ACTIVATIONS, sequential

DISCRETE = {"gumbel": GumbelVAE}
EXCHANGE, RECORDING = "exchange.safetensors", "pytorch.safetensors"


class VAE(nn.Module):
    """The VAE of elbo's settings, under the same parameter names: x (B, C, H, W), noise (B, Z).

    With classes it is the conditional VAE: the label, one-hot, stands beside what encoder and decoder
    take; for a listed encoder, which sees pictures, as that many more channels.
    """

    def __init__(self, settings, shape, classes=0):
        super().__init__()
        self.latent, self.head = settings["latent"], settings["head"]
        pixels, hidden = math.prod(shape), settings["hidden"]
        channels, height, width = shape
        activation = ACTIVATIONS[settings["activation"]]
        self.act = activation()
        self.is_listed, self.is_deep = settings.get("encoder") is not None, len(hidden) > 1
        if self.is_listed:
            self.encoder, coded = sequential(settings["encoder"], (channels + classes, height, width))
            self.decoder, _ = sequential(settings["decoder"], (self.latent + classes, 1, 1))
            coded = math.prod(coded)
        else:
            coded = hidden[-1]
            if self.is_deep:
                self.encoder = perceptron([pixels + classes, *hidden], activation, ends_with_activation=True)
                self.decoder = perceptron([self.latent + classes, *reversed(hidden), pixels], activation)
            else:
                self.fc1 = nn.Linear(pixels + classes, coded)
                self.fc3, self.fc4 = nn.Linear(self.latent + classes, coded), nn.Linear(coded, pixels)
        if self.head == "split":
            self.fc21, self.fc22 = nn.Linear(coded, self.latent), nn.Linear(coded, self.latent)
        elif self.head == "fused":
            self.fc2 = nn.Linear(coded, 2 * self.latent)

    def encode(self, x, y):
        if self.is_listed:
            if y is not None:
                x = torch.cat([x, y[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)
            h = self.encoder(x).flatten(1)
        else:
            x = x.flatten(1) if y is None else torch.cat([x.flatten(1), y], dim=1)
            h = self.encoder(x) if self.is_deep else self.act(self.fc1(x))
        if self.head == "split":
            return self.fc21(h), self.fc22(h)
        return (self.fc2(h) if self.head == "fused" else h).chunk(2, dim=1)

    def decode(self, z, y):
        z = z if y is None else torch.cat([z, y], dim=1)
        if self.is_listed:
            return self.decoder(z[:, :, None, None]).flatten(1)
        return self.decoder(z) if self.is_deep else self.fc4(self.act(self.fc3(z)))

    def forward(self, x, y, noise):
        """The decoder's output (B, D), no activation applied; mean and logvar (B, Z). y is (B, K) or None."""
        mean, logvar = self.encode(x, y)
        return self.decode(mean + torch.exp(0.5 * logvar) * noise, y), mean, logvar


def perceptron(sizes, activation, ends_with_activation=False):
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*(layers if ends_with_activation else layers[:-1]))


def reconstruction(settings, y, x):
    """-log p(x|z) in nats, summed over the batch, for decoder outputs y and pictures x, both (B, D)."""
    output, sigma = settings["output"], settings["sigma"]
    if output == "bernoulli":
        return F.binary_cross_entropy_with_logits(y, x, reduction="sum")
    if output == "continuous_bernoulli":
        distribution = torch.distributions.ContinuousBernoulli(logits=y, validate_args=False)
        return -distribution.log_prob(x).sum()
    if output == "gaussian":
        return F.gaussian_nll_loss(y, x, torch.full_like(y, sigma**2), full=True, reduction="sum")
    if output == "laplace":
        return -torch.distributions.Laplace(y, sigma).log_prob(x).sum()
    if output == "optimal_sigma":
        # The batch's own best sigma, softly clipped at e^-6 and held fixed by the gradient.
        best = 0.5 * torch.log(F.mse_loss(y, x))
        sigma = (F.softplus(best + 6) - 6).exp().detach()
        return F.gaussian_nll_loss(y, x, (sigma**2).expand_as(y), full=True, reduction="sum")
    if output == "discretised_logistic":
        # log of sigmoid(upper) - sigmoid(lower), the edges of a grey level's bin; the outermost bins are open.
        upper, lower = (x + 1 / 510 - y) / sigma, (x - 1 / 510 - y) / sigma
        width = math.log(-math.expm1(-1 / (255 * sigma)))
        inner = F.logsigmoid(upper) + F.logsigmoid(-lower) + width
        return -torch.where(x <= 0, F.logsigmoid(upper), torch.where(x >= 1, F.logsigmoid(-lower), inner)).sum()
    raise SystemExit(f"there is no output {output} here")


def corrupted(form, x, noise):
    """Noisy pictures for x and random numbers of its shape: normal ones for gaussian, else uniform ones."""
    kind, level = form.split(":")
    level = float(level)
    if kind == "gaussian":
        return (x + level * noise).clamp(0, 1)
    if kind == "mask":
        return torch.where(noise < level, torch.zeros_like(x), x)
    salted = torch.where(noise >= 1 - level / 2, torch.ones_like(x), x)
    return torch.where(noise < level / 2, torch.zeros_like(x), salted)


def loss_terms(settings, model, x, label, noise, knobs):
    """The loss as it is minimised but for the reduction, and its terms, each summed over the batch.

    noise has the step's random numbers in order, knobs what follows a schedule, in the model's order.
    """
    if settings["model"] in DISCRETE:
        names = ["kl_weight", "temperature"]
        return model.terms(lambda y, x: reconstruction(settings, y, x), x, noise, dict(zip(names, knobs)))
    seen = x
    if settings["model"] == "denoising":
        seen = corrupted(settings["noise"], x, noise[0].view_as(x))
        noise = noise[1:]
    y, mean, logvar = model(seen, label, noise[0])
    kl = -0.5 * (1 + logvar - mean.pow(2) - logvar.exp()).sum(0)
    free = torch.full_like(kl, len(x) * settings["free_bits"])
    kl = torch.where(kl < free, free, kl) if settings["free_bits"] > 0 else kl
    recon, kl = reconstruction(settings, y, x.flatten(1)), kl.sum()
    return recon + knobs[0] * kl, {"recon": recon, "kl": kl}


def make_optimizer(settings, parameters):
    decay = settings["weight_decay"]
    if settings["optimizer"] == "sgd":
        return torch.optim.SGD(parameters, lr=1.0, momentum=settings["momentum"], weight_decay=decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings["optimizer"]]
    return kind(parameters, lr=1.0, betas=tuple(settings["betas"]), eps=settings["eps"], weight_decay=decay)


def sample(values):
    """Of more than 512 elements about 256: 0, k, 2k, ..., k odd so that it is no multiple of a row's length."""
    values = values.detach().flatten()
    return values[:: (len(values) // 256) | 1] if len(values) > 512 else values


class Recording:
    """What is kept of a run, by name: a list that becomes one tensor (steps, ...)."""

    def __init__(self):
        self.lists, self.last = {}, {}

    def add(self, name, value):
        self.lists.setdefault(name, []).append(value.detach().clone())

    def add_tensor(self, kind, name, values, is_whole, is_last):
        self.add(f"{kind}.norm.{name}", values.detach().double().norm())
        self.add(f"{kind}.sample.{name}", values.flatten() if is_whole else sample(values))
        if is_last:
            self.last[f"{kind}.last.{name}"] = values.detach().clone().contiguous()

    def tensors(self):
        return self.last | {name: torch.stack(values) for name, values in self.lists.items()}


def load_initial(model, initial):
    """The exchange's parameters, all of them and no others; batch norm's statistics start as PyTorch has them."""
    own = dict(model.named_parameters())
    if own.keys() != initial.keys():
        raise SystemExit(f"the parameters differ: PyTorch {sorted(own)}, elbo {sorted(initial)}")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != initial[name].shape:
                raise SystemExit(f"{name}: PyTorch {tuple(parameter.shape)}, elbo {tuple(initial[name].shape)}")
            parameter.copy_(initial[name])


def run(folder, dtype, is_whole):
    path = folder / EXCHANGE
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["elbo.parity"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    settings = about["settings"]
    columns = about["columns"]
    classes = columns["label"]["label"] if "label" in columns else 0
    shape = tuple(columns["x"]["picture"])
    discrete = DISCRETE.get(settings["model"])
    model = VAE(settings, shape, classes) if discrete is None else discrete(settings, shape)
    prefix = "init."
    load_initial(model, {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)})
    model = model.to(dtype)
    optimizer = make_optimizer(settings, model.parameters())
    recording = Recording()
    steps = len(tensors["x"])
    draws = [tensors[f"noise.{i}"] for i in range(sum(name.startswith("noise.") for name in tensors))]
    for step in range(1, steps + 1):
        x, (lr, *knobs) = tensors["x"][step - 1], tensors["rows"][step - 1].tolist()
        noise = [draw[step - 1].to(dtype) for draw in draws]
        label = None
        if classes:
            label = F.one_hot(tensors["label"][step - 1].long(), classes).to(dtype)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        # Grey levels become float32 as in elbo; float64 starts from those.
        loss, terms = loss_terms(settings, model, (x.float() / 255).to(dtype), label, noise, knobs)
        if settings["reduction"] == "mean":
            loss = loss / len(x)
        loss.backward()
        if settings.get("clip_norm") is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
        for name, value in [("loss", loss), *terms.items()]:
            recording.add(name, value)
        for name, parameter in model.named_parameters():
            recording.add_tensor("gradient", name, parameter.grad, False, step == steps)
        optimizer.step()
        for name, parameter in model.named_parameters():
            recording.add_tensor("parameter", name, parameter, is_whole, step == steps)
        per_picture = 1 if settings["reduction"] == "mean" else 1 / len(x)
        print(f"step {step} of {steps} loss {loss.item() * per_picture:.4f}", flush=True)
    by = f"PyTorch {torch.__version__}, CPU, {str(dtype).removeprefix('torch.')}"
    metadata = {"by": by, "exchange": hashlib.sha256(path.read_bytes()).hexdigest()}
    save_file(recording.tensors(), folder / RECORDING, metadata)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--float64", action="store_true", help="compute in float64: a more exact referee")
    parser.add_argument("--whole", action="store_true", help="keep all parameters of every step")
    arguments = parser.parse_args()
    run(arguments.folder, torch.float64 if arguments.float64 else torch.float32, arguments.whole)


if __name__ == "__main__":
    main()
