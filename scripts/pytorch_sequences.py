#!/usr/bin/env python3
"""Models of sequences with a latent at each step in PyTorch, under elbo's settings and names: the variational recurrent
network (Chung et al. 2015, arXiv 1506.02216) and the deep Markov model (Krishnan et al. 2017, arXiv 1609.09869).

    python3 scripts/pytorch_sequences.py PATH [--model vrnn|deep_markov] [--epochs N] [--seed S] [--threads N] ...

trains one by the recipe of elbo's preset chorales-vrnn or chorales-dmm, where PATH is a JSON file of piano rolls, or of
strokes-vrnn, where it is a folder with train.ndjson[.gz] and test.ndjson[.gz], and prints the losses of the test
sequences in nats a step after each epoch, with the seconds that its steps took. Exit code 2: unusable arguments.

B sequences, T steps, C numbers of a step, H of a state, Z latents. Steps are time-major, (T, B, C).
"""

import argparse
import gzip
import json
import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence
from torch.nn import functional as F


ACTIVATIONS = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "silu": nn.SiLU(), "elu": nn.ELU(), "gelu": nn.GELU()}


def pair(inputs, hidden, outputs, activation):
    return nn.Sequential(nn.Linear(inputs, hidden), activation, nn.Linear(hidden, outputs))


# ---- The distribution of a step

# What log sigma1, log sigma2 and rho-hat of a stroke are held to.
RANGES = [6.0, 6.0, 4.0]


def outputs_of(settings, channels):
    """O, the outputs that a network must have for C numbers."""
    outputs = {"bernoulli": channels, "gaussian": 2 * channels, "strokes": 6 * settings["mixture"] + 1}
    return outputs[settings["emission"]]


def nll(settings, y, x, seen):
    """-log p of each step, (T, B), from y (T, B, O): x (T, B, C), seen (T, B, C) where there is a number."""
    if settings["emission"] == "bernoulli":
        return F.binary_cross_entropy_with_logits(y, x, reduction="none").sum(2)
    if settings["emission"] == "gaussian":
        mean, logvar = y.chunk(2, 2)
        nats = -Normal(mean, torch.exp(0.5 * logvar)).log_prob(x)
        return torch.where(seen, nats, 0.0).sum(2)
    logits, mu1, mu2, *free = y[..., :-1].unflatten(2, (6, -1)).unbind(2)
    log_sigma1, log_sigma2, t = (limit * torch.tanh(v / limit) for v, limit in zip(free, RANGES))
    sigma1, sigma2, rho = log_sigma1.exp(), log_sigma2.exp(), torch.tanh(t)
    # The root of the covariance, a row above zero each.
    root = torch.stack([sigma1, torch.zeros_like(rho), rho * sigma2, torch.sqrt(1 - rho**2) * sigma2], -1)
    normals = MultivariateNormal(torch.stack([mu1, mu2], -1), scale_tril=root.unflatten(-1, (2, 2)))
    offset = -MixtureSameFamily(Categorical(logits=logits), normals).log_prob(x[..., :2])
    return offset + F.binary_cross_entropy_with_logits(y[..., -1], x[..., 2], reduction="none")


# ---- The models


class VRNN(nn.Module):
    """A latent at each step, whose prior hangs on all that came before."""

    def __init__(self, settings, channels):
        super().__init__()
        f, h, z = (settings[key] for key in ("features", "hidden", "latent"))
        self.phi_x, self.phi_z = nn.Linear(channels, f), nn.Linear(z, f)
        self.settings = settings
        self.activation = ACTIVATIONS[settings["activation"]]
        self.encoder, self.prior = pair(f + h, f, 2 * z, self.activation), pair(h, f, 2 * z, self.activation)
        self.decoder = pair(f + h, f, outputs_of(settings, channels), self.activation)
        self.rnn = nn.GRU(2 * f, h)

    def forward(self, x, lengths, noise):
        """x (T, B, C), noise (T, B, Z) to y (T, B, O), and to mean and logvar of q and of p, (T, B, Z)."""
        h = x.new_zeros(x.shape[1], self.rnn.hidden_size)
        outputs, seen = [], self.activation(self.phi_x(x))
        for f, eps in zip(seen, noise):
            q = self.encoder(torch.cat([f, h], 1)).chunk(2, 1)
            p = self.prior(h).chunk(2, 1)
            z = q[0] + torch.exp(0.5 * q[1]) * eps
            g = self.activation(self.phi_z(z))
            outputs.append((self.decoder(torch.cat([g, h], 1)), *q, *p))
            h = self.rnn(torch.cat([f, g], 1)[None], h[None])[1][0]
        return [torch.stack(parts) for parts in zip(*outputs)]


