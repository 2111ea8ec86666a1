#!/usr/bin/env python3
"""The PyTorch side of `elbo parity`: the training steps that elbo wrote down, taken by PyTorch.

    python3 pytorch_parity.py FOLDER [--float64] [--whole]

FOLDER/exchange.safetensors, which `elbo parity` writes, holds the settings, the initial parameters,
and the pictures, labels and random numbers of every step. What PyTorch makes of them goes to
FOLDER/pytorch.safetensors: the loss of every step, norm and some elements of every gradient and
parameter, and after the last step all of them; with --whole all parameters after every step. Layers,
autograd, optimisers and clipping are PyTorch's own, in eager mode on the CPU; nothing is derived by
hand.
Exit code 3: PyTorch or safetensors is not installed.
"""

import argparse
import hashlib
import json
import math
import sys
from pathlib import Path

try:
    import torch
    import torch.nn.functional as F
    from safetensors import safe_open
    from safetensors.torch import save_file
    from torch import nn
    from torch.distributions import Normal
except ImportError as error:
    print(f"cannot import the Python package '{error.name}' ({error})", file=sys.stderr)
    sys.exit(3)

from pytorch_codes import VQVAE, GumbelVAE, PixelCNN
from pytorch_ladder import LadderVAE
from pytorch_network import ACTIVATIONS, sequential
from pytorch_sequences import VRNN, DeepMarkov, terms as sequence_terms
from pytorch_sentence import SentenceVAE
from pytorch_series import SeriesVAE
from pytorch_vae_gan import make as vae_gan

EXCHANGE, RECORDING = "exchange.safetensors", "pytorch.safetensors"


