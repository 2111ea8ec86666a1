#!/usr/bin/env python3
"""How long PyTorch takes for the training steps that `elbo parity` wrote down, in eager mode.

    elbo parity MODEL --out FOLDER
    python3 scripts/pytorch_steps.py FOLDER [--device cuda] [--seconds S] [--windows N] [--threads N]

A step is what a plain training loop does: random numbers of the step's shapes, loss, backward,
Adam, the loss added up. Examples lie in the device's memory as float32, and the batches of FOLDER
come in turn. TF32 is off. Printed is one line: the median of the windows' milliseconds a step, and
the least and the most. `benches/models.py` sets it beside elbo's. Exit code 3: PyTorch or
safetensors is not installed.
"""

import argparse
import statistics
import time
from pathlib import Path

from pytorch_parity import Exchange

import torch


def step(exchange, batch):
    x, label, noise, lr, knobs = batch
    # Normal or uniform numbers as in the exchange: those outside [0, 1] are normal.
    drawn = [torch.randn_like(n) if is_normal else torch.rand_like(n) for n, is_normal in noise]
    loss, _ = exchange.backward(x, label, drawn, lr, knobs)
    exchange.optimizer.step()
    return loss.detach()


def measure(folder, device, seconds, windows):
    """Milliseconds a step of each window, after one that warms up. The host waits for a GPU after `at_once` steps."""
    torch.set_default_device(device)
    is_gpu = torch.device(device).type == "cuda"
    at_once = 10 if is_gpu else 1
    exchange = Exchange(folder, torch.float32)
    batches = []
    for number in range(exchange.steps):
        x, label, noise, lr, knobs = exchange.batch(number)
        batches.append((x, label, [(n, bool((n < 0).any() or (n > 1).any())) for n in noise], lr, knobs))
    total, number, times = torch.zeros(()), 0, []
    for _ in range(windows + 1):
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for _ in range(at_once):
                total += step(exchange, batches[number % len(batches)])
                number, steps = number + 1, steps + 1
            if is_gpu:
                torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start) / steps)
    return times[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--device", default="cpu", help="where PyTorch computes, cuda for example (cpu)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a window (1)")
    parser.add_argument("--windows", type=int, default=3, help="windows (3)")
    parser.add_argument("--threads", type=int, help="threads (PyTorch's choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    times = measure(arguments.folder, arguments.device, arguments.seconds, arguments.windows)
    print(f"{statistics.median(times):.3f} ms a step, {min(times):.3f} to {max(times):.3f}")


if __name__ == "__main__":
    main()
