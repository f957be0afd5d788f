"""Steps of PyTorch's optimisers and rates of its schedulers, for tests of the same rules elsewhere.

    python3 optimisers.py > optimisers.json

Needs torch (made with 1.13.0). All in float64.
"""

import json
import math
import warnings

import torch
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedulers

STEPS, SHAPES = 6, {"conv.weight": (2, 3), "bn.bias": (3,)}
PER_EPOCH, EPOCHS = 4, 10

generator = torch.Generator().manual_seed(0)


def drawn():
    return {
        name: (torch.randn(shape, generator=generator, dtype=torch.float64) * 100).round() / 100
        for name, shape in SHAPES.items()
    }


START, GRADIENTS = drawn(), [drawn() for _ in range(STEPS)]


def flat(tensors):
    return {name: value.flatten().tolist() for name, value in tensors.items()}


def steps(make, clip=None):
    """The parameters after each step; `make` builds the optimiser, and a scheduler of its steps or none."""
    parameters = {name: value.clone().requires_grad_() for name, value in START.items()}
    optimiser, scheduler = make(list(parameters.values()))
    after = []
    for gradients in GRADIENTS:
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), clip)
        optimiser.step()
        if scheduler is not None:
            scheduler.step()
        after.append(flat({name: value.detach() for name, value in parameters.items()}))
    return after


def fixed(optimiser, **hyper):
    return lambda parameters: (optimiser(parameters, **hyper), None)


def falling(parameters):
    optimiser = SGD(parameters, lr=0.3, momentum=0.9)
    return optimiser, schedulers.CosineAnnealingLR(optimiser, T_max=STEPS, eta_min=0.01)


UPDATES = {
    "sgd": steps(fixed(SGD, lr=0.1)),
    "sgd with momentum and decay": steps(fixed(SGD, lr=0.1, momentum=0.9, weight_decay=0.05)),
    "sgd with Nesterov's momentum and decay": steps(
        fixed(SGD, lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True)
    ),
    "sgd along a cosine": steps(falling),
    "adam": steps(fixed(Adam, lr=0.1)),
    "adam with decay": steps(fixed(Adam, lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
    "adamw": steps(fixed(AdamW, lr=0.1)),
    "adamw with much decay": steps(
        fixed(AdamW, lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.5)
    ),
    "clipped sgd": steps(fixed(SGD, lr=0.1, momentum=0.9), clip=1.5),
}


def rates(make, per_epoch=1):
    """The rate of every step of the run, where the scheduler steps once in so many of them."""
    optimiser = SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    scheduler = make(optimiser)
    seen = []
    for step in range(PER_EPOCH * EPOCHS):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if (step + 1) % per_epoch == 0:
            scheduler.step()
    return seen


ALL = PER_EPOCH * EPOCHS


def joined(optimiser):
    rise = schedulers.LinearLR(optimiser, start_factor=0.1, total_iters=3)
    fall = schedulers.CosineAnnealingLR(optimiser, T_max=EPOCHS - 3, eta_min=0.01)
    return schedulers.SequentialLR(optimiser, [rise, fall], milestones=[3])


def warmed(optimiser):
    """The k-th of the first 8 steps has k/8 of the rate; then half a cosine to 0."""

    def part(step):
        if step < 8:
            return (step + 1) / 8
        return 0.5 * (1 + math.cos(math.pi * (step - 8) / (ALL - 8)))

    return schedulers.LambdaLR(optimiser, part)


warnings.simplefilter("ignore")
SCHEDULES = {
    "cosine per step": rates(lambda o: schedulers.CosineAnnealingLR(o, T_max=ALL, eta_min=0.01)),
    "cosine per epoch": rates(
        lambda o: schedulers.CosineAnnealingLR(o, T_max=EPOCHS, eta_min=0.01), PER_EPOCH
    ),
    "steps": rates(lambda o: schedulers.MultiStepLR(o, milestones=[3, 7], gamma=0.1), PER_EPOCH),
    "a line per step": rates(
        lambda o: schedulers.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=ALL)
    ),
    "warm-up per step, then a cosine": rates(warmed),
    "warm-up per epoch, joined with a cosine": rates(joined, PER_EPOCH),
}


def rows(values):
    return "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in values.items()) + "\n}"


head = {
    "shapes": SHAPES,
    "start": flat(START),
    "gradients": [flat(gradients) for gradients in GRADIENTS],
    "steps_an_epoch": PER_EPOCH,
    "epochs": EPOCHS,
}
print(
    json.dumps(head)[:-1] + f', "updates": {rows(UPDATES)}, "schedules": {rows(SCHEDULES)}' + "}"
)