class VAE(nn.Module):
    """The VAE of elbo's settings, under the same parameter names: x (B, C, H, W), (B, F) or (B, I), noise (B, Z).

    With classes it is the conditional VAE: the label, one-hot, stands beside what encoder and decoder
    take; for a listed encoder, which sees pictures, as that many more channels.
    """

    def __init__(self, settings, shape, classes=0):
        super().__init__()
        self.latent, self.head = settings["latent"], settings.get("head", "split")
        pixels, hidden = math.prod(shape), settings["hidden"]
        channels, *places = shape
        activation = ACTIVATIONS[settings["activation"]]
        self.act = activation()
        self.is_listed, self.is_deep = settings.get("encoder") is not None, len(hidden) > 1
        if self.is_listed:
            self.encoder, coded = sequential(settings["encoder"], (channels + classes, *places))
            self.decoder, _ = sequential(settings["decoder"], (self.latent + classes, 1, 1))
            coded = math.prod(coded)
        else:
            coded = hidden[-1]
            if self.is_deep:
                self.encoder = perceptron([pixels + classes, *hidden], activation, ends_with_activation=True)
                self.decoder = perceptron([self.latent + classes, *reversed(hidden), pixels], activation)
            else:
                self.fc1 = nn.Linear(pixels + classes, coded)
                self.fc3, self.fc4 = nn.Linear(self.latent + classes, coded), nn.Linear(coded, pixels)
        if self.head == "split":
            self.fc21, self.fc22 = nn.Linear(coded, self.latent), nn.Linear(coded, self.latent)
        elif self.head == "fused":
            self.fc2 = nn.Linear(coded, 2 * self.latent)
        self.shape = shape
        if settings.get("prior") == "vamp":
            self.pseudo_inputs = nn.Parameter(torch.empty(settings["components"], pixels))

    def log_prior(self, z):
        """log p(z) in nats of each row, (B): the mean of q(z|u) over the pseudo-inputs u (Tomczak & Welling 2018)."""
        mean, logvar = self.encode(torch.sigmoid(self.pseudo_inputs).view(-1, *self.shape), None)
        log_p = Normal(mean, torch.exp(0.5 * logvar)).log_prob(z[:, None]).sum(2)  # (B, K)
        return torch.logsumexp(log_p, 1) - math.log(len(mean))

    def encode(self, x, y):
        if self.is_listed:
            if y is not None:
                x = torch.cat([x, y[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)
            h = self.encoder(x).flatten(1)
        else:
            x = x.flatten(1) if y is None else torch.cat([x.flatten(1), y], dim=1)
            h = self.encoder(x) if self.is_deep else self.act(self.fc1(x))
        if self.head == "split":
            return self.fc21(h), self.fc22(h)
        return (self.fc2(h) if self.head == "fused" else h).chunk(2, dim=1)

    def decode(self, z, y):
        z = z if y is None else torch.cat([z, y], dim=1)
        if self.is_listed:
            return self.decoder(z[:, :, None, None]).flatten(1)
        return self.decoder(z) if self.is_deep else self.fc4(self.act(self.fc3(z)))

    def forward(self, x, y, noise):
        """The decoder's output (B, D), no activation applied; mean and logvar (B, Z). y is (B, K) or None."""
        mean, logvar = self.encode(x, y)
        return self.decode(mean + torch.exp(0.5 * logvar) * noise, y), mean, logvar


class BayesianLinear(nn.Linear):
    """A Gaussian for every weight; forward draws what comes out, each row by itself, from given noise (B, O)."""

    def __init__(self, fan_in, fan_out):
        super().__init__(fan_in, fan_out)
        self.weight_logvar = nn.Parameter(torch.empty(fan_out, fan_in))
        self.bias_logvar = nn.Parameter(torch.empty(fan_out))

    def forward(self, x, noise):
        variance = F.linear(x * x, self.weight_logvar.exp(), self.bias_logvar.exp())
        return super().forward(x) + variance.sqrt() * noise

    def kl(self, sigma):
        """KL(q(w) || N(0, sigma^2)) in nats."""
        prior = torch.distributions.Normal(0, sigma)
        return sum(
            torch.distributions.kl_divergence(torch.distributions.Normal(mean, (0.5 * logvar).exp()), prior).sum()
            for mean, logvar in [(self.weight, self.weight_logvar), (self.bias, self.bias_logvar)]
        )


class BayesianVAE(nn.Module):
    """The VAE with Gaussian weights in the decoder or in both networks: x (B, D), noise in the order of the layers."""

    def __init__(self, settings, shape):
        super().__init__()
        pixels = math.prod(shape)
        hidden, self.latent = settings["hidden"], settings["latent"]
        both = settings["inferred"] == "both"
        self.act = ACTIVATIONS[settings["activation"]]()
        single = len(hidden) == 1
        sizes = [pixels, *hidden, 2 * self.latent]
        names = ["fc1"] if single else [f"encoder_{2 * i}" for i in range(len(hidden))]
        self.order = [self.layers(BayesianLinear if both else nn.Linear, sizes, [*names, "fc2"])]
        sizes = [self.latent, *reversed(hidden), pixels]
        names = ["fc3", "fc4"] if single else [f"decoder_{2 * i}" for i in range(len(hidden) + 1)]
        self.order.append(self.layers(BayesianLinear, sizes, names))

    def layers(self, kind, sizes, names):
        made = [kind(fan_in, fan_out) for fan_in, fan_out in zip(sizes, sizes[1:])]
        for name, layer in zip(names, made):
            if "_" in name:
                stack, index = name.split("_")
                if not hasattr(self, stack):
                    self.add_module(stack, nn.Module())
                getattr(self, stack).add_module(index, layer)
            else:
                self.add_module(name, layer)
        return made

    def through(self, layers, x, noise):
        for i, layer in enumerate(layers):
            x = self.act(x) if i else x
            x = layer(x, next(noise)) if isinstance(layer, BayesianLinear) else layer(x)
        return x

    def forward(self, x, noise):
        noise = iter(noise)
        mean, logvar = self.through(self.order[0], x, noise).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * logvar) * next(noise)
        return self.through(self.order[1], z, noise), mean, logvar

    def weight_kl(self, sigma):
        return sum(m.kl(sigma) for m in self.modules() if isinstance(m, BayesianLinear))


class LatentClassifier(VAE):
    """The VAE with a classifier on z."""

    def __init__(self, settings, shape, classes):
        super().__init__(settings, shape)
        sizes = [self.latent, *settings["classifier"], classes]
        self.classifier = perceptron(sizes, ACTIVATIONS[settings["activation"]])


class M2(VAE):
    """The conditional VAE with a classifier on what it models: pictures, or latents of a VAE that nothing trains."""

    def __init__(self, settings, shape, classes):
        hidden = settings["feature_hidden"]
        modelled = (1, 1, settings["feature_latent"]) if hidden else shape
        super().__init__(settings, modelled, classes)
        sizes = [math.prod(modelled), *settings["classifier"], classes]
        self.classifier = perceptron(sizes, ACTIVATIONS[settings["activation"]])
        self.features = None
        if hidden:
            own = {"hidden": hidden, "latent": sizes[0], "activation": settings["feature_activation"], "head": "split"}
            self.features = VAE(own, shape).requires_grad_(False)


def perceptron(sizes, activation, ends_with_activation=False):
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*(layers if ends_with_activation else layers[:-1]))


