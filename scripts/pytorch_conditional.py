#!/usr/bin/env python3
"""The conditional VAE (Sohn et al. 2015) in real PyTorch: the other side of the checkpoint exchange.

    python3 scripts/pytorch_conditional.py train DATA_DIR OUT.safetensors [--form FORM] [--epochs N] [--seed N]
    python3 scripts/pytorch_conditional.py check MODEL.safetensors
    python3 scripts/pytorch_conditional.py sample MODEL.safetensors OUT.npz [--count N] [--seed N]

`train` measures the loss PyTorch itself reaches, `check` reads a file that elbo wrote, and
`sample` writes pictures of given labels for classifier.py to judge. FORM is mnist-cvae (hidden
layer 400) or mnist-cvae-256 (hidden layers 256 and 128); `check` and `sample` tell it by the names
in the file. DATA_DIR holds the four MNIST files in IDX form, gzip-compressed or not. Losses are in
nats, summed over dimensions and averaged over data.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse

from pytorch_vae import (
    PIXELS, fail, fit, load_into, loss_sums, mean_losses, positive, print_shapes, read_labelled, read_state, save
)

import numpy
import torch
import torch.nn.functional as F
from torch import nn

LATENT = 20
CLASSES = 10


class Conditional(nn.Module):
    """Encoder q(z|x,y) and decoder p(x|z,y); a form defines hidden(x, y), decode(z, y) and the heads fc21 and fc22.

    The label goes into both halves, as ten more inputs that are 0 or 1. The decoder returns logits.
    """

    def forward(self, x, y):
        """x (B, 784), y (B, 10) -> logits (B, 784), mean (B, 20), log variance (B, 20), with z sampled."""
        h = self.hidden(torch.cat([x, y], dim=1))
        mean, logvar = self.fc21(h), self.fc22(h)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.decode(z, y), mean, logvar


class OneLayer(Conditional):
    """794-400-20, 30-400-784: the network of pytorch/examples with the label beside its inputs."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(PIXELS + CLASSES, 400)
        self.fc21 = nn.Linear(400, LATENT)
        self.fc22 = nn.Linear(400, LATENT)
        self.fc3 = nn.Linear(LATENT + CLASSES, 400)
        self.fc4 = nn.Linear(400, PIXELS)

    def hidden(self, xy):
        return F.relu(self.fc1(xy))

    def decode(self, z, y):
        return self.fc4(F.relu(self.fc3(torch.cat([z, y], dim=1))))


class TwoLayers(Conditional):
    """794-256-128-20, 30-128-256-784."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS + CLASSES, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()
        )
        self.fc21 = nn.Linear(128, LATENT)
        self.fc22 = nn.Linear(128, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT + CLASSES, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, PIXELS)
        )

    def hidden(self, xy):
        return self.encoder(xy)

    def decode(self, z, y):
        return self.decoder(torch.cat([z, y], dim=1))


FORMS = {"mnist-cvae": OneLayer, "mnist-cvae-256": TwoLayers}


def one_hot(labels):
    """labels (N) -> float32 (N, 10)."""
    return F.one_hot(labels, CLASSES).float()


def load_model(path):
    """The model with the file's parameters, and its form's name."""
    state = read_state(path)
    form = "mnist-cvae" if "fc1.weight" in state else "mnist-cvae-256"
    return load_into(FORMS[form](), state, path, form), form


def check(args):
    model, form = load_model(args.model)
    print_shapes(model, args.model, form)


def train(args):
    images, labels = read_labelled(args.data, "train")
    test_images, test_labels = read_labelled(args.data, "t10k")
    labels, test_labels = one_hot(labels), one_hot(test_labels)
    torch.manual_seed(args.seed)
    model = FORMS[args.form]()

    def terms(x, y):
        logits, mean, logvar = model(x, y)
        return loss_sums(logits, x, mean, logvar)

    fit(
        torch.optim.Adam(model.parameters(), lr=1e-3),
        lambda index: terms(images[index], labels[index]),
        len(images),
        lambda: mean_losses(
            lambda index: terms(test_images[index], test_labels[index]), len(test_images), args.batch_size
        ),
        args,
    )
    save(model, args.out)


@torch.no_grad()
def sample(args):
    """Writes x (N, 1, 28, 28), the decoder's means for z drawn from N(0, 1), and label (N): 0 to 9 in turn."""
    model, form = load_model(args.model)
    torch.manual_seed(args.seed)
    labels = torch.arange(args.count) % CLASSES
    x = torch.sigmoid(model.decode(torch.randn(args.count, LATENT), one_hot(labels)))
    try:
        with open(args.out, "wb") as file:  # savez would append .npz to a path without it
            numpy.savez(file, x=x.view(-1, 1, 28, 28).numpy(), label=labels.numpy())
    except OSError as error:
        fail(f"cannot write {args.out}: {error}")
    print(f"wrote {args.out}: {args.count} samples of {form}, seed {args.seed}")


def parse_arguments():
    seeded = argparse.ArgumentParser(add_help=False)
    seeded.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("train", parents=[seeded], help="train with Adam 1e-3, sum loss")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("out", metavar="OUT.safetensors")
    command.add_argument("--form", choices=FORMS, default="mnist-cvae", help="the network (mnist-cvae)")
    command.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    command.add_argument("--batch-size", type=positive, default=128, help="images a batch (128)")
    command.set_defaults(run=train)

    command = commands.add_parser("check", help="load a file strictly")
    command.add_argument("model", metavar="MODEL.safetensors")
    command.set_defaults(run=check)

    command = commands.add_parser("sample", parents=[seeded], help="pictures of the labels 0 to 9 in turn")
    command.add_argument("model", metavar="MODEL.safetensors")
    command.add_argument("out", metavar="OUT.npz")
    command.add_argument("--count", type=positive, default=1000, help="pictures (1000)")
    command.set_defaults(run=sample)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.run(arguments)
