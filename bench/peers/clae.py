"""CLAE over SimCLR (Ho and Vasconcelos 2020) in PyTorch, for `dotnet fsi build.fsx bench steps clae`; see steps.py."""

import torch
import torch.nn as nn

from steps import Peer, nt_xent, serve

RADIUS, RATE = 0.015, 3e-4


class Clae(Peer):
    attacks_in_train_mode = True

    def objective(self, x, precise=False):
        """The contrast of the first views with x, both by the adversarial branch."""
        return nt_xent(self.run(self.first, "adv", precise), self.run(x, "adv", precise))

    def first_point(self):
        return self.first

    def attack(self):
        return self.first + RADIUS * self.image_gradient(self.objective, self.first).sign()

    def loss(self, x):
        first, second = self.run(torch.cat([self.first, self.second]), "clean").chunk(2)
        return nt_xent(first, second) + nt_xent(first, self.run(x, "adv"))


def head(_):
    return nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 64))


def adam(parameters, kind):
    return torch.optim.Adam(parameters, lr=RATE, foreach=kind == "competent")


serve(lambda kind, tensors: Clae(kind, tensors, {"clean": 0.1, "adv": 0.01}, head, adam))
