"""The kernel's losses as plain PyTorch, for `dotnet fsi build.fsx bench kernel`.

Run as `kernel.py LOSS VIEWS ROWS WIDTH THREADS`; answers the requests that it reads, one a line: "start"
(version and threads, or none), "time CALLS" (seconds a call), "check FILE" (the loss; its gradient goes into
the file).
"""

import sys
import time

import torch
import torch.nn.functional as F

SEED, TEMPERATURE = 1, 0.5


def nt_xent(views):
    """NT-Xent (Chen et al. 2020, eq. 1) of two views; the diagonal is masked in place."""
    rows = views[0].shape[0]
    z = F.normalize(torch.cat(views))
    scores = (z @ z.t() / TEMPERATURE).fill_diagonal_(float("-inf"))
    return F.cross_entropy(scores, torch.arange(2 * rows).roll(rows))


def n_pair(views):
    """The one-directional contrast of two views (Ho and Vasconcelos 2020)."""
    anchors, positives = F.normalize(views[0]), F.normalize(views[1])
    return F.cross_entropy(anchors @ positives.t() / TEMPERATURE, torch.arange(anchors.shape[0]))


def one_sided(views):
    """C-LEAD's contrast of anchors with the other anchors and all partners (Ghosh, Kumar and Sur 2025)."""
    rows = views[0].shape[0]
    anchors = F.normalize(views[0])
    scores = anchors @ torch.cat([anchors, F.normalize(views[1])]).t() / TEMPERATURE
    scores.diagonal().fill_(float("-inf"))
    return F.cross_entropy(scores, torch.arange(rows) + rows)


# What is not here is measured on the other side alone.
LOSSES = {"NT-Xent": nt_xent, "N-pair": n_pair, "one-sided": one_sided}


def main(name, count, rows, width, threads):
    torch.set_num_threads(int(threads))
    generator = torch.Generator().manual_seed(SEED)
    views = [
        torch.randn(int(rows), int(width), generator=generator).requires_grad_()
        for _ in range(int(count))
    ]

    def call():
        loss = LOSSES[name](views)
        return loss, torch.autograd.grad(loss, views)

    for line in sys.stdin:
        request, *rest = line.split()
        if request == "start":
            answer = f"{torch.__version__} {torch.get_num_threads()}" if name in LOSSES else "none"
        elif request == "time":
            start = time.perf_counter()
            for _ in range(int(rest[0])):
                call()
            answer = (time.perf_counter() - start) / int(rest[0])
        else:
            loss, gradients = call()
            torch.cat(gradients).numpy().tofile(rest[0])
            answer = loss.item()
        print(answer, flush=True)


main(*sys.argv[1:])