def reconstruction(settings, y, x):
    """-log p(x|z) in nats of each picture, (B), for decoder outputs y and pictures x, both (B, D)."""
    # A model of users' items calls it the likelihood.
    output, sigma = settings.get("likelihood", settings.get("output")), settings.get("sigma")
    if output == "multinomial":
        return -(x * F.log_softmax(y, dim=1)).sum(1)
    if output == "bernoulli":
        return F.binary_cross_entropy_with_logits(y, x, reduction="none").sum(1)
    if output == "continuous_bernoulli":
        distribution = torch.distributions.ContinuousBernoulli(logits=y, validate_args=False)
        return -distribution.log_prob(x).sum(1)
    if output == "gaussian":
        return F.gaussian_nll_loss(y, x, torch.full_like(y, sigma**2), full=True, reduction="none").sum(1)
    if output == "laplace":
        return -torch.distributions.Laplace(y, sigma).log_prob(x).sum(1)
    if output == "optimal_sigma":
        # The batch's own best sigma, softly clipped at e^-6 and held fixed by the gradient.
        best = 0.5 * torch.log(F.mse_loss(y, x))
        sigma = (F.softplus(best + 6) - 6).exp().detach()
        return F.gaussian_nll_loss(y, x, (sigma**2).expand_as(y), full=True, reduction="none").sum(1)
    if output == "discretised_logistic":
        # log of sigmoid(upper) - sigmoid(lower), the edges of a grey level's bin; the outermost bins are open.
        upper, lower = (x + 1 / 510 - y) / sigma, (x - 1 / 510 - y) / sigma
        width = math.log(-math.expm1(-1 / (255 * sigma)))
        inner = F.logsigmoid(upper) + F.logsigmoid(-lower) + width
        return -torch.where(x <= 0, F.logsigmoid(upper), torch.where(x >= 1, F.logsigmoid(-lower), inner)).sum(1)
    raise SystemExit(f"there is no output {output} here")


def corrupted(form, x, noise):
    """Noisy pictures for x and random numbers of its shape: normal ones for gaussian, else uniform ones."""
    kind, level = form.split(":")
    level = float(level)
    if kind == "gaussian":
        return (x + level * noise).clamp(0, 1)
    if kind == "mask":
        return torch.where(noise < level, torch.zeros_like(x), x)
    salted = torch.where(noise >= 1 - level / 2, torch.ones_like(x), x)
    return torch.where(noise < level / 2, torch.zeros_like(x), salted)


def kl_elements(mean, logvar):
    """KL(q || N(0,1)) in nats of each number: (B, Z)."""
    return -0.5 * (1 + logvar - mean.pow(2) - logvar.exp())


