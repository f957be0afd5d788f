"""What the peers of `dotnet fsi build.fsx bench steps` share: the network, NT-Xent, and the answers to requests.

A peer runs as `PEER.py KIND THREADS FILE DEVICE`. FILE has weights, running statistics and images in safetensors;
KIND is one of

  published  as the authors run it: float32, every backward pass computes the gradients of all parameters;
  plain      float32, but attacks take the gradient of images alone;
  competent  PyTorch written well: besides, bfloat16 autocast and channels-last.

Requests come one a line: "start" (version and threads), "time STEPS" (seconds a step), "check FILE" (the loss and the
attack's objective at its first point, and the objective that it reaches; the gradient at the first point goes into the
file). On a card all kinds but plain are timed with PyTorch's default, convolutions of float32 in TF32.
"""

import json
import sys
import time
from contextlib import nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F

TYPES = {"F32": torch.float32, "U8": torch.uint8}


def load(path, device):
    """The tensors of a safetensors file, by name, on a device."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + size]))
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(data[start:end], dtype=TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).clone().to(device)
    return tensors


class Norm(nn.Module):
    """A batch norm with weights and statistics of its own for each branch."""

    def __init__(self, layer, width, momenta):
        super().__init__()
        self.branches = nn.ModuleDict({name: layer(width, momentum=m) for name, m in momenta.items()})
        self.branch = next(iter(momenta))

    def forward(self, x):
        return self.branches[self.branch](x)


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, entering, width, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(entering, width, 3, stride, 1, bias=False)
        self.bn1 = norm(nn.BatchNorm2d, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = norm(nn.BatchNorm2d, width)
        self.downsample = None
        if stride != 1 or entering != width:
            projection = nn.Conv2d(entering, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, norm(nn.BatchNorm2d, width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + (self.downsample(x) if self.downsample else x))


class Network(nn.Module):
    """ResNet-18 with the CIFAR stem, a projection head, and the normalisation of images in front."""

    def __init__(self, momenta, head, mean, std):
        super().__init__()

        def norm(layer, width):
            return Norm(layer, width, momenta)

        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = norm(nn.BatchNorm2d, 64)
        entering = 64
        for index, width in enumerate((64, 128, 256, 512)):
            first = Block(entering, width, 1 if index == 0 else 2, norm)
            setattr(self, f"layer{index + 1}", nn.Sequential(first, Block(width, width, 1, norm)))
            entering = width
        self.head = head(norm)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.head(x.mean((2, 3)))


def nt_xent(a, b, temperature=0.5):
    """NT-Xent of two views (Chen et al. 2020, eq. 1), in float32."""
    rows = a.shape[0]
    z = F.normalize(torch.cat([a, b]).float())
    scores = (z @ z.t() / temperature).fill_diagonal_(float("-inf"))
    return F.cross_entropy(scores, torch.arange(2 * rows, device=z.device).roll(rows))


class Peer:
    """A network in training, and how it computes.

    A method adds attacks_in_train_mode, first_point, objective, attack and loss.
    """

    def __init__(self, kind, tensors, momenta, head, optimizer):
        self.kind, self.tensors = kind, tensors
        self.first, self.second = (tensors[name].float() / 255 for name in ("first", "second"))
        t = self.tensors
        self.net = Network(momenta, head, t["mean"].tolist(), t["std"].tolist()).to(self.first.device)
        named = dict(self.net.named_parameters()) | dict(self.net.named_buffers())
        with torch.no_grad():
            for name, value in t.items():
                if ":" in name:
                    stem, _, branch = name.split(":")[1].partition("@")
                    if branch:
                        module, _, leaf = stem.rpartition(".")
                        stem = f"{module}.branches.{branch}.{leaf}"
                    named.pop(stem).copy_(value)
        missing = [n for n in named if n not in ("mean", "std") and not n.endswith("num_batches_tracked")]
        assert not missing, missing
        if self.kind == "competent":
            self.net = self.net.to(memory_format=torch.channels_last)
        self.optimizer = optimizer(self.net.parameters(), kind)

    def run(self, images, branch, precise=False):
        """The embeddings of images by a branch."""
        for module in self.net.modules():
            if isinstance(module, Norm):
                module.branch = branch
        low = self.kind == "competent" and not precise
        if self.kind == "competent":
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16) if low else nullcontext():
            return self.net(images)

    def image_gradient(self, objective, x):
        """The gradient of an objective at images x, as this kind of peer takes it."""
        x = x.detach().requires_grad_()
        if self.kind == "published":
            self.optimizer.zero_grad()
            objective(x).backward()
            return x.grad
        for p in self.net.parameters():
            p.requires_grad_(False)
        (gradient,) = torch.autograd.grad(objective(x), x)
        for p in self.net.parameters():
            p.requires_grad_(True)
        return gradient

    def step(self):
        loss = self.loss(self.attack())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def check(self, path):
        """What the sides of a comparison must agree in; the gradient goes into a file."""
        self.net.train(self.attacks_in_train_mode)
        gradient = self.image_gradient(self.objective, self.tensors["start"])
        gradient.cpu().numpy().tofile(path)
        x = self.attack()
        with torch.no_grad():
            self.net.train(self.attacks_in_train_mode)
            objectives = [self.objective(x, True).item() for x in (self.first_point(), x)]
            self.net.train()
            return [self.loss(self.first_point()).item(), *objectives]


def serve(make):
    """Answers requests about the peer that make(kind, tensors) gives."""
    kind, threads, path, device = sys.argv[1:]
    torch.set_num_threads(int(threads))
    peer = make(kind, load(path, device))

    for line in sys.stdin:
        request, *rest = line.split()
        torch.backends.cudnn.allow_tf32 = request == "time" and kind != "plain"
        if request == "start":
            answer = f"{torch.__version__} {torch.get_num_threads()}"
        elif request == "time":
            start = time.perf_counter()
            for _ in range(int(rest[0])):
                peer.step()
            answer = (time.perf_counter() - start) / int(rest[0])
        else:
            answer = " ".join(map(str, peer.check(rest[0])))
        print(answer, flush=True)