class Transition(nn.Module):
    """The gated transition p(z_t|z_t-1)."""

    def __init__(self, z, hidden, activation):
        super().__init__()
        self.activation = activation
        self.gate, self.proposed = pair(z, hidden, z, activation), pair(z, hidden, z, activation)
        self.linear, self.logvar = nn.Linear(z, z), nn.Linear(z, z)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, z):
        gate, proposed = torch.sigmoid(self.gate(z)), self.proposed(z)
        return (1 - gate) * self.linear(z) + gate * proposed, self.logvar(self.activation(proposed))


class DeepMarkov(nn.Module):
    """A state that moves from step to step, inferred from the step before and from all that follows."""

    def __init__(self, settings, channels):
        super().__init__()
        self.settings = settings
        h, z, transition, e = (settings[key] for key in ("hidden", "latent", "transition", "emitter"))
        self.z_0 = nn.Parameter(torch.zeros(z))
        activation = ACTIVATIONS[settings["activation"]]
        self.transition = Transition(z, transition, activation)
        self.emitter = nn.Sequential(nn.Linear(z, e), activation, nn.Linear(e, e), activation)
        self.emitter.append(nn.Linear(e, outputs_of(settings, channels)))
        self.rnn = nn.GRU(channels, h)
        self.combiner, self.encoder = nn.Linear(z, h), nn.Linear(h, 2 * z)

    def forward(self, x, lengths, noise):
        """As VRNN.forward."""
        z = self.z_0.expand(x.shape[1], -1)
        outputs = []
        for ahead, eps in zip(reversed_states(self.rnn, x, lengths), noise):
            p = self.transition(z)
            q = self.encoder(0.5 * (torch.tanh(self.combiner(z)) + ahead)).chunk(2, 1)
            z = q[0] + torch.exp(0.5 * q[1]) * eps
            outputs.append((self.emitter(z), *q, *p))
        return [torch.stack(parts) for parts in zip(*outputs)]


def reversed_states(rnn, x, lengths):
    """x (T, B, C) to states (T, B, H), of step t after the GRU has read x_T, ..., x_t of each piece."""
    step = torch.arange(len(x), device=x.device)[:, None]
    # A piece that is turned around lies at the front again, and so do its states.
    index = torch.where(step < lengths, lengths - 1 - step, step)[..., None]
    states, _ = rnn(x.gather(0, index.expand(-1, -1, x.shape[2])))
    return states.gather(0, index.expand(-1, -1, states.shape[2]))


def terms(model, x, lengths, noise):
    """The terms in nats, each summed over the steps of the batch: x (T, B, C) with NaN for what is missing, (B)."""
    seen = ~x.isnan()
    x = x.nan_to_num(0.0)
    y, *gaussians = model(x, lengths, noise)
    is_step = torch.arange(len(x), device=x.device)[:, None] < lengths
    recon = nll(model.settings, y, x, seen)
    q, p = (Normal(mean, torch.exp(0.5 * logvar)) for mean, logvar in (gaussians[:2], gaussians[2:]))
    kl = kl_divergence(q, p).sum(2)
    return {"recon": recon[is_step].sum(), "kl": kl[is_step].sum(), "steps": is_step.sum()}


# ---- Training


def read(path):
    text = path.read_bytes()
    return (gzip.decompress(text) if path.suffix == ".gz" else text).decode()


def sequences(path):
    """The training and test sequences, (steps, C) each."""
    if path.is_file():
        data = json.loads(read(path))
        return {split: [roll(piece) for piece in data[split] if piece] for split in ("train", "test")}
    data = {}
    for split in ("train", "test"):
        [file] = [file for file in path.iterdir() if file.name.startswith(f"{split}.ndjson")]
        data[split] = [torch.tensor(json.loads(line), dtype=torch.float32) for line in read(file).splitlines()]
    deviation = torch.cat(data["train"])[:, :2].std(correction=0).item()
    scale = torch.tensor([deviation, deviation, 1.0])
    return {split: [row / scale for row in data[split]] for split in data}