def free_kl(settings, mean, logvar):
    """The KL of each dimension summed over the batch, (Z), with free bits."""
    kl = kl_elements(mean, logvar).sum(0)
    free = torch.full_like(kl, len(mean) * settings["free_bits"])
    return torch.where(kl < free, free, kl) if settings["free_bits"] > 0 else kl


def classifier_terms(settings, logits, label):
    """The classifier's term and its share of errors, each summed over the batch; label is (B, K), zeros for none."""
    kept = settings.get("labels")
    ratio = len(label) / kept if kept else 1
    has_label = label.sum(1) > 0
    wrong = (logits.argmax(1) != label.argmax(1)) & has_label
    loss = F.cross_entropy(logits, label, reduction="sum")
    return {"classify": settings["alpha"] * ratio * loss, "error": ratio * wrong.sum()}


def m2_terms(settings, model, x, label, noise):
    if model.features is not None:
        x, logvar = model.features.encode(x, None)
        if settings["feature_noise"]:
            x, noise = x + torch.exp(0.5 * logvar) * noise[0], noise[1:]
    classes = label.shape[1]
    logits = model.classifier(x.flatten(1))
    pi = torch.where(label.sum(1, keepdim=True) > 0, label, logits.softmax(1))
    # Each picture under each label.
    xs, ys = x.repeat_interleave(classes, 0), torch.eye(classes, dtype=x.dtype).repeat(len(x), 1)
    y, mean, logvar = model(xs, ys, noise[0])
    recon = (pi.flatten() * reconstruction(settings, y, xs.flatten(1))).sum()
    kl = (pi.flatten() * kl_elements(mean, logvar).sum(1)).sum()
    kl_y = len(x) * math.log(classes) + torch.special.xlogy(pi, pi).sum()
    return {"recon": recon, "kl": kl, "kl_y": kl_y, **classifier_terms(settings, logits, label)}


# Of the models whose modules know their terms.
KNOBS = {"gumbel": ["kl_weight", "temperature"], "vq": ["commitment"], "pixelcnn": []}


def loss_terms(settings, model, x, label, noise, knobs):
    """The model's terms in nats, each summed over the batch.

    noise has the step's random numbers in order, knobs what follows a schedule, in the model's order.
    """
    kind = settings["model"]
    if kind == "m2":
        return m2_terms(settings, model, x, label, noise)
    if kind in KNOBS:
        named = dict(zip(KNOBS[kind], knobs))
        return model.terms(lambda y, x: reconstruction(settings, y, x).sum(), x, noise, named)[1]
    if kind == "ladder":
        return model.terms(lambda y, x: reconstruction(settings, y, x).sum(), x, noise)
    if kind == "sentence":
        return model.terms(x, lambda mean, logvar: free_kl(settings, mean, logvar).sum(), noise)
    if kind == "series":
        return model.terms(*x, lambda mean, logvar: free_kl(settings, mean, logvar).sum(), noise)
    if kind in ("vrnn", "deep_markov"):
        x, lengths = x
        return sequence_terms(model, x.nan_to_num(0.0), lengths, noise[0].unflatten(0, x.shape[:2]))
    if kind == "vae_gan":
        kl = lambda mean, logvar: free_kl(settings, mean, logvar).sum()
        return model.terms(lambda y, x: reconstruction(settings, y, x).sum(), kl, x, noise)
    seen = x
    if kind == "denoising":
        seen = corrupted(settings["noise"], x, noise[0].view_as(x))
        noise = noise[1:]
    if settings.get("normalise"):
        seen, p = F.normalize(x), settings["dropout"]
        if p > 0:
            seen = torch.where(noise[0] < p, torch.zeros_like(seen), seen / (1 - p))
            noise = noise[1:]
    if settings.get("importance", 1) > 1:
        return {"bound": importance_bound(settings, model, seen, x, label, noise[0])}
    more = {}
    if kind == "latent_classifier":
        mean, logvar = model.encode(x, None)
        z = mean + torch.exp(0.5 * logvar) * noise[0]
        y = model.decode(z, None)
        logits = model.classifier(z.detach() if settings["detach"] else z)
        more = classifier_terms(settings, logits, label)
    elif kind == "bayesian":
        y, mean, logvar = model(x.flatten(1), noise)
        share = len(x) / (settings.get("examples") or len(x))
        more = {"weight_kl": share * model.weight_kl(settings["prior_sigma"])}
    else:
        y, mean, logvar = model(seen, label, noise[0])
    recon = reconstruction(settings, y, x.flatten(1)).sum()
    if settings.get("prior") == "vamp" or settings.get("tc_weight"):
        q = Normal(mean, torch.exp(0.5 * logvar))
        z = mean + q.stddev * noise[0]
        if settings.get("tc_weight"):
            return {"recon": recon, **parts_of_kl(z, q, settings.get("examples") or len(x))}
        return {"recon": recon, "kl": (q.log_prob(z).sum(1) - model.log_prior(z)).sum()}
    if settings.get("capacity"):
        # The mean over the batch is held, as Burgess et al. 2018 have it.
        kl = kl_elements(mean, logvar).sum()
        return {"recon": recon, "kl": kl, "capacity_gap": len(x) * (kl / len(x) - knobs[1]).abs()}
    return {"recon": recon, "kl": free_kl(settings, mean, logvar).sum(), **more}


