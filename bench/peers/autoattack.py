"""The passes that AutoAttack made, in plain PyTorch, for `dotnet fsi build.fsx bench autoattack`.

Run as `autoattack.py ENCODER HEAD IMAGES PASSES THREADS`: the encoder and the linear layer as safetensors, the
images as raw float32, and a file of JSON, [{"rows", "gradient", "calls"}]. Prints as JSON the seconds that all
those passes take, and the logits of the first images.
"""

import json
import struct
import sys
import time

import torch
import torch.nn.functional as F


def safetensors(path):
    """A file's tensors by name, and its metadata."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})

    def tensor(entry):
        first, last = (8 + length + at for at in entry["data_offsets"])
        return torch.frombuffer(bytearray(content[first:last]), dtype=torch.float32).reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items() if entry["dtype"] == "F32"}, metadata


class ResNet18:
    """ResNet-18 (He et al. 2016) with the CIFAR stem, of any width, in eval mode, on a state dict."""

    def __init__(self, weights, head, mean, std):
        self.w, self.head = weights, head
        self.mean, self.std = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))

    def norm(self, name, x):
        parts = (self.w[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    def block(self, name, x, stride):
        y = F.conv2d(x, self.w[f"{name}.conv1.weight"], stride=stride, padding=1)
        y = F.relu(self.norm(f"{name}.bn1", y))
        y = self.norm(f"{name}.bn2", F.conv2d(y, self.w[f"{name}.conv2.weight"], padding=1))
        shortcut = f"{name}.downsample.0.weight"
        if shortcut in self.w:
            x = self.norm(f"{name}.downsample.1", F.conv2d(x, self.w[shortcut], stride=stride))
        return F.relu(y + x)

    def __call__(self, x):
        x = F.conv2d((x - self.mean) / self.std, self.w["conv1.weight"], padding=1)
        x = F.relu(self.norm("bn1", x))
        for stage in range(1, 5):
            for block in range(2):
                x = self.block(f"layer{stage}.{block}", x, 2 if stage > 1 and block == 0 else 1)
        return F.linear(x.mean((2, 3)), self.head["weight"], self.head["bias"])


def main(encoder, head, images, passes, threads):
    torch.set_num_threads(int(threads))
    weights, metadata = safetensors(encoder)
    about = json.loads(metadata["input"])
    network = ResNet18(weights, safetensors(head)[0], about["mean"], about["std"])
    with open(images, "rb") as file:
        pixels = torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(-1, 3, 32, 32)

    def call(rows, gradient):
        x = pixels[torch.arange(rows) % len(pixels)]
        if not gradient:
            with torch.no_grad():
                return network(x)
        x.requires_grad_()
        return torch.autograd.grad(network(x).sum(), x)

    for gradient in [False, True]:
        call(len(pixels), gradient)
    with open(passes) as file:
        passes = json.load(file)
    start = time.perf_counter()
    for entry in passes:
        for _ in range(entry["calls"]):
            call(entry["rows"], entry["gradient"])
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "logits": call(4, False).flatten().tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
