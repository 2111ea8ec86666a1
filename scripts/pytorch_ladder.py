"""The ladder VAE (Sonderby et al. 2016, arXiv 1602.02282) as a PyTorch module, under elbo's settings and names.

B batch, D pixels, L levels of Z_l latents, level 1 the lowest. Autograd derives every gradient; the KL terms are
torch.distributions' own.
"""

import math

import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from pytorch_network import ACTIVATIONS


class LadderVAE(nn.Module):
    """Levels of Gaussian latents, inferred from the top down; each layer is called by its level."""

    def __init__(self, settings, shape):
        super().__init__()
        hidden, latent, pixels = settings["hidden"], settings["latent"], math.prod(shape)
        self.settings, self.levels = settings, len(latent)
        activation = ACTIVATIONS[settings["activation"]]

        def pair(inputs, width, outputs):
            return nn.Sequential(nn.Linear(inputs, width), activation(), nn.Linear(width, outputs))

        named = [str(level + 1) for level in range(self.levels)]
        sizes = [pixels, *hidden]
        self.act = activation()
        self.encoder = nn.ModuleDict({n: nn.Linear(*io) for n, io in zip(named, zip(sizes, sizes[1:]))})
        self.posterior = nn.ModuleDict({n: nn.Linear(w, 2 * z) for n, w, z in zip(named, hidden, latent)})
        # The prior of a level from the latents of the one above.
        below = zip(named, latent[1:], hidden[1:], latent)
        self.prior = nn.ModuleDict({n: pair(above, width, 2 * z) for n, above, width, z in below})
        self.decoder = pair(latent[0], hidden[0], pixels)

    def terms(self, reconstruction, x, noise):
        """The terms, each summed over the batch; noise (B, Z_l) in the order of drawing, the top level first."""
        d, seen = x.flatten(1), {}
        for name in self.encoder:
            d = self.act(self.encoder[name](d))
            seen[name] = self.posterior[name](d).chunk(2, dim=1)
        z, terms = None, {}
        for name, eps in zip(reversed(list(self.encoder)), noise):
            mean, logvar = seen[name]
            p = Normal(torch.zeros_like(mean), torch.ones_like(mean))
            if z is not None:
                prior_mean, prior_logvar = self.prior[name](z).chunk(2, dim=1)
                p = Normal(prior_mean, torch.exp(0.5 * prior_logvar))
                precisions = torch.exp(-logvar), torch.exp(-prior_logvar)
                mean = (mean * precisions[0] + prior_mean * precisions[1]) / sum(precisions)
                logvar = -torch.log(sum(precisions))
            q = Normal(mean, torch.exp(0.5 * logvar))
            z = mean + q.scale * eps
            terms[f"kl_{name}"] = kl_divergence(q, p).sum()
        recon = reconstruction(self.decoder(z), x.flatten(1))
        return {"recon": recon, **dict(sorted(terms.items()))}
