#!/usr/bin/env python3
"""The denoising VAE (Im et al. 2015) on the network of pytorch/examples, 784-400-20, in real PyTorch.

    python3 scripts/pytorch_denoising.py train DATA_DIR OUT.safetensors [--noise NOISE] [--epochs N] [--seed N]
    python3 scripts/pytorch_denoising.py psnr MODEL.safetensors DATA_DIR [--noise NOISE] [--seed N]

`train` measures the loss PyTorch itself reaches: the encoder sees a noisy picture, drawn anew at
each step, and the decoder is to give the clean one. `psnr` tells how near noisy and denoised test
pictures are to the clean ones. `pytorch_vae.py check` reads the files, which have that script's
names and shapes. NOISE is one of

    gaussian:S      clip(x + S N(0, 1), 0, 1); gaussian:0.5 is the default
    salt_pepper:P   each pixel becomes 0 with probability P/2, 1 with P/2
    mask:P          each pixel becomes 0 with probability P

DATA_DIR holds the four MNIST files in IDX form, gzip-compressed or not. Losses are in nats, summed
over dimensions and averaged over data; PSNR is in dB.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import math

from pytorch_vae import VAE, fit, load_into, loss_sums, mean_losses, positive, read_images, read_state, save

import torch
import torch.nn.functional as F


def gaussian(x, deviation):
    return (x + deviation * torch.randn_like(x)).clamp(0, 1)


def salt_pepper(x, probability):
    u = torch.rand_like(x)
    pepper, salt = u < probability / 2, (u >= probability / 2) & (u < probability)
    return x.masked_fill(pepper, 0).masked_fill(salt, 1)


def mask(x, probability):
    return x.masked_fill(torch.rand_like(x) < probability, 0)


NOISES = {"gaussian": gaussian, "salt_pepper": salt_pepper, "mask": mask}


def noise(text):
    """NAME:NUMBER as a function from pictures in [0, 1] to noisy ones in [0, 1], drawn from PyTorch's generator."""
    name, _, number = text.partition(":")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if name not in NOISES or not 0 < amount <= (math.inf if name == "gaussian" else 1) or math.isinf(amount):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not gaussian:S with S above 0, nor salt_pepper:P or mask:P with P above 0 and at most 1"
        )
    return lambda x: NOISES[name](x, amount)


def train(args):
    images = read_images(args.data, "train-images-idx3-ubyte")
    test_images = read_images(args.data, "t10k-images-idx3-ubyte")
    torch.manual_seed(args.seed)
    model = VAE()

    def terms(x):
        logits, mean, logvar = model(args.noise(x))
        return loss_sums(logits, x, mean, logvar)

    fit(
        torch.optim.Adam(model.parameters(), lr=1e-3),
        lambda index: terms(images[index]),
        len(images),
        lambda: mean_losses(lambda index: terms(test_images[index]), len(test_images), args.batch_size),
        args,
    )
    save(model, args.out)


@torch.no_grad()
def denoise(model, noisy):
    """noisy (N, 784) -> the decoder's means (N, 784) for z = the mean of q(z|noisy)."""
    mean = model.fc21(F.relu(model.fc1(noisy)))
    return torch.sigmoid(model.fc4(F.relu(model.fc3(mean))))


def mean_psnr(a, b):
    """10 log10(1 / MSE) of pictures (N, 784) in [0, 1], averaged over pairs; infinite where a pair is equal."""
    mse = (a.double() - b.double()).square().mean(dim=1)
    return (-10 * mse.log10()).mean().item()


def mean_ssim(a, b):
    """Structural similarity (Wang et al. 2004) of pictures (N, 784) in [0, 1], averaged over positions and pairs.

    Gaussian window 11 x 11 with deviation 1.5, K1 = 0.01, K2 = 0.03; only where the window lies wholly inside: 18 x 18.
    """
    distance = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-distance.square() / (2 * 1.5**2))
    line /= line.sum()

    def local(x):  # the window's mean around each position: (N, 1, 28, 28) -> (N, 1, 18, 18)
        return F.conv2d(F.conv2d(x, line.view(1, 1, 11, 1)), line.view(1, 1, 1, 11))

    c1, c2 = 0.01**2, 0.03**2
    total = 0.0
    for x, y in zip(a.split(1000), b.split(1000)):
        x, y = x.double().view(-1, 1, 28, 28), y.double().view(-1, 1, 28, 28)
        mx, my = local(x), local(y)
        vx, vy, vxy = local(x * x) - mx * mx, local(y * y) - my * my, local(x * y) - mx * my
        index = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
        total += index.mean(dim=(1, 2, 3)).sum().item()
    return total / len(a)


def psnr(args):
    model = load_into(VAE(), read_state(args.model), args.model, "784-400-20")
    clean = read_images(args.data, "t10k-images-idx3-ubyte")
    torch.manual_seed(args.seed)
    noisy = args.noise(clean)
    for name, pictures in (("noisy", noisy), ("denoised", denoise(model, noisy))):
        print(f"{name} psnr {mean_psnr(pictures, clean):.4f} ssim {mean_ssim(pictures, clean):.4f}")


def parse_arguments():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--noise", type=noise, default="gaussian:0.5", help="what the encoder sees (gaussian:0.5)")
    common.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("train", parents=[common], help="train with Adam 1e-3, sum loss")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("out", metavar="OUT.safetensors")
    command.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    command.add_argument("--batch-size", type=positive, default=128, help="images a batch (128)")
    command.set_defaults(run=train)

    command = commands.add_parser("psnr", parents=[common], help="PSNR and SSIM of the test pictures")
    command.add_argument("model", metavar="MODEL.safetensors")
    command.add_argument("data", metavar="DATA_DIR")
    command.set_defaults(run=psnr)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.run(arguments)
