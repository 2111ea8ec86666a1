#!/usr/bin/env python3
"""The peer on JAX: the MLPs, initial parameters, batches and windows of `elbo bench`, to its schema.

    elbo bench inputs inputs.safetensors
    python3 benches/jax/peer.py --inputs inputs.safetensors --out jax.csv --threads 2

An epoch is one jitted scan, so XLA sees all of it: data are on the device in float32, products in the highest
precision, the buffers of the parameters are given back, and nothing returns to Python between two steps. A run of a
window is an epoch of full batches; its seconds are divided by its steps. There is no convolutional model here: in a
scan on the CPU, XLA's convolutions take minutes. Exit code 2: something is missing or wrong, and the message says what.
"""

import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peer"))

from measuring import JUDGED, Results, fail, measure, parser, processor, spread

LAYERS = ("fc1", "fc21", "fc22", "fc3", "fc4")
# Adam's betas, weight decay; learning rate 1e-3, epsilon 1e-8.
MODELS = {"mnist-mlp": ((0.9, 0.999), 0.0), "mnist-2d": ((0.9, 0.99), 1e-5)}


def inputs(path):
    """Name of the data, pictures (N,784) in [0,1], orders (epochs,N), and all initial parameters by MODEL/NAME."""
    try:
        with safe_open(path, framework="np") as file:
            data = file.metadata()["data"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        pictures, order = tensors.pop("train"), tensors.pop("order")
    except Exception as error:  # safetensors raises its own error type beside OSError
        fail(f"cannot read {path} ({error}): write it with `elbo bench inputs {path}`")
    pictures = jnp.asarray(pictures, jnp.float32) / 255
    return data, pictures.reshape(len(pictures), -1), jnp.asarray(order), tensors


def negative_elbo(p, x, key):
    """Of pictures x (B,784), summed: cross-entropy of the logits and KL, with a sampled z."""

    def linear(name, x):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    h = jax.nn.relu(linear("fc1", x))
    mean, logvar = linear("fc21", h), linear("fc22", h)
    z = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
    y = linear("fc4", jax.nn.relu(linear("fc3", z)))
    recon = jnp.sum(jnp.maximum(y, 0) - y * x + jnp.log1p(jnp.exp(-jnp.abs(y))))
    return recon - 0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar))


def adam(p, state, gradients, betas, decay):
    """Kingma and Ba, algorithm 1; `decay` is added to the gradient, as in torch.optim.Adam."""
    t, m, v = state
    t = t + 1
    g = jax.tree.map(lambda g, p: g + decay * p, gradients, p)
    m = jax.tree.map(lambda m, g: betas[0] * m + (1 - betas[0]) * g, m, g)
    v = jax.tree.map(lambda v, g: betas[1] * v + (1 - betas[1]) * g * g, v, g)
    a, b = 1 - betas[0] ** t, 1 - betas[1] ** t
    p = jax.tree.map(lambda p, m, v: p - 1e-3 / a * m / (jnp.sqrt(v / b) + 1e-8), p, m, v)
    return p, (t, m, v)


class Training:
    """A model with its optimiser, an epoch after the other in the orders of the inputs."""

    def __init__(self, pictures, order, initial, model, batch):
        self.steps = len(pictures) // batch
        if self.steps == 0:
            fail(f"a batch of {batch} cannot be taken from {len(pictures)} pictures")
        betas, decay = MODELS[model]
        names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
        missing = [name for name in names if f"{model}/{name}" not in initial]
        if missing:
            fail(f"the inputs lack {missing} of {model}")
        p = {name: jnp.asarray(initial[f"{model}/{name}"]) for name in names}
        zeros = jax.tree.map(jnp.zeros_like, p)
        self.carry = (p, (jnp.float32(0), zeros, jax.tree.map(jnp.zeros_like, p)), jax.random.key(1))
        self.batches = order[:, : self.steps * batch].reshape(len(order), self.steps, batch)
        self.pictures, self.taken = pictures, 0

        # The buffers of the carry are taken over by what is computed from them.
        @partial(jax.jit, donate_argnums=0)
        def epoch(carry, pictures, batches):
            def step(carry, batch):
                p, state, key = carry
                key, own = jax.random.split(key)
                loss, gradients = jax.value_and_grad(negative_elbo)(p, pictures[batch], own)
                return (*adam(p, state, gradients, betas, decay), key), loss / len(batch)

            return jax.lax.scan(step, carry, batches)

        self.epoch = epoch

    def take(self, epochs):
        """Takes the epochs and waits for them."""
        for _ in range(epochs):
            self.carry, losses = self.epoch(self.carry, self.pictures, self.batches[self.taken % len(self.batches)])
            self.taken += 1
        self.losses = losses.block_until_ready()


def threads():
    """As many as the processors that this process may use: so many XLA takes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def run(args):
    data, pictures, order, initial = inputs(args.inputs)
    device = jax.devices()[0]
    is_cpu = device.platform == "cpu"
    machine = ("cpu", processor(), threads()) if is_cpu else (device.device_kind, "", "")
    results = Results(args.out, data, jax.__version__, *machine)
    for model in args.model:
        for batch in args.batch:
            training = Training(pictures, order, initial, model, batch)
            values = measure(training.take, args.windows, args.seconds)
            results.add("jax", model, batch, "step", [*(value / training.steps for value in values[:3]), values[3]])
            results.add("jax", model, batch, "loss", spread([float(training.losses[-JUDGED:].mean())]))


if __name__ == "__main__":
    arguments = parser(__doc__, MODELS).parse_args()
    if arguments.threads and arguments.threads != threads():
        # XLA has no other way to be told, and asks when it is imported.
        if arguments.threads > threads() or not hasattr(os, "sched_setaffinity"):
            fail(f"JAX cannot have {arguments.threads} threads here: leave --threads out, and it has {threads()}")
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    try:
        import jax
        import jax.numpy as jnp
        from safetensors import safe_open
    except ImportError as error:
        fail(f"cannot import '{error.name}': this needs JAX and safetensors (python3 -m pip install jax safetensors)")
    jax.config.update("jax_default_matmul_precision", "highest")
    run(arguments)
