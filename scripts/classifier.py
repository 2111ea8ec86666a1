#!/usr/bin/env python3
"""A small classifier of MNIST digits in PyTorch, to judge whether a model draws digits, and those it is asked for.

    python3 scripts/classifier.py train DATA_DIR OUT.safetensors [--epochs N] [--seed N]
    python3 scripts/classifier.py judge CLASSIFIER.safetensors SAMPLES.npz [--json]
    python3 scripts/classifier.py look CLASSIFIER.safetensors SAMPLES.npy|DATA_DIR

`train` prints the accuracy on the test set after each epoch, over 99 % with the default five.
`judge` prints the share of samples that are classified as their label, of all and of each label.
`look` is for samples without labels, as `elbo sample --npy` writes them, or the test pictures of DATA_DIR: how sure the
classifier is of them, how evenly it finds all ten digits, and how sharp they are.
SAMPLES.npz holds x, (N, 784) or (N, 1, 28, 28) in [0, 1], and label (N), whole numbers 0 to 9.
DATA_DIR holds the four MNIST files in IDX form, gzip-compressed or not.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import json
import math
import time
import zipfile
import zlib

from pytorch_vae import fail, load_into, positive, read_labelled, read_state, save

import numpy
import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 10


class Classifier(nn.Module):
    """28 -> 14 -> 7 with 16, 32 channels, then 1568-128-10: pictures (B, 784) -> logits (B, 10)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 7 * 7, 128)
        self.fc2 = nn.Linear(128, CLASSES)

    def forward(self, x):
        h = F.max_pool2d(F.relu(self.conv1(x.view(-1, 1, 28, 28))), 2)
        h = F.max_pool2d(F.relu(self.conv2(h)), 2)
        return self.fc2(F.relu(self.fc1(h.flatten(1))))


@torch.no_grad()
def classify(model, images):
    """images (N, 784) -> the likeliest class of each (N)."""
    return torch.cat([model(x).argmax(dim=1) for x in images.split(1000)])


def train(args):
    images, labels = read_labelled(args.data, "train")
    test_images, test_labels = read_labelled(args.data, "t10k")
    torch.manual_seed(args.seed)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters())
    steps = args.epochs * -(-len(images) // args.batch_size)
    # A rate that rises to 3e-3 and falls to almost 0 reaches in a few epochs what a constant one needs many for.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        total = 0.0
        for index in torch.randperm(len(images)).split(args.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[index]), labels[index])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
        seconds = time.perf_counter() - start
        accuracy = (classify(model, test_images) == test_labels).double().mean().item()
        print(
            f"epoch {epoch} train_loss {total / len(images):.4f} test_accuracy {accuracy:.4f} seconds {seconds:.1f}",
            flush=True,
        )
    save(model, args.out)


def read_samples(path):
    """The samples as float32 (N, 784) and their labels as int64 (N)."""
    try:
        with numpy.load(path, allow_pickle=False) as arrays:
            x, label = arrays["x"], arrays["label"]
    except (OSError, TypeError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        fail(f"cannot read the arrays x and label of {path}: {error}")
    if x.ndim not in (2, 4) or x.shape[1:] not in ((784,), (1, 28, 28)) or label.shape != x.shape[:1] or not len(x):
        fail(f"{path}: x is {x.shape} and label {label.shape}, expected (N, 784) or (N, 1, 28, 28) and (N)")
    if x.dtype.kind != "f" or not ((x >= 0) & (x <= 1)).all():
        fail(f"{path}: x is {x.dtype} from {x.min()} to {x.max()}, expected floating-point numbers in [0, 1]")
    if label.dtype.kind not in "iuf" or not numpy.isin(label, range(CLASSES)).all():
        fail(f"{path}: label holds something other than the whole numbers 0 to {CLASSES - 1}")
    return torch.from_numpy(x.reshape(-1, 784).astype("float32")), torch.from_numpy(label.astype("int64"))


def judge(args):
    model = load_into(Classifier(), read_state(args.classifier), args.classifier, "the classifier")
    images, labels = read_samples(args.samples)
    right = classify(model, images) == labels
    share = {"samples": len(right), "share": right.double().mean().item()}
    by_label = {
        label: {"samples": int((labels == label).sum()), "share": right[labels == label].double().mean().item()}
        for label in sorted(set(labels.tolist()))
    }
    if args.json:
        print(json.dumps({**share, "by_label": by_label}))
        return
    print(f"{100 * share['share']:.2f} % of {share['samples']} samples are classified as their label")
    for label, part in by_label.items():
        print(f"label {label}: {100 * part['share']:.2f} % of {part['samples']}")


@torch.no_grad()
def look(args):
    model = load_into(Classifier(), read_state(args.classifier), args.classifier, "the classifier")
    if args.samples.endswith(".npy"):
        try:
            images = torch.from_numpy(numpy.load(args.samples, allow_pickle=False).reshape(-1, 784).astype("float32"))
        except (OSError, ValueError, EOFError) as error:
            fail(f"cannot read the pictures of {args.samples}: {error}")
    else:
        images, labels = read_labelled(args.samples, "t10k")
        print(f"accuracy {(classify(model, images) == labels).double().mean().item():.4f}")
    p = torch.cat([F.softmax(model(x), dim=1) for x in images.split(1000)])
    most, found = p.max(dim=1)
    # The entropy of the classes found: log 10 = 2.303 nats where all are equally frequent.
    share = torch.bincount(found, minlength=CLASSES).double() / len(found)
    entropy = -torch.special.xlogy(share, share).sum().item()
    pixels = images.view(-1, 28, 28)
    steps = (pixels[:, 1:, :-1] - pixels[:, :-1, :-1]).abs() + (pixels[:, :-1, 1:] - pixels[:, :-1, :-1]).abs()
    grey = ((images > 0.1) & (images < 0.9)).sum().item() / (images > 0.1).sum().clamp(min=1).item()
    print(
        f"{len(images)} pictures: probability of the likeliest digit {most.mean().item():.4f}, above 0.95 of "
        f"{100 * (most > 0.95).double().mean().item():.1f} %, above 0.99 of "
        f"{100 * (most > 0.99).double().mean().item():.1f} %; entropy of the digits found {entropy:.3f}, as of "
        f"{math.exp(entropy):.2f} equally frequent ones"
    )
    print(f"step between neighbours {steps.mean().item():.4f}; of the ink {100 * grey:.1f} % is grey (0.1 to 0.9)")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("train", help="train with Adam, one cycle of the learning rate")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("out", metavar="OUT.safetensors")
    command.add_argument("--epochs", type=positive, default=5, help="passes over the data (5)")
    command.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")
    command.add_argument("--batch-size", type=positive, default=128, help="images a batch (128)")
    command.set_defaults(run=train)

    command = commands.add_parser("judge", help="the share of samples classified as their label")
    command.add_argument("classifier", metavar="CLASSIFIER.safetensors")
    command.add_argument("samples", metavar="SAMPLES.npz")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=judge)

    command = commands.add_parser("look", help="how sure the classifier is of samples without labels")
    command.add_argument("classifier", metavar="CLASSIFIER.safetensors")
    command.add_argument("samples", metavar="SAMPLES.npy|DATA_DIR")
    command.set_defaults(run=look)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.run(arguments)
