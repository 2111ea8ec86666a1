#!/usr/bin/env python3
"""The peers on PyTorch: the models, initial parameters, batches and windows of `elbo bench`, to its schema.

    elbo bench inputs inputs.safetensors
    python3 benches/libtorch/peer.py --inputs inputs.safetensors --out pytorch.csv --device cpu --threads 2
    python3 benches/libtorch/peer.py --inputs inputs.safetensors --out cuda.csv --device cuda --mode eager,graph,compile

Modes: `eager` is what a plain training loop does; `compile` is torch.compile of forward and loss, with fused Adam;
`graph` (CUDA) is a whole step in a CUDA graph, with fused Adam. Data are on the device in float32, losses add up there,
nothing is read back within a window, TF32 is off. Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peer"))

from measuring import JUDGED, Results, choices, fail, measure, parser, peak_memory, processor, spread

try:
    import torch
    import torch.nn.functional as F
    from safetensors import safe_open
    from torch import nn
except ImportError as error:
    fail(f"cannot import '{error.name}': this needs PyTorch and safetensors (python3 -m pip install torch safetensors)")

# Adam's betas, weight decay, usual batch; learning rate 1e-3, epsilon 1e-8.
MODELS = {
    "mnist-mlp": ((0.9, 0.999), 0.0, 128),
    "mnist-2d": ((0.9, 0.99), 1e-5, 64),
    "mnist-conv": ((0.9, 0.999), 0.0, 128),
}
MODES = ("eager", "graph", "compile")
PARTS = ("steps", "operations", "start")
# Steps after the first before the memory is read.
SETTLING = 4
# Epochs in which the loss of --to-loss must be reached.
MOST_EPOCHS = 30


# ---- Models


class Mlp(nn.Module):
    """784-H-L with two heads and ReLU; the decoder returns logits."""

    def __init__(self, hidden, latent):
        super().__init__()
        self.fc1 = nn.Linear(784, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, 784)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return self.fc4(F.relu(self.fc3(z)))


class Conv(nn.Module):
    """28 -> 13 -> 5 -> 1 and back by 3, 6, 13, with batch norm and ReLU between; means and log variances side by side."""

    def __init__(self):
        super().__init__()

        def block(layer):
            return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())

        down, up = nn.Conv2d, nn.ConvTranspose2d
        self.encoder = nn.Sequential(
            block(down(1, 16, 4, 2)), block(down(16, 32, 4, 2)), nn.Sequential(down(32, 64, 4, 2))
        )
        self.decoder = nn.Sequential(
            block(up(32, 256, 3, 2)), block(up(256, 128, 4, 1)), block(up(128, 64, 3, 2)), nn.Sequential(up(64, 1, 4, 2))
        )

    def encode(self, x):
        return self.encoder(x.view(-1, 1, 28, 28)).flatten(1).chunk(2, dim=1)

    def decode(self, z):
        return self.decoder(z.view(-1, 32, 1, 1)).flatten(1)


def negative_elbo(model, x):
    """Of pictures x (B,784), summed: cross-entropy of the logits and KL, with a sampled z."""
    mean, logvar = model.encode(x)
    z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    recon = F.binary_cross_entropy_with_logits(model.decode(z), x, reduction="sum")
    return recon - 0.5 * torch.sum(1 + logvar - mean.square() - logvar.exp())


# ---- Training


class Inputs:
    """What `elbo bench inputs` wrote: pictures, orders, initial parameters."""

    def __init__(self, path, device):
        self.path, self.device = path, device
        try:
            with safe_open(path, framework="pt") as file:
                self.data = file.metadata()["data"]
                pictures = {name: file.get_tensor(name).to(device).float() / 255 for name in ("train", "test")}
                self.order = file.get_tensor("order").to(device)
        except Exception as error:  # safetensors raises its own error type beside OSError
            fail(f"cannot read {path} ({error}): write it with `elbo bench inputs {path}`")
        self.train, self.test = pictures["train"], pictures["test"]

    def model(self, name):
        with safe_open(self.path, framework="pt") as file:
            names = [key for key in file.keys() if key.startswith(f"{name}/")]
            initial = {key.removeprefix(f"{name}/"): file.get_tensor(key) for key in names}
        if name == "mnist-conv":
            model = Conv()
        else:
            # (H,Z)
            model = Mlp(*initial["fc3.weight"].shape)
        own = model.state_dict()
        missing = [key for key, _ in model.named_parameters() if key not in initial]
        if missing:
            fail(f"{self.path} lacks {missing} of {name}")
        model.load_state_dict(own | initial)
        return model.to(self.device)


class Training:
    """A model with its optimiser, a batch after the other in the order of the inputs."""

    def __init__(self, inputs, name, batch, mode):
        torch.manual_seed(1)
        count = len(inputs.train)
        if batch > count:
            fail(f"a batch of {batch} cannot be taken from {count} pictures")
        self.inputs, self.batch, self.batches, self.taken = inputs, batch, count // batch, 0
        self.model = inputs.model(name)
        betas, decay, _ = MODELS[name]
        own = {"eager": {}, "compile": {"fused": True}, "graph": {"fused": True, "capturable": True}}[mode]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, betas=betas, weight_decay=decay, **own)
        self.total = torch.zeros((), device=inputs.device)
        self.loss_of = negative_elbo
        if mode == "compile":
            self.loss_of = torch.compile(negative_elbo)
        self.graph = self.capture() if mode == "graph" else None

    def step(self, x):
        self.optimizer.zero_grad()
        loss = self.loss_of(self.model, x)
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()

    def epoch(self):
        return self.inputs.order[self.taken // self.batches % len(self.inputs.order)]

    def capture(self):
        """A whole step: the place in the order is a tensor too, and moves on with each replay."""
        order = self.inputs.order[:, : self.batches * self.batch].flatten()
        along = torch.arange(self.batch, device=order.device)
        self.place = torch.zeros((), dtype=torch.long, device=order.device)

        def step():
            self.step(self.inputs.train[order[self.place + along]])
            self.place.add_(self.batch).remainder_(len(order))

        # What is captured must have run before, on a stream of its own.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph

    def take(self, steps):
        """Takes the steps and waits for them."""
        for _ in range(steps):
            if self.graph is not None:
                self.graph.replay()
            else:
                start = self.taken % self.batches * self.batch
                self.step(self.inputs.train[self.epoch()[start : start + self.batch]])
            self.taken += 1
        wait(self.inputs.device)

    def loss(self, steps):
        """Mean of more steps, in nats a picture."""
        steps = min(steps, self.batches)
        self.total.zero_()
        self.take(steps)
        return self.total.item() / (steps * self.batch)

    @torch.no_grad()
    def test_loss(self):
        self.model.eval()
        total = sum(negative_elbo(self.model, x) for x in self.inputs.test.split(self.batch))
        self.model.train()
        return total.item() / len(self.inputs.test)


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


# ---- Operations


def operations(device):
    """Name and function of what `elbo bench` times too."""

    def random(*shape):
        return torch.rand(shape, device=device)

    def product(m, k, n):
        a, b = random(m, k), random(k, n)
        return lambda: a @ b

    def convolution(b, h, i, o, k, stride, padding):
        x, w = random(b, i, h, h), random(o, i, k, k)
        return lambda: F.conv2d(x, w, stride=stride, padding=padding)

    def total(n):
        x = random(n)
        return lambda: x.sum()

    def statistics_of_columns(rows, columns):
        x = random(rows, columns)
        return lambda: torch.var_mean(x, dim=0, correction=0)

    def update(n):
        p = random(n).requires_grad_()
        p.grad = random(n)
        optimizer = torch.optim.Adam([p], lr=1e-3, fused=True)
        return optimizer.step

    sizes = [
        ("matmul", product, [(128, 784, 400), (4096, 784, 400), (2048, 2048, 2048)]),
        (
            "conv2d",
            convolution,
            [(128, 28, 1, 16, 4, 2, 0), (128, 28, 8, 8, 3, 1, 1), (128, 14, 32, 32, 3, 1, 1), (128, 28, 64, 64, 3, 1, 1)],
        ),
        ("reduce", total, [(1 << 25,)]),
        ("column_moments", statistics_of_columns, [(401_408, 64)]),
        ("adam", update, [(1 << 22,)]),
    ]
    for name, make, all_sizes in sizes:
        for size in all_sizes:
            yield f"{name} {','.join(map(str, size))}", make(*size)


# ---- Measuring


def machine(device):
    """The device, its driver or processor, threads."""
    if device == "cpu":
        return "cpu", processor(), torch.get_num_threads()
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True).stdout.split("\n")[0].strip()
    return torch.cuda.get_device_name(), driver, ""


def starts(args, name, mode):
    """Seconds from the start of a process to its first finished step, and its most memory; the first start is not counted."""
    batch = MODELS[name][2]
    command = [
        sys.executable, __file__, "--first-step", "--inputs", args.inputs, "--out", args.out, "--device", args.device,
        "--model", name, "--batch", str(batch), "--mode", mode,
    ]
    if args.threads:
        command += ["--threads", str(args.threads)]
    seconds, memory = [], []
    for _ in range(1 + args.windows):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            first = child.stdout.readline()
            seconds.append(time.perf_counter() - start)
            peak = child.stdout.readline().strip()
        if first != "step\n" or child.returncode != 0:
            fail(f"the process whose start is timed took no step (exit code {child.returncode})")
        if peak:
            memory.append(float(peak))
    return batch, spread(seconds[1:]), spread(memory[1:]) if memory else None


def first_step(args):
    inputs = Inputs(args.inputs, args.device)
    training = Training(inputs, args.model[0], args.batch[0], args.mode[0])
    training.take(1)
    print("step", flush=True)
    training.take(SETTLING)
    print(peak_memory() or "", flush=True)


def run(args):
    inputs = Inputs(args.inputs, args.device)
    results = Results(args.out, inputs.data, torch.__version__, *machine(args.device))
    for mode in args.mode:
        peer = f"pytorch-{mode}"
        if "steps" in args.only:
            for name in args.model:
                for batch in args.batch:
                    training = Training(inputs, name, batch, mode)
                    results.add(peer, name, batch, "step", measure(training.take, args.windows, args.seconds))
                    results.add(peer, name, batch, "loss", spread([training.loss(JUDGED)]))
        if "operations" in args.only and mode == "eager":
            for name, function in operations(args.device):

                def take(runs, function=function):
                    with torch.no_grad():
                        for _ in range(runs):
                            function()
                    wait(args.device)

                results.add(peer, name, "", "operation", measure(take, args.windows, args.seconds))
        if "start" in args.only:
            for name in args.model:
                batch, seconds, memory = starts(args, name, mode)
                results.add(peer, name, batch, "start_warm", seconds)
                if memory:
                    results.add(peer, name, batch, "peak_rss", memory)
        if args.to_loss is not None:
            to_loss(args, inputs, results, mode)


def to_loss(args, inputs, results, mode):
    training = Training(inputs, "mnist-mlp", 128, mode)
    start = time.perf_counter()
    for epoch in range(1, MOST_EPOCHS + 1):
        # Full batches; the shorter last one, less than a thousandth of the epoch, is left out.
        training.take(training.batches)
        loss = training.test_loss()
        if loss <= args.to_loss:
            note = f"test loss {loss:.2f} <= {args.to_loss:g} after {epoch} epochs"
            seconds = spread([time.perf_counter() - start])
            results.add(f"pytorch-{mode}", "mnist-mlp", 128, "time_to_loss", seconds, note)
            return
    fail(f"the test loss is {loss:.2f} after {MOST_EPOCHS} epochs and has not reached {args.to_loss:g}")


# ---- Arguments


def parse_arguments():
    arguments = parser(__doc__, MODELS)
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    modes = "eager, graph (CUDA), compile [eager]"
    arguments.add_argument("--mode", type=choices(MODES), default=["eager"], help=modes)
    arguments.add_argument("--only", type=choices(PARTS), default=list(PARTS), help="steps, operations, start [all]")
    arguments.add_argument("--to-loss", type=float, metavar="NATS", help="time mnist-mlp until its test loss is this")
    arguments.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    return arguments.parse_args()


def main():
    args = parse_arguments()
    if args.device == "cuda" and not torch.cuda.is_available():
        fail("PyTorch finds no CUDA device")
    if "graph" in args.mode and args.device != "cuda":
        fail("a CUDA graph needs --device cuda")
    # cuDNN's default is TF32.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if args.threads:
        torch.set_num_threads(args.threads)
    first_step(args) if args.first_step else run(args)


if __name__ == "__main__":
    main()
