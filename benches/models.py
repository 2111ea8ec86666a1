#!/usr/bin/env python3
"""A training step of each model beside PyTorch's, in turns: on the CPU with as many threads for both, or on a GPU.

    python3 benches/models.py DATA [PRESET ...] [--device gpu] [--rounds N] [--threads N] [--elbo PROGRAM]

DATA holds MNIST; without names it is every preset of MNIST's pictures that needs no other run's file. A line a preset:
the median milliseconds of a step of elbo (`elbo bench --only steps`, at the preset's batch) and of PyTorch in eager
mode (scripts/pytorch_steps.py, on what `elbo parity` wrote), and the median, least and greatest of the rounds' ratios
PyTorch / elbo. A round runs both, so a change of the machine's speed touches both. With `--device gpu` PyTorch computes
on CUDA. Exit code 1: a program failed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import torch
from pytorch_steps import measure


def output(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr.strip() or done.stdout.strip(), file=sys.stderr)
        sys.exit(1)
    return done.stdout


def of_mnist(elbo):
    """Presets whose data are MNIST's pictures and whose settings name no other run."""
    presets = [preset["name"] for model in json.loads(output(elbo, "models", "--json")) for preset in model["presets"]]
    pictures = (name for name in presets if name.startswith("mnist-"))
    return [name for name in pictures if not {"features", "vq"} & set(settings(elbo, name))]


def settings(elbo, preset):
    return json.loads(output(elbo, "models", "show", preset, "--json"))["settings"]


def exchange(arguments, preset, folder):
    """The steps that both take, drawn by elbo."""
    command = ["parity", preset, "--steps", 4, "--device", "cpu", "--python", sys.executable]
    output(arguments.elbo, *command, "--out", folder)


def ours(arguments, preset, batch, folder):
    """Milliseconds a step."""
    threads = ["--threads", arguments.threads] if arguments.device == "cpu" else []
    what = ["--only", "steps", "--model", preset, "--batch", batch, "--device", arguments.device, *threads]
    how = ["--data", arguments.data, "--windows", 3, "--seconds", arguments.seconds, "--out", folder, "--json"]
    rows = json.loads(output(arguments.elbo, "bench", *what, *how))["rows"]
    return 1e3 * next(row["median"] for row in rows if row["metric"] == "step")


def theirs(arguments, folder):
    """Milliseconds a step."""
    device = "cpu" if arguments.device == "cpu" else "cuda"
    return statistics.median(measure(folder, device, arguments.seconds, 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("presets", metavar="PRESET", nargs="*")
    parser.add_argument("--device", default="cpu", help="elbo's device; of all but cpu PyTorch's is cuda (cpu)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of both (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a window, three a run (1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both on the CPU (one a core)")
    parser.add_argument("--elbo", default="target/release/elbo", help="the program (target/release/elbo)")
    arguments = parser.parse_args()
    elbo, presets = arguments.elbo, arguments.presets or of_mnist(arguments.elbo)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as work:
        folders = [Path(work, preset) for preset in presets]
        with ThreadPoolExecutor(max(1, arguments.threads // 2)) as pool:
            list(pool.map(lambda preset, folder: exchange(arguments, preset, folder), presets, folders))
        print("| preset | batch | elbo | PyTorch | ratio | least and greatest |\n|---|---|---|---|---|---|")
        for preset, folder in zip(presets, folders):
            batch, pairs = settings(elbo, preset)["batch_size"], []
            for number in range(arguments.rounds):
                mine = ours(arguments, preset, batch, Path(work, f"{preset}-{number}"))
                pairs.append((mine, theirs(arguments, folder)))
            mine, other = (statistics.median(times) for times in zip(*pairs))
            ratios = [other / mine for mine, other in pairs]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            ratio = statistics.median(ratios)
            print(f"| `{preset}` | {batch} | {mine:.3g} ms | {other:.3g} ms | {ratio:.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
