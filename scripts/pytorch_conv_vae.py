#!/usr/bin/env python3
"""The convolutional VAE of preset mnist-conv in real PyTorch: the other side of the checkpoint exchange.

    python3 scripts/pytorch_conv_vae.py save OUT.safetensors [--seed N]
    python3 scripts/pytorch_conv_vae.py check MODEL.safetensors [DATA_DIR] [--seed N]
    python3 scripts/pytorch_conv_vae.py train DATA_DIR OUT.safetensors [--epochs N] [--seed N]
    python3 scripts/pytorch_conv_vae.py time DATA_DIR [--threads N] [--windows N] [--steps N]

`save` writes a freshly initialised state_dict for elbo to read, `check` reads a file that elbo
wrote and, given the data, prints its test loss, `train` measures the loss PyTorch itself reaches,
and `time` how long PyTorch takes for a training step. DATA_DIR holds the four MNIST files in IDX
form, gzip-compressed or not. Losses are in nats, summed over dimensions and averaged over data.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import statistics
import time

from pytorch_vae import fail, loss_terms, positive, read_images, save, test_loss

import torch
from safetensors.torch import load_file
from torch import nn

LATENT = 32


class ConvVAE(nn.Module):
    """Encoder 28 -> 13 -> 5 -> 1 with 16, 32, 64 channels, decoder 1 -> 3 -> 6 -> 13 -> 28 with 256, 128, 64, 1.

    Batch norm and ReLU follow every convolution but the last of each half. The encoder's 64 outputs
    are 32 means, then 32 log variances. Initialisation is PyTorch's own.
    """

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            block(nn.Conv2d(1, 16, 4, 2)),
            block(nn.Conv2d(16, 32, 4, 2)),
            nn.Sequential(nn.Conv2d(32, 2 * LATENT, 4, 2)),
        )
        self.decoder = nn.Sequential(
            block(nn.ConvTranspose2d(LATENT, 256, 3, 2)),
            block(nn.ConvTranspose2d(256, 128, 4, 1)),
            block(nn.ConvTranspose2d(128, 64, 3, 2)),
            nn.Sequential(nn.ConvTranspose2d(64, 1, 4, 2)),
        )

    def forward(self, x):
        """x (B, 784) -> logits (B, 784), mean (B, L), log variance (B, L), with z sampled."""
        mean, logvar = self.encoder(x.view(-1, 1, 28, 28)).flatten(1).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.decoder(z.view(-1, LATENT, 1, 1)).flatten(1), mean, logvar


def block(convolution):
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


def load_model(path):
    """The model with the file's parameters and statistics: the same names, shapes and dtypes, nothing ignored."""
    try:
        state = load_file(path)
    except Exception as error:  # safetensors raises its own error type beside OSError
        fail(f"cannot read {path}: {error}")
    model = ConvVAE()
    for name, own in model.state_dict().items():
        found = state.get(name, own)
        # load_state_dict converts dtypes, and takes one element for a number without dimensions.
        if (found.dtype, found.shape) != (own.dtype, own.shape):
            fail(f"{path}: {name} is {described(found)}, expected {described(own)}")
        if not torch.isfinite(found).all():
            fail(f"{path}: {name} holds a NaN or an infinity")
        if name.endswith(("running_var", "num_batches_tracked")) and (found < 0).any():
            fail(f"{path}: {name} is negative")
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        fail(f"{path} does not fit the network of mnist-conv: {error}")
    return model


def described(tensor):
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def evaluate(model, images, batch_size):
    """Mean loss, reconstruction and KL with the running statistics, one sample of z each."""
    model.eval()
    losses = test_loss(model, images, batch_size)
    model.train()
    return losses


def step(model, optimizer, x):
    """One update from the pictures x (B, 784); returns their loss, summed."""
    optimizer.zero_grad()
    recon, kl = loss_terms(model, x)
    loss = recon + kl
    loss.backward()
    optimizer.step()
    return loss.item()


def save_fresh(args):
    torch.manual_seed(args.seed)
    save(ConvVAE(), args.out)
    print(f"wrote {args.out} (seed {args.seed})")


def check(args):
    model = load_model(args.model)
    for name, tensor in model.state_dict().items():
        print(f"{name} {tuple(tensor.shape)}")
    print(f"ok: {args.model} is a state_dict of the network of mnist-conv")
    if args.data is not None:
        images = read_images(args.data, "t10k-images-idx3-ubyte")
        torch.manual_seed(args.seed)
        loss, recon, kl = evaluate(model, images, args.batch_size)
        print(f"test_loss {loss:.4f} recon {recon:.4f} kl {kl:.4f}")


def train(args):
    train_images = read_images(args.data, "train-images-idx3-ubyte")
    test_images = read_images(args.data, "t10k-images-idx3-ubyte")
    torch.manual_seed(args.seed)
    model = ConvVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    count = len(train_images)
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        batches = torch.randperm(count).split(args.batch_size)
        total = sum(step(model, optimizer, train_images[index]) for index in batches)
        seconds = time.perf_counter() - start
        loss, recon, kl = evaluate(model, test_images, args.batch_size)
        print(
            f"epoch {epoch} train_loss {total / count:.4f} test_loss {loss:.4f} "
            f"recon {recon:.4f} kl {kl:.4f} seconds {seconds:.1f}",
            flush=True,
        )
    save(model, args.out)


def measure(args):
    """Windows of whole training steps, the data in memory, after one window that does not count."""
    torch.set_num_threads(args.threads)
    images = read_images(args.data, "train-images-idx3-ubyte")
    torch.manual_seed(args.seed)
    model = ConvVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    milliseconds = []
    for _ in range(1 + args.windows):
        start = time.perf_counter()
        for _ in range(args.steps):
            step(model, optimizer, images[torch.randint(len(images), (args.batch_size,))])
        milliseconds.append((time.perf_counter() - start) / args.steps * 1e3)
    counted = milliseconds[1:]
    print(
        f"{statistics.median(counted):.2f} ms a step (median of {args.windows} windows of {args.steps} steps; "
        f"{min(counted):.2f} to {max(counted):.2f}), batch {args.batch_size}, {args.threads} threads, "
        f"PyTorch {torch.__version__}"
    )


def parse_arguments():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")
    common.add_argument("--batch-size", type=positive, default=128, help="images a batch (128)")

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("save", parents=[common], help="write a fresh state_dict")
    command.add_argument("out", metavar="OUT.safetensors")
    command.set_defaults(run=save_fresh)

    command = commands.add_parser("check", parents=[common], help="load a file strictly; test loss, z sampled")
    command.add_argument("model", metavar="MODEL.safetensors")
    command.add_argument("data", metavar="DATA_DIR", nargs="?")
    command.set_defaults(run=check)

    command = commands.add_parser("train", parents=[common], help="train with Adam, sum loss")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("out", metavar="OUT.safetensors")
    command.add_argument("--epochs", type=positive, default=3, help="passes over the data (3)")
    command.add_argument("--lr", type=float, default=1e-3, help="learning rate (1e-3)")
    command.set_defaults(run=train)

    command = commands.add_parser("time", parents=[common], help="milliseconds a training step")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("--threads", type=positive, default=2, help="PyTorch's threads (2)")
    command.add_argument("--windows", type=positive, default=9, help="windows to take the median of (9)")
    command.add_argument("--steps", type=positive, default=20, help="steps a window (20)")
    command.set_defaults(run=measure)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.run(arguments)