def roll(piece):
    x = torch.zeros(len(piece), 88)
    for step, notes in enumerate(piece):
        x[step, [note - 21 for note in notes]] = 1.0
    return x


def batches(rolls, size):
    """x (T, B, C) and lengths (B) of neighbours in length."""
    order = sorted(torch.randperm(len(rolls)).tolist(), key=lambda row: len(rolls[row]))
    for first in range(0, len(order), size):
        chosen = [rolls[row] for row in order[first : first + size]]
        yield nn.utils.rnn.pad_sequence(chosen), torch.tensor([len(row) for row in chosen])


def noise_of(x, latent):
    return torch.randn(*x.shape[:2], latent)


@torch.no_grad()
def evaluate(model, rolls, size, latent):
    """Reconstruction and KL in nats a step, of a sample of each latent."""
    sums = torch.zeros(3)
    for x, lengths in batches(rolls, size):
        of_batch = terms(model, x, lengths, noise_of(x, latent))
        sums += torch.stack([of_batch[name].float() for name in ("recon", "kl", "steps")])
    return (sums[:2] / sums[2]).tolist()


def train(args):
    torch.manual_seed(args.seed)
    rolls = sequences(args.data)
    settings = vars(args) | {"activation": "relu", "emission": "bernoulli" if args.data.is_file() else "strokes"}
    model = (VRNN if args.model == "vrnn" else DeepMarkov)(settings, rolls["train"][0].shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, betas=(args.beta1, 0.999))
    step, in_epoch = 0, -(-len(rolls["train"]) // args.batch_size)
    for epoch in range(1, args.epochs + 1):
        start, total = time.perf_counter(), torch.zeros(2)
        of_epoch = list(batches(rolls["train"], args.batch_size))
        for index in torch.randperm(len(of_epoch)).tolist():
            x, lengths = of_epoch[index]
            of_batch = terms(model, x, lengths, noise_of(x, args.latent))
            weight = min(1.0, step / (args.anneal * in_epoch)) if args.anneal else 1.0
            lr = args.lr
            if args.cosine:
                lr *= 0.5 + 0.5 * math.cos(math.pi * step / (args.epochs * in_epoch))
            optimizer.param_groups[0]["lr"] = lr
            optimizer.zero_grad()
            ((of_batch["recon"] + weight * of_batch["kl"]) / x.shape[1]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            total += torch.stack([(of_batch["recon"] + of_batch["kl"]).detach(), of_batch["steps"].float()])
            step += 1
        seconds = time.perf_counter() - start
        if epoch % args.every and epoch < args.epochs:
            continue
        recon, kl = evaluate(model, rolls["test"], args.batch_size, args.latent)
        print(
            f"epoch {epoch} train {total[0] / total[1]:.4f} test {recon + kl:.4f} recon {recon:.4f} kl {kl:.4f} "
            f"nats a step, seconds {seconds:.2f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="PATH", type=Path)
    parser.add_argument("--model", choices=["vrnn", "deep_markov"], default="vrnn")
    parser.add_argument("--features", type=int, default=128, help="of the VRNN (128)")
    parser.add_argument("--hidden", type=int, default=256, help="(256)")
    parser.add_argument("--latent", type=int, help="(16 of the VRNN, 64 of the deep Markov model)")
    parser.add_argument("--transition", type=int, default=128, help="of the deep Markov model (128)")
    parser.add_argument("--emitter", type=int, default=100, help="of the deep Markov model (100)")
    parser.add_argument("--mixture", type=int, default=20, help="components of a stroke's mixture (20)")
    parser.add_argument("--anneal", type=float, default=20.0, help="epochs until the weight of the KL is 1 (20)")
    parser.add_argument("--cosine", action="store_true", help="let the learning rate fall to 0 as a cosine")
    parser.add_argument("--epochs", type=int, default=100, help="(100)")
    parser.add_argument("--batch-size", type=int, default=20, help="(20)")
    parser.add_argument("--lr", type=float, default=1e-3, help="(1e-3)")
    parser.add_argument("--beta1", type=float, default=0.9, help="(0.9)")
    parser.add_argument("--every", type=int, default=1, help="test after every so many epochs (1)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--threads", type=int, help="threads (PyTorch's choice)")
    args = parser.parse_args()
    args.latent = args.latent or (16 if args.model == "vrnn" else 64)
    if args.threads:
        torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
