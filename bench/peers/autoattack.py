"""The passes that AutoAttack made, in plain PyTorch, for `dotnet fsi build.fsx bench autoattack ... --python`.

Run as `autoattack.py FILE PASSES THREADS`: weights, the linear layer and images as safetensors, and passes as
rows:gradient:calls, separated by commas. Answers the requests that it reads, one a line: "start" (version and
threads), "time CALLS" (seconds that all passes take), "check FILE" (the logits of the first images go into the file).
"""

import sys
import time

import torch
import torch.nn.functional as F

from steps import load

COMPARED = 4


class ResNet18:
    """ResNet-18 (He et al. 2016) with the CIFAR stem, of any width, in eval mode, on a state dict."""

    def __init__(self, weights):
        self.w = weights
        self.mean, self.std = (weights[name].view(1, -1, 1, 1) for name in ("mean", "std"))

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
        return F.linear(x.mean((2, 3)), self.w["head.weight"], self.w["head.bias"])


def main(path, passes, threads):
    torch.set_num_threads(int(threads))
    shared = load(path, "cpu")
    network, images = ResNet18(shared), shared["images"]
    passes = [tuple(map(int, entry.split(":"))) for entry in passes.split(",")]

    def call(rows, gradient):
        x = images[torch.arange(rows) % len(images)]
        if gradient:
            x.requires_grad_()
            torch.autograd.grad(network(x).sum(), x)
        else:
            with torch.no_grad():
                network(x)

    for line in sys.stdin:
        request, *rest = line.split()
        answer = ""
        if request == "start":
            answer = f"{torch.__version__} {torch.get_num_threads()}"
        elif request == "time":
            start = time.perf_counter()
            for _ in range(int(rest[0])):
                for rows, gradient, calls in passes:
                    for _ in range(calls):
                        call(rows, gradient)
            answer = (time.perf_counter() - start) / int(rest[0])
        else:
            network(images[:COMPARED]).numpy().tofile(rest[0])
        print(answer, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