def parts_of_kl(z, q, examples):
    """The KL in three parts (Chen et al. 2018), summed over the batch, by minibatch-weighted sampling; z (B, Z)."""
    rows = len(z)
    # Row i, column j: the log density of z_i under q(z|x_j), (B, B, Z).
    log_q = Normal(q.mean[None], q.stddev[None]).log_prob(z[:, None])
    log_nm = math.log(rows * examples)
    together = torch.logsumexp(log_q.sum(2), 1) - log_nm
    marginals = (torch.logsumexp(log_q, 1) - log_nm).sum(1)
    prior = Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum(1)
    return {
        "mutual_information": (q.log_prob(z).sum(1) - together).sum(),
        "total_correlation": (together - marginals).sum(),
        "dimension_kl": (marginals - prior).sum(),
    }


def importance_bound(settings, model, seen, x, label, noise):
    """-L_K in nats (Burda et al. 2015), summed over the batch: K samples of q(z|seen) explain x; noise (B*K, Z).

    The estimator dreg (Tucker et al. 2018) changes gradients alone: q's density is held fixed, and the gradient of z
    counts as the sample's share of the bound once more.
    """
    samples = settings["importance"]
    mean, logvar = (t.repeat_interleave(samples, 0) for t in model.encode(seen, label))
    z = mean + torch.exp(0.5 * logvar) * noise
    is_dreg = settings["estimator"] == "dreg"
    q = Normal(mean.detach(), torch.exp(0.5 * logvar.detach())) if is_dreg else Normal(mean, torch.exp(0.5 * logvar))
    told = None if label is None else label.repeat_interleave(samples, 0)
    recon = reconstruction(settings, model.decode(z, told), x.flatten(1).repeat_interleave(samples, 0))
    prior = Normal(torch.zeros_like(z), torch.ones_like(z))
    log_w = (prior.log_prob(z).sum(1) - q.log_prob(z).sum(1) - recon).view(-1, samples)
    bound = (math.log(samples) - torch.logsumexp(log_w, 1)).sum()
    if is_dreg:
        shares = torch.softmax(log_w, 1).detach()
        z.register_hook(lambda dz: shares.view(-1, 1) * dz)
    return bound


def make_optimizer(settings, parameters):
    decay = settings["weight_decay"]
    if settings["optimizer"] == "sgd":
        return torch.optim.SGD(parameters, lr=1.0, momentum=settings["momentum"], weight_decay=decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings["optimizer"]]
    return kind(parameters, lr=1.0, betas=tuple(settings["betas"]), eps=settings["eps"], weight_decay=decay)


