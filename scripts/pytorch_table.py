"""The VAE of `elbo train table-vae` in PyTorch, and how well its -ELBO tells anomalies from normal rows.

    python3 scripts/pytorch_table.py thyroid.csv.gz ... [--seeds 3] [--samples 64]

The tables have a header, numbers, and a column `anomaly` of 0 and 1. The protocol is elbo's `--split normal:0.5`: the
first half of the normal rows, in file order, trains; the others and all anomalies are scored. Numbers are standardised
by the training rows. Prints the AUROC of each score, mean and spread over the seeds.
"""

import argparse
import csv
import gzip
import math

import torch
from torch import nn


def read(path):
    """Rows (N,F) and whether each is an anomaly (N)."""
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as file:
        lines = list(csv.reader(file))
    label = lines[0].index("anomaly")
    rows = torch.tensor([[float(v) for v in line] for line in lines[1:]], dtype=torch.float64)
    keep = [j for j in range(rows.shape[1]) if j != label]
    return rows[:, keep], rows[:, label] > 0


def parted(rows, is_anomaly):
    """Standardised training rows, test rows, and which of these are anomalies."""
    normal = torch.nonzero(~is_anomaly).flatten()
    train = normal[: round(len(normal) / 2)]  # to the even number
    is_test = torch.ones(len(rows), dtype=torch.bool)
    is_test[train] = False
    mean, deviation = rows[train].mean(0), rows[train].std(0, unbiased=False)
    deviation[deviation == 0] = 1
    rows = ((rows - mean) / deviation).float()
    return rows[train], rows[is_test], is_anomaly[is_test]


class VAE(nn.Module):
    def __init__(self, numbers, hidden, latent):
        super().__init__()
        sizes = [numbers, *hidden]
        self.encoder = nn.Sequential(*sum(([nn.Linear(i, o), nn.ReLU()] for i, o in zip(sizes, sizes[1:])), []))
        self.mean, self.logvar = nn.Linear(sizes[-1], latent), nn.Linear(sizes[-1], latent)
        back = [latent, *reversed(hidden)]
        layers = sum(([nn.Linear(i, o), nn.ReLU()] for i, o in zip(back, back[1:])), [])
        self.decoder = nn.Sequential(*layers, nn.Linear(back[-1], numbers))

    def encode(self, x):
        h = self.encoder(x)
        return self.mean(h), self.logvar(h)


def recon(x, y, sigma):
    """-log p(x|z) of each row in nats, p = N(y, sigma^2)."""
    return 0.5 * ((x - y) ** 2 / sigma**2 + math.log(2 * math.pi * sigma**2)).sum(1)


def divergence(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)


def train(model, rows, args):
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for _ in range(args.epochs):
        for batch in torch.randperm(len(rows)).split(args.batch_size):
            x = rows[batch]
            mean, logvar = model.encode(x)
            z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
            loss = (recon(x, model.decoder(z), args.sigma) + divergence(mean, logvar)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def scores(model, x, args):
    mean, logvar = model.encode(x)
    error = ((x - model.decoder(mean)) ** 2).sum(1)
    nats, weights = [], []
    for _ in range(args.samples):
        noise = torch.randn_like(mean)
        z = mean + (0.5 * logvar).exp() * noise
        nats.append(recon(x, model.decoder(z), args.sigma))
        weights.append(0.5 * (noise**2 + logvar - z**2).sum(1) - nats[-1])
    probability = torch.stack(nats).mean(0)
    bound = math.log(args.samples) - torch.stack(weights).logsumexp(0)
    return {"error": error, "probability": probability, "elbo": probability + divergence(mean, logvar), "bound": bound}


def auroc(score, is_anomaly):
    ordered = score[~is_anomaly].sort().values
    wins = torch.searchsorted(ordered, score[is_anomaly]) + torch.searchsorted(ordered, score[is_anomaly], right=True)
    return (wins.double().mean() / (2 * len(ordered))).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 16])
    parser.add_argument("--latent", type=int, default=2)
    parser.add_argument("--sigma", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    for table in args.tables:
        rows, test, is_anomaly = parted(*read(table))
        areas = {}
        for seed in range(1, args.seeds + 1):
            torch.manual_seed(seed)
            model = VAE(rows.shape[1], args.hidden, args.latent)
            train(model, rows, args)
            for name, score in scores(model, test, args).items():
                areas.setdefault(name, []).append(auroc(score, is_anomaly))
        shown = [f"{name} {100 * sum(a) / len(a):.2f} ({100 * (max(a) - min(a)):.2f})" for name, a in areas.items()]
        print(f"{table}: AUROC x 100, mean (spread) of {args.seeds} seeds: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
