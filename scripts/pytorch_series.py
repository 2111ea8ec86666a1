#!/usr/bin/env python3
"""The recurrent VAE of series in PyTorch, under elbo's settings and names.

    python3 scripts/pytorch_series.py FILE.csv [--epochs N] [--seed S] [--threads N] [--window W] [--hide N] ...

trains it by the recipe of elbo's preset series-rvae on the windows of the first four fifths of a series and prints the
losses on the last fifth after each epoch. Columns of times and labels are left out, empty cells are missing. Exit code
2: unusable arguments.

B windows, T steps, C channels, H of a state, Z latents. Steps are time-major, (T, B, C); a missing number is NaN.
"""

import argparse
import csv
import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

# Log variances lie between -6 and 6.
LOGVAR_RANGE = 6.0
# The share of windows whose end is hidden from the encoder.
HIDDEN_SHARE = 0.5


class SeriesVAE(nn.Module):
    """An LSTM reads a window, one draws it."""

    def __init__(self, settings, channels):
        super().__init__()
        hidden, latent = settings["hidden"], settings["latent"]
        self.settings = settings
        self.encoder = nn.LSTM(2 * channels, hidden)
        self.fc21, self.fc22, self.fc3 = nn.Linear(hidden, latent), nn.Linear(hidden, latent), nn.Linear(latent, hidden)
        self.decoder = nn.LSTM(latent, hidden)
        self.mean, self.logvar = nn.Linear(hidden, channels), nn.Linear(hidden, channels)

    def encode(self, x, lengths):
        """x (T, B, C) with NaN where missing, of which `lengths` (B) steps are read, to mean and logvar (B, Z)."""
        inputs = torch.cat([x.nan_to_num(0.0), (~x.isnan()).to(x.dtype)], 2)
        packed = pack_padded_sequence(inputs, lengths.cpu(), enforce_sorted=False)
        last = self.encoder(packed)[1][0][0]
        return self.fc21(last), self.fc22(last)

    def decode(self, z, steps):
        """Mean and logvar (T, B, C) of the numbers of z (B, Z)."""
        start = self.fc3(z)[None]
        states, _ = self.decoder(z.expand(steps, *z.shape), (start, torch.zeros_like(start)))
        return self.mean(states), LOGVAR_RANGE * torch.tanh(self.logvar(states))

    def shortened(self, lengths, noise):
        """lengths (B) of what the encoder is shown, noise (B) in (0,1): of some windows the end is hidden."""
        ends = 1 + torch.floor(noise / HIDDEN_SHARE * self.settings["hide"]).long()
        hides = torch.where(noise < HIDDEN_SHARE, ends, 0)
        return torch.maximum(lengths - hides, torch.ones_like(lengths))

    def terms(self, x, lengths, kl_of, noise):
        """The terms, each summed over the batch; noise: what hides ends (B) where that is on, then of z (B, Z)."""
        shown = self.shortened(lengths, noise[0].flatten()) if self.settings["hide"] > 0 else lengths
        mean, logvar = self.encode(x, shown)
        z = mean + torch.exp(0.5 * logvar) * noise[-1]
        mu, log_variance = self.decode(z, len(x))
        is_seen = ~x.isnan()
        nll = F.gaussian_nll_loss(
            mu, x.nan_to_num(0.0), log_variance.exp(), full=True, eps=1e-12, reduction="none"
        )
        return {"recon": nll[is_seen].sum(), "kl": kl_of(mean, logvar), "numbers": is_seen.sum()}


# ---- Data


def number(cell):
    return math.nan if cell.strip().lower() in ("", "nan") else float(cell)


def read(path):
    """A file's numbers (N, C), without times and labels."""
    lines = path.read_text().splitlines()
    rows = list(csv.reader(lines, delimiter=";" if ";" in lines[0] else ","))
    left_out = {"time", "timestamp", "date", "datetime", "anomaly", "label", "changepoint"}
    kept = [at for at, name in enumerate(rows[0]) if name.lower() not in left_out]
    return torch.tensor([[number(row[at]) for at in kept] for row in rows[1:]], dtype=torch.float64)


def windows(rows, length, stride):
    """(N, T, C): one each stride, and one that ends with the last row."""
    starts = list(range(0, len(rows) - length + 1, stride))
    starts += [len(rows) - length] if starts[-1] < len(rows) - length else []
    return torch.stack([rows[start : start + length] for start in starts])


