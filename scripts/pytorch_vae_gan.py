"""The VAE-GAN (Larsen et al. 2016, arXiv 1512.09300) as a PyTorch module, under elbo's settings and names.

Each network has a loss of its own, of one forward pass; autograd takes the gradient of each loss to the parameters of
its own network. B batch, D pixels, F features, Z latents.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from pytorch_network import ACTIVATIONS, sequential


class Discriminator(nn.Module):
    def __init__(self, settings, shape):
        super().__init__()
        activation, listed = ACTIVATIONS[settings["activation"]], settings.get("discriminator")

        def layers(sizes):
            return [m for io in zip(sizes, sizes[1:]) for m in (nn.Linear(*io), activation())]

        if listed is None:
            hidden = settings["discriminator_hidden"]
            self.features, left = nn.Sequential(*layers([math.prod(shape), *hidden])), hidden[-1]
        else:
            self.features, left = sequential(listed, shape)
            left = math.prod(left)
        sizes = [left, *settings["discriminator_head"]]
        self.head = nn.Sequential(*layers(sizes), nn.Linear(sizes[-1], 1))
        self.takes_pictures = listed is not None

    def forward(self, x):
        """Pictures (B, C, H, W) to features (B, F) and logits (B)."""
        features = self.features(x if self.takes_pictures else x.flatten(1)).flatten(1)
        return features, self.head(features).squeeze(1)


def make(vae):
    """The class on top of a VAE with `encode` and `decode`."""

    class VAEGAN(vae):
        def __init__(self, settings, shape):
            super().__init__(settings, shape)
            self.settings, self.shape = settings, shape
            self.discriminator = Discriminator(settings, shape)

        def terms(self, reconstruction, kl, x, noise):
            """The terms, each summed over the batch; noise is that of z, (B, Z), and z_p, (B, Z)."""
            mean, logvar = self.encode(x, None)
            logits = [self.decode(z, None) for z in (mean + torch.exp(0.5 * logvar) * noise[0], noise[1])]
            link = torch.sigmoid if self.settings["output"] == "bernoulli" else lambda y: y
            shown = [x, *(link(y).view(-1, *self.shape) for y in logits)]
            (features, real), (rebuilt_features, rebuilt), (_, drawn) = [self.discriminator(x) for x in shown]
            fake = F.softplus(rebuilt) + F.softplus(drawn)
            is_minimax = self.settings["generator"] == "minimax"
            unit = torch.ones_like(features)
            return {
                "recon": F.gaussian_nll_loss(rebuilt_features, features, unit, full=True, reduction="sum"),
                "kl": kl(mean, logvar),
                "gen": (-fake if is_minimax else F.softplus(-rebuilt) + F.softplus(-drawn)).sum(),
                "dis_real": F.softplus(-real).sum(),
                "dis_fake": fake.sum(),
                "pixels": reconstruction(logits[0], x.flatten(1)),
            }

        def backward(self, terms, kl_weight, scale):
            """Gives each network the gradient of its own loss, times scale."""
            gamma = self.settings["gamma"]
            losses = {
                "decoder": gamma * terms["recon"] + terms["gen"],
                "discriminator": terms["dis_real"] + terms["dis_fake"],
                "encoder": terms["recon"] + kl_weight * terms["kl"],
            }
            owned = {owner: [] for owner in losses}
            for name, parameter in self.named_parameters():
                owner = name.split(".")[0]
                owner = {"fc3": "decoder", "fc4": "decoder"}.get(owner, owner)
                owned[owner if owner in losses else "encoder"].append(parameter)
            for owner, loss in losses.items():
                gradients = torch.autograd.grad(scale * loss, owned[owner], retain_graph=True)
                for parameter, gradient in zip(owned[owner], gradients):
                    parameter.grad = gradient

    return VAEGAN
