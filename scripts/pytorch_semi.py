#!/usr/bin/env python3
"""Semi-supervised VAEs (Kingma et al. 2014, arXiv 1406.5298) in PyTorch: the recipes of elbo's presets, for comparison.

    python3 scripts/pytorch_semi.py MODEL DATA_DIR [--labels N] [--epochs N] [--seed N]

MODEL is m2, supervised (m2's classifier on the labelled pictures alone), ss-z (a VAE with a classifier on z)
or m1m2 (m2 on the latent means of a VAE). DATA_DIR holds the four MNIST files in IDX form, gzip-compressed or not.
Losses are in nats, summed over dimensions and averaged over pictures; error is of the test pictures.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

from pytorch_vae import fail, positive, read_labelled

CLASSES = 10


def perceptron(sizes, activation=nn.Softplus):
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


class Gaussian(nn.Module):
    """Mean and logvar from one network of hidden layers."""

    def __init__(self, inputs, hidden, latent, activation=nn.Softplus):
        super().__init__()
        self.body = nn.Sequential(perceptron([inputs, *hidden], activation), activation())
        self.mean, self.logvar = nn.Linear(hidden[-1], latent), nn.Linear(hidden[-1], latent)

    def forward(self, x):
        h = self.body(x)
        return self.mean(h), self.logvar(h)


def sample(mean, logvar):
    return mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)


def kl_rows(mean, logvar):
    """KL(q || N(0,1)) of each row: (B,Z) to (B)."""
    return 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).sum(1)


class M2(nn.Module):
    """q(y|x), q(z|x,y), p(x|z,y). sigma None: Bernoulli pixels; else the Gaussian's."""

    def __init__(self, inputs, hidden, latent, classifier, sigma=None, activation=nn.Softplus):
        super().__init__()
        self.classifier = perceptron([inputs, *classifier, CLASSES], activation)
        self.encoder = Gaussian(inputs + CLASSES, hidden, latent, activation)
        self.decoder = perceptron([latent + CLASSES, *reversed(hidden), inputs], activation)
        self.sigma = sigma
        self.hold = False

    def loss(self, x, y, weight):
        """Sum over the batch: L for labelled rows of y (B,K) with the classifier's term, U for rows of zeros."""
        logits = self.classifier(x)
        pi = torch.where(y.sum(1, keepdim=True) > 0, y, logits.softmax(1))
        if self.hold:
            pi = pi.detach()
        xs, ys = x.repeat_interleave(CLASSES, 0), torch.eye(CLASSES).repeat(len(x), 1)
        mean, logvar = self.encoder(torch.cat([xs, ys], 1))
        out = self.decoder(torch.cat([sample(mean, logvar), ys], 1))
        if self.sigma is None:
            recon = F.binary_cross_entropy_with_logits(out, xs, reduction="none").sum(1)
        else:
            recon = ((out - xs).pow(2) / (2 * self.sigma**2) + math.log(self.sigma * math.sqrt(2 * math.pi))).sum(1)
        rows = (recon + kl_rows(mean, logvar)).view(-1, CLASSES)
        bound = (pi * rows).sum() + len(x) * math.log(CLASSES) + torch.special.xlogy(pi, pi).sum()
        return bound + weight * F.cross_entropy(logits, y, reduction="sum")


class LatentClassifier(nn.Module):
    """A VAE with a classifier on z."""

    def __init__(self, inputs, hidden, latent, classifier, activation=nn.ReLU):
        super().__init__()
        self.encoder = Gaussian(inputs, hidden, latent, activation)
        self.decoder = perceptron([latent, *reversed(hidden), inputs], activation)
        self.head = perceptron([latent, *classifier, CLASSES], activation)

    def classifier(self, x):
        return self.head(self.encoder(x)[0])

    def loss(self, x, y, weight):
        mean, logvar = self.encoder(x)
        z = sample(mean, logvar)
        recon = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        return recon + kl_rows(mean, logvar).sum() + weight * F.cross_entropy(self.head(z), y, reduction="sum")


def labelled(labels, count):
    """labels (N) to one-hot rows (N,K), zeros but for `count` of them, as many of each class."""
    y = torch.zeros(len(labels), CLASSES)
    for label in range(CLASSES):
        places = (labels == label).nonzero().flatten()
        chosen = places[torch.randperm(len(places))[: count // CLASSES]]
        y[chosen, label] = 1
    return y


@torch.no_grad()
def error(model, x, labels):
    wrong = sum((model.classifier(part).argmax(1) != l).sum().item() for part, l in zip(x.split(1000), labels.split(1000)))
    return 100 * wrong / len(x)


def train(model, x, y, test, args, weight, lr, name):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for epoch in range(1, args.epochs + 1):
        start, total = time.time(), 0.0
        model.hold = epoch <= args.hold
        for index in torch.randperm(len(x)).split(args.batch_size):
            loss = model.loss(x[index], y[index], weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch == args.epochs or epoch % args.every == 0:
            print(
                f"{name} epoch {epoch} loss {total / len(x):.4f} test error {error(model, *test):.2f} % "
                f"{time.time() - start:.1f} s",
                flush=True,
            )


def supervised(x, y, test, args):
    """The classifier of m2 on the labelled pictures alone."""
    chosen = y.sum(1) > 0
    x, y = x[chosen], y[chosen]
    model = M2(784, [500], 50, [500])
    optimizer = torch.optim.Adam(model.classifier.parameters(), lr=3e-4)
    for _ in range(args.epochs):
        for index in torch.randperm(len(x)).split(args.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model.classifier(x[index]), y[index]).backward()
            optimizer.step()
    print(f"supervised alone, {len(x)} labels, {args.epochs} epochs: test error {error(model, *test):.2f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["m2", "supervised", "ss-z", "m1m2"])
    parser.add_argument("data", metavar="DATA_DIR")
    parser.add_argument("--labels", type=positive, default=100, help="labelled pictures (100)")
    parser.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    parser.add_argument("--batch-size", type=positive, default=128, help="pictures a batch (128)")
    parser.add_argument("--every", type=positive, default=1, help="epochs between two printed lines (1)")
    parser.add_argument("--limit", type=positive, default=60000, help="training pictures (60000)")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--repeat", type=positive, default=1)
    parser.add_argument("--hidden", type=positive, default=500)
    parser.add_argument("--latent", type=positive, default=50)
    parser.add_argument("--act", default="Softplus")
    parser.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")
    args = parser.parse_args()
    if args.labels % CLASSES:
        fail(f"--labels is {args.labels}, but must be a multiple of {CLASSES}")
    images, labels = read_labelled(args.data, "train")
    test = read_labelled(args.data, "t10k")
    torch.manual_seed(args.seed)
    x, y = images[: args.limit], labelled(labels[: args.limit], args.labels)
    if args.repeat > 1:
        chosen = y.sum(1) > 0
        x = torch.cat([x] + [x[chosen]] * (args.repeat - 1))
        y = torch.cat([y] + [y[chosen]] * (args.repeat - 1))
    weight = args.alpha * args.limit / args.labels / args.repeat
    act = getattr(nn, args.act)
    if args.model == "supervised":
        supervised(x, y, test, args)
    elif args.model == "m2":
        train(M2(784, [args.hidden], args.latent, [args.hidden], activation=act), x, y, test, args, weight, args.lr, "m2")
    elif args.model == "ss-z":
        train(LatentClassifier(784, [400], 20, [], activation=act), x, y, test, args, weight, args.lr, "ss-z")


if __name__ == "__main__":
    main()
