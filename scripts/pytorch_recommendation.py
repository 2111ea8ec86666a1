#!/usr/bin/env python3
"""Mult-VAE (Liang et al. 2018, arXiv 1802.05814) in real PyTorch, by elbo's protocol, beside two baselines.

    python3 scripts/pytorch_recommendation.py DATA [--seed N] [--split-seed N] [--epochs N] [...]

DATA is a folder with ratings.csv or ratings.csv.gz in MovieLens' form (userId,movieId,rating,...). Ratings above 3.5
count, users need five of them, the split is by users: a hash of seed and user says who is a test or a validation user
and a hash of seed, user and item what they hide, as in src/data/ratings/mod.rs, so that both programs have the same
split. Printed are NDCG@100, Recall@20 and Recall@50 of the test users as mean (standard error): of the model, of EASE
(Steck 2019, arXiv 1905.03375; lambda chosen by the validation users) and of popularity.
The defaults are those of the preset ml-small; ml-small-bernoulli is

    --likelihood bernoulli --activation relu --no-normalise --dropout 0 --kl-weight 1 --anneal-epochs 0

Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import csv
import gzip
import hashlib
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LAMBDAS = [10, 30, 100, 200, 300, 500, 1000, 3000]


def read_liked(folder, liked_above=3.5):
    """What each user liked, {user: [item, ...]}, users and items in the order of the file."""
    found = [path for path in (folder / "ratings.csv", folder / "ratings.csv.gz") if path.is_file()]
    if not found:
        sys.exit(f"{folder} holds no ratings.csv or ratings.csv.gz")
    opened = gzip.open if found[0].suffix == ".gz" else open
    liked, items = {}, {}
    with opened(found[0], "rt", newline="") as file:
        for row in csv.DictReader(file):
            if float(row["rating"]) > liked_above:
                liked.setdefault(row["userId"], {})[row["movieId"]] = None
                items.setdefault(row["movieId"], None)
    return {user: list(of) for user, of in liked.items()}, list(items)


def digest(text):
    return hashlib.sha256(text.encode()).digest()


def split(liked, items, seed):
    """Training users as lists of item numbers; validation and test users as (shown, hidden); the number of items."""
    users = [user for user, of in liked.items() if len(of) >= 5]
    held_out = min(len(users) // 5, 10_000)
    by_hash = sorted(users, key=lambda user: digest(f"{seed}/{user}"))
    parts = {"test": set(by_hash[:held_out]), "validation": set(by_hash[held_out : 2 * held_out])}
    train = [user for user in users if user not in parts["test"] and user not in parts["validation"]]
    known = {item for user in train for item in liked[user]}
    numbers = {item: number for number, item in enumerate(item for item in items if item in known)}
    names = list(numbers)

    def parted(user):
        own = sorted(numbers[item] for item in liked[user] if item in numbers)
        count = 0 if len(own) < 5 else len(own) // 5
        by_hash = sorted(own, key=lambda item: digest(f"{seed}/{user}/{names[item]}"))
        return sorted(by_hash[count:]), sorted(by_hash[:count])

    held = {name: [parted(user) for user in users if user in part] for name, part in parts.items()}
    held = {name: [(shown, hidden) for shown, hidden in part if hidden] for name, part in held.items()}
    return [[numbers[item] for item in liked[user]] for user in train], held, len(numbers)


def dense(rows, items):
    x = torch.zeros(len(rows), items)
    for row, of in enumerate(rows):
        x[row, of] = 1
    return x


def metrics(scores, users):
    """NDCG@100, Recall@20, Recall@50 of scores (users, items), each as mean and standard error."""
    rows = []
    for score, (shown, hidden) in zip(np.asarray(scores, dtype=np.float64), users):
        score = score.copy()
        score[shown] = -math.inf
        ranked = np.argsort(-score, kind="stable")[:100].tolist()
        hidden = set(hidden)
        hits = [item in hidden for item in ranked]
        gains = [1 / math.log2(rank + 2) for rank in range(100)]
        ndcg = sum(gain for gain, hit in zip(gains, hits) if hit) / sum(gains[: len(hidden)])
        rows.append([ndcg] + [sum(hits[:depth]) / min(depth, len(hidden)) for depth in (20, 50)])
    rows = np.array(rows)
    return list(zip(rows.mean(0), rows.std(0, ddof=1) / math.sqrt(len(rows))))


def show(name, means):
    print(f"{name:<20}" + "  ".join(f"{mean:.4f} ({error:.4f})" for mean, error in means), flush=True)


class MultVAE(nn.Module):
    def __init__(self, items, args):
        super().__init__()
        hidden, latent = args.hidden, args.latent
        self.fc1, self.fc21, self.fc22 = nn.Linear(items, hidden), nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.fc3, self.fc4 = nn.Linear(latent, hidden), nn.Linear(hidden, items)
        self.drop, self.act = nn.Dropout(args.dropout), getattr(torch, args.activation)
        self.normalise = (lambda x: x) if args.no_normalise else F.normalize
        for layer in (self.fc1, self.fc21, self.fc22, self.fc3, self.fc4):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def encode(self, x):
        h = self.act(self.fc1(self.drop(self.normalise(x))))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return self.fc4(self.act(self.fc3(z)))

    def forward(self, x):
        mean, logvar = self.encode(x)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean) if self.training else mean
        return self.decode(z), mean, logvar


def fit(model, train, args, evaluate):
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    steps = math.ceil(len(train) / args.batch_size)
    step, start = 0, time.monotonic()
    for epoch in range(1, args.epochs + 1):
        model.train()
        total = 0.0
        for index in torch.randperm(len(train)).split(args.batch_size):
            x = train[index]
            logits, mean, logvar = model(x)
            if args.likelihood == "multinomial":
                recon = -(x * F.log_softmax(logits, dim=1)).sum(1).mean()
            else:
                recon = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()
            kl = -0.5 * (1 + logvar - mean.pow(2) - logvar.exp()).sum(1).mean()
            ramp = min(1.0, step / (args.anneal_epochs * steps)) if args.anneal_epochs else 1.0
            weight = args.kl_weight * ramp
            optimizer.zero_grad()
            (recon + weight * kl).backward()
            optimizer.step()
            total += (recon + weight * kl).item() * len(x)
            step += 1
        if args.verbose:
            [(ndcg, _), *_] = evaluate()
            print(f"epoch {epoch} train {total / len(train):.2f} validation NDCG@100 {ndcg:.4f}", flush=True)
    print(f"{step} steps in {time.monotonic() - start:.1f} s", flush=True)


def ease(train, lam):
    p = np.linalg.inv(train.T @ train + lam * np.eye(train.shape[1]))
    w = -p / np.diag(p)
    np.fill_diagonal(w, 0)
    return w


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split-seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=600)
    parser.add_argument("--latent", type=int, default=200)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--kl-weight", type=float, default=0.2)
    parser.add_argument("--anneal-epochs", type=float, default=40)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--likelihood", choices=["multinomial", "bernoulli"], default="multinomial")
    parser.add_argument("--activation", choices=["tanh", "relu"], default="tanh")
    parser.add_argument("--no-normalise", action="store_true")
    parser.add_argument("--no-ease", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="a line an epoch, with the validation users' NDCG@100")
    args = parser.parse_args()

    liked, items = read_liked(args.data)
    train, held, count = split(liked, items, args.split_seed)
    validation, test = len(held["validation"]), len(held["test"])
    print(f"{len(train)} training users, {count} items; {validation} validation and {test} test users")
    torch.manual_seed(args.seed)
    x = dense(train, count)
    model = MultVAE(count, args)

    def judge(users):
        model.eval()
        with torch.no_grad():
            return metrics(model(dense([shown for shown, _ in users], count))[0], users)

    fit(model, x, args, lambda: judge(held["validation"]))
    print(f"{'':<20}NDCG@100         Recall@20        Recall@50")
    show("model", judge(held["test"]))
    if not args.no_ease:
        def linear(users, lam):
            return metrics(dense([shown for shown, _ in users], count).numpy() @ ease(x.double().numpy(), lam), users)

        best = max(LAMBDAS, key=lambda lam: linear(held["validation"], lam)[0][0])
        show(f"EASE, lambda {best}", linear(held["test"], best))
    show("popularity", metrics(x.sum(0).expand(len(held["test"]), -1), held["test"]))
    show("model, validation", judge(held["validation"]))


if __name__ == "__main__":
    main()
