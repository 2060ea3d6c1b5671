"""torch's optimizers without its compiler, whose import takes as long as that of torch itself.

torch decorates the methods of optimizers so that torch.compile leaves them alone; the first call of
one imports torch._dynamo, for more than a second. Nothing is compiled here, so the functions inside
the decorators are called.
"""

from inspect import unwrap

import torch
from torch.optim import Optimizer


class Eager(Optimizer):
    """The methods that all optimizers share."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class Sgd(Eager, torch.optim.SGD):
    """torch.optim.SGD."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class AdamW(Eager, torch.optim.AdamW):
    """torch.optim.AdamW."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
