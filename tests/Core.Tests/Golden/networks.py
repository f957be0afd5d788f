"""Logits and input gradients of networks in PyTorch, for tests of the same networks elsewhere.

    python3 networks.py > networks.json

Needs torch and torchvision (made with 1.13.0 and 0.14.1). ResNets are torchvision's own, made narrow, with its
stem or the usual one for images of 32 pixels; wide ResNets are written here, under the names of TRADES' code.
All in float64, eval mode. No weights are stored: they are a function of name and place, as are the images.
"""

import json
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

IMAGES, CLASSES = (2, 3, 8, 9), 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODULUS = 1_000_003


def parts(name, count):
    """Numbers in [0, 1) that look drawn: a quadratic in the place, modulo a prime, moved by the name."""
    start = 0
    for character in name:
        start = (31 * start + ord(character)) % MODULUS
    i = torch.arange(count, dtype=torch.int64)
    return (start + 7919 * i + 104729 * i * i).remainder(MODULUS).double() / MODULUS


def weight(name, shape):
    """A tensor of a state dict, of the size that its kind has in a network that is trained."""
    u = parts(name, math.prod(shape)).reshape(shape)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        return 0.5 + u
    if len(shape) == 1:
        return u - 0.5
    return (2.0 * u - 1.0) * math.sqrt(2.0 / math.prod(shape[1:]))


class Narrow(ResNet):
    """torchvision's ResNet with `width` channels where it has 64."""

    def __init__(self, block, layers, width, cifar):
        self.width = width
        super().__init__(block, layers)
        if cifar:
            self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(8 * width * block.expansion, CLASSES)

    def _make_layer(self, block, planes, *rest, **more):
        if planes == 64:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // 64, *rest, **more)


class WideBlock(nn.Module):
    """The pre-activated block of two 3x3 convolutions."""

    def __init__(self, source, target, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(source)
        self.conv1 = nn.Conv2d(source, target, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(target)
        self.conv2 = nn.Conv2d(target, target, 3, padding=1, bias=False)
        if source != target:
            self.convShortcut = nn.Conv2d(source, target, 1, stride=stride, bias=False)

    def forward(self, x):
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (self.convShortcut(active) if hasattr(self, "convShortcut") else x)


class WideGroup(nn.Module):
    def __init__(self, blocks, source, target, stride):
        super().__init__()
        first = WideBlock(source, target, stride)
        self.layer = nn.Sequential(first, *[WideBlock(target, target, 1) for _ in range(blocks - 1)])

    def forward(self, x):
        return self.layer(x)


class Wide(nn.Module):
    """WRN-depth-widening (Zagoruyko and Komodakis 2016)."""

    def __init__(self, depth, widening):
        super().__init__()
        blocks, sizes = (depth - 4) // 6, [16 * widening * part for part in (1, 2, 4)]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = WideGroup(blocks, 16, sizes[0], 1)
        self.block2 = WideGroup(blocks, sizes[0], sizes[1], 2)
        self.block3 = WideGroup(blocks, sizes[1], sizes[2], 2)
        self.bn1 = nn.BatchNorm2d(sizes[2])
        self.fc = nn.Linear(sizes[2], CLASSES)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


def digits(values):
    return [float(f"{value:.13g}") for value in values]


def case(name, width, network):
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    counted = {key for key in shapes if key.endswith("num_batches_tracked")}
    state = {
        key: torch.tensor(7) if key in counted else weight(key, shape) for key, shape in shapes.items()
    }
    network.double().eval().load_state_dict(state)
    images = parts("images", math.prod(IMAGES)).reshape(IMAGES).requires_grad_()
    # Mean and deviation as single precision has them.
    mean, std = (torch.tensor(values).double().reshape(1, 3, 1, 1) for values in (MEAN, STD))
    logits = network((images - mean) / std)
    loss = F.cross_entropy(logits, torch.arange(IMAGES[0]))
    (gradient,) = torch.autograd.grad(loss, images)
    return {
        "network": name,
        "width": width,
        "state_dict": shapes,
        "logits": [digits(row) for row in logits.tolist()],
        "loss": loss.item(),
        "gradient": digits(gradient.flatten().tolist()),
    }


RESNETS = {
    "resnet18": (BasicBlock, [2, 2, 2, 2], 4),
    "resnet34": (BasicBlock, [3, 4, 6, 3], 4),
    "resnet50": (Bottleneck, [3, 4, 6, 3], 2),
}

torch.manual_seed(0)
cases = []
for name, (block, layers, width) in RESNETS.items():
    cases.append(case(name + "-imagenet", width, Narrow(block, layers, width, cifar=False)))
    cases.append(case(name, width, Narrow(block, layers, width, cifar=True)))
cases.append(case("wrn-28-10", 16, Wide(28, 1)))
cases.append(case("wrn-34-10", 32, Wide(34, 2)))
head = {"images": IMAGES, "mean": MEAN, "std": STD, "classes": CLASSES}
lines = ",\n".join(json.dumps(c) for c in cases)
print(json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}")