def sample(values):
    """Of more than 512 elements about 256: 0, k, 2k, ..., k odd so that it is no multiple of a row's length."""
    values = values.detach().flatten()
    return values[:: (len(values) // 256) | 1] if len(values) > 512 else values


class Recording:
    """What is kept of a run, by name: a list that becomes one tensor (steps, ...)."""

    def __init__(self):
        self.lists, self.last = {}, {}

    def add(self, name, value):
        self.lists.setdefault(name, []).append(value.detach().clone())

    def add_tensor(self, kind, name, values, is_whole, is_last):
        self.add(f"{kind}.norm.{name}", values.detach().double().norm())
        self.add(f"{kind}.sample.{name}", values.flatten() if is_whole else sample(values))
        if is_last:
            self.last[f"{kind}.last.{name}"] = values.detach().clone().contiguous()

    def tensors(self):
        return self.last | {name: torch.stack(values) for name, values in self.lists.items()}


def load_initial(model, initial):
    """The exchange's parameters and constants, all and no others; batch norm's statistics start as PyTorch's."""
    own = dict(model.named_parameters()) | {name: b for name, b in model.named_buffers() if name in initial}
    if own.keys() != initial.keys():
        raise SystemExit(f"the parameters differ: PyTorch {sorted(own)}, elbo {sorted(initial)}")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != initial[name].shape:
                raise SystemExit(f"{name}: PyTorch {tuple(parameter.shape)}, elbo {tuple(initial[name].shape)}")
            parameter.copy_(initial[name])


# The others are VAEs.
KINDS = {"latent_classifier": LatentClassifier, "m2": M2, "bayesian": BayesianVAE}
KINDS |= {"gumbel": GumbelVAE, "vq": VQVAE, "pixelcnn": PixelCNN, "ladder": LadderVAE}
KINDS |= {"vae_gan": vae_gan(VAE), "sentence": SentenceVAE, "vrnn": VRNN, "deep_markov": DeepMarkov}
KINDS |= {"series": SeriesVAE}

# Terms that count as much as the first knob says, and terms that count nothing.
WEIGHTED = {"kl", "commit", "total_correlation", "capacity_gap", *(f"kl_{level}" for level in range(1, 6))}
REPORTED = {"error", "words", "steps", "numbers", "perplexity", "used", "gen", "dis_real", "dis_fake", "pixels"}


def weight(name, terms, knobs):
    """What a term counts in the loss."""
    if name in REPORTED or (name == "kl" and "capacity_gap" in terms):
        return 0
    return knobs[0] if name in WEIGHTED else 1


class Exchange:
    """What `elbo parity` wrote: settings, the model with its initial parameters, the optimiser, the batches.

    All of it lies on PyTorch's default device.
    """

    def __init__(self, folder, dtype):
        self.path, self.dtype = folder / EXCHANGE, dtype
        with safe_open(self.path, "pt") as file:
            about = json.loads(file.metadata()["elbo.parity"])
            self.tensors = {name: file.get_tensor(name).to(torch.get_default_device()) for name in file.keys()}
        self.settings, columns = about["settings"], about["columns"]
        self.classes = columns["label"]["label"] if "label" in columns else 0
        # Pictures (C, H, W) are bytes; vectors (F,) are numbers as they are, and so are the zeros and ones of items
        # (I,), the numbers of a sentence's words, and those of a sequence's steps.
        [(kind, size)] = columns[next(name for name in ("x", "text", "steps") if name in columns)].items()
        self.is_vector, self.is_text, self.is_steps = kind != "picture", kind == "tokens", kind == "steps"
        if self.is_steps:
            shape = self.channels = size["channels"]
        else:
            shape = size["vocabulary"] if self.is_text else (size,) if self.is_vector else tuple(size)
        kind = KINDS.get(self.settings["model"], VAE)
        model = kind(self.settings, shape, self.classes) if self.classes else kind(self.settings, shape)
        starts = {name: t for name, t in self.tensors.items() if name.startswith(("init.", "constant."))}
        load_initial(model, {name.split(".", 1)[1]: t for name, t in starts.items()})
        self.model = model.to(dtype)
        self.trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.settings, [parameter for _, parameter in self.trained])
        self.steps, self.rows = self.tensors["x"].shape[:2]
        draws = sum(name.startswith("noise.") for name in self.tensors)
        self.draws = [self.tensors[f"noise.{i}"] for i in range(draws)]

    def batch(self, step):
        """Pictures x, one-hot labels (B, K) or None, random numbers in the model's order, learning rate, knobs."""
        x, (lr, *knobs) = self.tensors["x"][step], self.tensors["rows"][step].tolist()
        noise = [draw[step].to(self.dtype) for draw in self.draws]
        label = None
        if self.classes:
            # A row of zeros where there is no label: 255.
            label = (self.tensors["label"][step][:, None] == torch.arange(self.classes)).to(self.dtype)
        # Grey levels become float32 as in elbo; float64 starts from those.
        x = x if self.is_vector else x.float() / 255
        if self.is_text:
            return x.long().T.contiguous(), label, noise, lr, knobs
        if self.is_steps:
            # (T, B, C); NaN where a number is missing and behind the end.
            x = x.to(self.dtype).unflatten(1, (-1, self.channels)).transpose(0, 1)
            steps = torch.arange(1, len(x) + 1)[:, None]
            lengths = torch.where(x.isnan().all(2), 0, steps).amax(0)
            return (x, lengths), label, noise, lr, knobs
        return x.to(self.dtype), label, noise, lr, knobs

    def backward(self, x, label, noise, lr, knobs):
        """The gradients of a batch; the loss as it is optimised, and its terms. `optimizer.step()` is left to do."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        terms = loss_terms(self.settings, self.model, x, label, noise, knobs)
        loss = sum(weight(name, terms, knobs) * value for name, value in terms.items())
        if self.settings["reduction"] == "mean":
            loss = loss / self.rows
        if self.settings["model"] == "vae_gan":
            # A loss for each network, all of the same forward pass.
            self.model.backward(terms, knobs[0], 1 / self.rows if self.settings["reduction"] == "mean" else 1)
        else:
            loss.backward()
        if self.settings.get("clip_norm") is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings["clip_norm"])
        return loss, terms


def run(folder, dtype, is_whole):
    exchange = Exchange(folder, dtype)
    recording = Recording()
    for step in range(exchange.steps):
        is_last = step + 1 == exchange.steps
        x, *others = exchange.batch(step)
        loss, terms = exchange.backward(x, *others)
        for name, value in [("loss", loss), *terms.items()]:
            recording.add(name, value.to(dtype))
        for name, parameter in exchange.trained:
            recording.add_tensor("gradient", name, parameter.grad, False, is_last)
        exchange.optimizer.step()
        for name, parameter in exchange.trained:
            recording.add_tensor("parameter", name, parameter, is_whole, is_last)
        per_picture = 1 if exchange.settings["reduction"] == "mean" else 1 / exchange.rows
        print(f"step {step + 1} of {exchange.steps} loss {loss.item() * per_picture:.4f}", flush=True)
    by = f"PyTorch {torch.__version__}, CPU, {str(dtype).removeprefix('torch.')}"
    metadata = {"by": by, "exchange": hashlib.sha256(exchange.path.read_bytes()).hexdigest()}
    save_file(recording.tensors(), folder / RECORDING, metadata)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--float64", action="store_true", help="compute in float64: a more exact referee")
    parser.add_argument("--whole", action="store_true", help="keep all parameters of every step")
    arguments = parser.parse_args()
    run(arguments.folder, torch.float64 if arguments.float64 else torch.float32, arguments.whole)


if __name__ == "__main__":
    main()
