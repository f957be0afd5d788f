"""ACL's dual stream (Jiang et al. 2020) in PyTorch, for `dotnet fsi build.fsx bench steps acl-ds`; see steps.py."""

import torch
import torch.nn as nn

from steps import Peer, nt_xent, serve

RADIUS, STEP, STEPS = 8 / 255, 2 / 255, 5
RATE, MOMENTUM, TRUST, DECAY = 0.1, 0.9, 1e-3, 1e-6


class Head(nn.Module):
    """Three layers, a batch norm after each."""

    def __init__(self, norm, width=512):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.bn1 = norm(nn.BatchNorm1d, width)
        self.fc2 = nn.Linear(width, width, bias=False)
        self.bn2 = norm(nn.BatchNorm1d, width)
        self.fc3 = nn.Linear(width, width, bias=False)
        self.bn3 = norm(nn.BatchNorm1d, width)

    def forward(self, x):
        x = torch.relu(self.bn1(self.fc1(x)))
        x = torch.relu(self.bn2(self.fc2(x)))
        return self.bn3(self.fc3(x))


class Lars(torch.optim.Optimizer):
    """SGD with momentum whose rate is scaled, tensor by tensor, by the weights' length over the gradient's (You et al.
    2017)."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                weight, gradient = p.norm(), p.grad.norm()
                ratio = TRUST * weight / (gradient + DECAY * weight)
                ratio = torch.where((weight < 1e-15) | (gradient < 1e-15), torch.ones_like(ratio), ratio)
                update = p.grad.add(p, alpha=DECAY).mul_(ratio * RATE)
                velocity = self.state[p].get("velocity")
                velocity = update if velocity is None else velocity.mul_(MOMENTUM).add_(update)
                self.state[p]["velocity"] = velocity
                p.sub_(velocity)


class AclDs(Peer):
    attacks_in_train_mode = False

    def contrast(self, images, branch, precise=False):
        return nt_xent(*self.run(images, branch, precise).chunk(2))

    def objective(self, x, precise=False):
        return self.contrast(x, "adv", precise)

    def origin(self):
        return torch.cat([self.first, self.second])

    def project(self, x):
        origin = self.origin()
        return torch.minimum(torch.maximum(x, origin - RADIUS), origin + RADIUS).clamp(0, 1)

    def first_point(self):
        return self.project(self.tensors["start"])

    def attack(self):
        x = self.tensors["start"]
        self.net.eval()
        for _ in range(STEPS):
            x = self.project(x.detach() + STEP * self.image_gradient(self.objective, x).sign())
        self.net.train()
        return x

    def loss(self, x):
        return (self.contrast(self.origin(), "clean") + self.contrast(x, "adv")) / 2


serve(
    lambda kind, tensors: AclDs(
        kind, tensors, {"clean": 0.1, "adv": 0.1}, Head, lambda parameters, _: Lars(parameters)
    )
)