def standardised(train, *others):
    mean = train.nanmean(0)
    deviation = ((train - mean) ** 2).nanmean(0).sqrt()
    deviation[deviation <= 1e-12 * mean.abs()] = 1.0
    return [((rows - mean) / deviation).float() for rows in (train, *others)]


# ---- Training


def kl_of(mean, logvar):
    return torch.distributions.kl_divergence(Normal(mean, torch.exp(0.5 * logvar)), Normal(0.0, 1.0)).sum()


def whole(x):
    """The lengths (B) of whole windows (T, B, C)."""
    return torch.full(x.shape[1:2], len(x), device=x.device)


def fit(model, train, args, report=lambda epoch, seconds, total: None):
    """Trains on windows (N, T, C) by the preset's recipe."""
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    step, steps = 0, math.ceil(len(train) / args.batch_size)
    for epoch in range(1, args.epochs + 1):
        start, total = time.perf_counter(), torch.zeros(2)
        for chosen in torch.randperm(len(train)).split(args.batch_size):
            x = train[chosen].transpose(0, 1).to(args.device)
            noise = [torch.rand(len(chosen), device=args.device)] if args.hide else []
            noise.append(torch.randn(len(chosen), args.latent, device=args.device))
            terms = model.terms(x, whole(x), kl_of, noise)
            weight = min(1.0, step / (args.anneal * steps)) if args.anneal else 1.0
            optimizer.zero_grad()
            ((terms["recon"] + weight * terms["kl"]) / len(chosen)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
            total += torch.stack([terms["recon"], terms["kl"]]).detach().cpu()
            step += 1
        report(epoch, time.perf_counter() - start, (total / len(train)).tolist())


@torch.no_grad()
def evaluate(model, test, args):
    hide, model.settings["hide"] = model.settings["hide"], 0
    sums = torch.zeros(2)
    for x in test.split(args.batch_size):
        x = x.transpose(0, 1).to(args.device)
        noise = [torch.randn(x.shape[1], args.latent, device=args.device)]
        terms = model.terms(x, whole(x), kl_of, noise)
        sums += torch.stack([terms["recon"], terms["kl"]]).cpu()
    model.settings["hide"] = hide
    return (sums / len(test)).tolist()


def parser():
    of = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of.add_argument("data", metavar="FILE", type=Path)
    of.add_argument("--window", type=int, default=64, help="(64)")
    of.add_argument("--hidden", type=int, default=64, help="(64)")
    of.add_argument("--latent", type=int, default=8, help="(8)")
    of.add_argument("--hide", type=int, default=0, help="steps that are hidden at a window's end at most (0)")
    of.add_argument("--anneal", type=float, default=0.0, help="epochs until the weight of the KL is 1 (0)")
    of.add_argument("--clip", type=float, default=100.0, help="norm that gradients are clipped at (100)")
    of.add_argument("--epochs", type=int, default=50, help="(50)")
    of.add_argument("--batch-size", type=int, default=32, help="(32)")
    of.add_argument("--lr", type=float, default=2e-3, help="(2e-3)")
    of.add_argument("--seed", type=int, default=1, help="(1)")
    of.add_argument("--threads", type=int, help="threads (PyTorch's choice)")
    of.add_argument("--device", default="cpu", help="where PyTorch computes, cuda for example (cpu)")
    return of


def main():
    args = parser().parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rows = read(args.data)
    first = len(rows) - round(0.2 * len(rows))
    rows, test = standardised(rows[:first], rows[first:])
    train, test = windows(rows, args.window, args.window // 2), windows(test, args.window, args.window)
    settings = {key: getattr(args, key) for key in ("hidden", "latent", "hide")}
    model = SeriesVAE(settings, rows.shape[1]).to(args.device)
    print(f"{len(train)} training and {len(test)} test windows of {rows.shape[1]} channels", flush=True)

    def report(epoch, seconds, total):
        recon, kl = evaluate(model, test, args)
        print(
            f"epoch {epoch} train {sum(total):.3f} test {recon + kl:.3f} recon {recon:.3f} kl {kl:.3f} "
            f"seconds {seconds:.2f}",
            flush=True,
        )

    fit(model, train, args, report)


if __name__ == "__main__":
    main()
