"""Layers with one fault each, for the tests of the conformance suite; ``Sound`` has none.

A broken layer's ``caught_by`` names every check that must find something; no other may.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Sound(nn.Module):
    """A dense layer with every optional hook."""

    caught_by: ClassVar[set[str]] = set()
    grid: ClassVar[dict[str, list[int]]] = {"rank": [4, 8]}
    size_setting = "rank"

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rank: int | None = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(
            torch.randn(out_features, in_features) / (3 * in_features) ** 0.5
        )
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def dense_weight(self) -> Tensor:
        return self.weight

    def penalty(self) -> Tensor:
        return self.weight.square().mean()

    def multiply_adds(self) -> int:
        return self.weight.numel()

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def summary(self) -> dict[str, float]:
        return {"norm": float(self.weight.detach().norm())}

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, *, rank: int | None = None) -> Sound:
        """Truncated to ``rank``, so that its error falls with it."""
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
        if rank is not None:
            s[rank:] = 0
        layer = cls(weight.shape[1], weight.shape[0], bias is not None)
        with torch.no_grad():
            layer.weight.copy_(u * s @ vh)
            if layer.bias is not None and bias is not None:
                layer.bias.copy_(bias)
        return layer


class Exact(Sound):
    """As declared."""

    exact_at_full_size = True


class Bare(nn.Module):
    """A third party's layer: the same map and none of the hooks, not even ``in_features``."""

    caught_by: ClassVar[set[str]] = set()

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.map = nn.Linear(in_features, out_features, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x)


# The function --------------------------------------------------------------------------------


class WrongDenseWeight(Sound):
    caught_by: ClassVar = {"dense_weight"}

    def dense_weight(self) -> Tensor:
        # The gradients agree: only the value is wrong.
        return self.weight + 0.1


class Merges(Bare):
    """Sound: evaluates with weights kept aside, through which no gradient flows."""

    merged: Tensor | None = None

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.merged = None if mode else self.map.weight.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x) if self.merged is None else F.linear(x, self.merged.to(x), self.map.bias)


class TransposedDenseWeight(Bare):
    caught_by: ClassVar = {"dense_weight"}

    def dense_weight(self) -> Tensor:
        return self.map.weight.T


class DenseWeightOfEvaluation(Sound):
    """Its declared matrix is right in evaluation mode alone."""

    caught_by: ClassVar = {"dense_weight"}

    def dense_weight(self) -> Tensor:
        return self.weight + 0.1 if self.training else self.weight


class Relu(Bare):
    caught_by: ClassVar = {"linear"}

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.map(x), 0.5)


class Saturating(Bare):
    """Linear as long as inputs are small."""

    caught_by: ClassVar = {"linear"}

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.clamp(-20, 20))


class HiddenBias(Bare):
    caught_by: ClassVar = {"linear"}

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x) + 0.1


class OnlyMatrices(Bare):
    caught_by: ClassVar = {"shapes", "one_dimensional"}

    def forward(self, x: Tensor) -> Tensor:
        _batch, _features = x.shape
        return self.map(x)


class MixesTime(Bare):
    """Transposes (batch, time) on the way."""

    caught_by: ClassVar = {"shapes"}

    def forward(self, x: Tensor) -> Tensor:
        y = self.map(x)
        return y.transpose(0, 1).reshape(y.shape) if x.ndim == 3 else y


class MixesBatch(Bare):
    caught_by: ClassVar = {"shapes"}

    def forward(self, x: Tensor) -> Tensor:
        y = self.map(x)
        return (y + 0.1 * (y.roll(1, 0) - y)) if x.ndim > 1 else y


class OnlyEvenSizes(Bare):
    caught_by: ClassVar = {"sizes"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        if in_features % 2 or out_features % 2:
            raise ValueError(f"sizes must be even, not {in_features} and {out_features}")
        super().__init__(in_features, out_features, bias)


class OnlySquares(Bare):
    """Ignores ``out_features`` without a word."""

    caught_by: ClassVar = {"sizes"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, in_features, bias)


class EvenSizesDeclared(OnlyEvenSizes):
    caught_by: ClassVar = set()

    @classmethod
    def supports(cls, in_features: int, out_features: int) -> str | None:
        return "sizes must be even" if in_features % 2 or out_features % 2 else None


class OtherInTraining(Bare):
    caught_by: ClassVar = {"training_mode"}

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x) * (2 if self.training else 1)


class HiddenNoise(Bare):
    """Dropout by hand, of which nothing says that it is there."""

    caught_by: ClassVar = {"training_mode", "gradcheck"}

    def forward(self, x: Tensor) -> Tensor:
        y = self.map(x)
        return y * torch.bernoulli(torch.full_like(y, 0.9)) if self.training else y


class NoiseDeclared(HiddenNoise):
    caught_by: ClassVar = set()

    @property
    def stochastic(self) -> bool:
        return self.training


# Gradients -----------------------------------------------------------------------------------


class Detached(Bare):
    caught_by: ClassVar = {"gradient", "gradcheck"}

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.map.weight.detach(), self.map.bias)


class NoGraph(Bare):
    """The constructor leaves grad mode off for its forward."""

    caught_by: ClassVar = {"gradient", "gradcheck"}

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.map(x)


class Unused(Bare):
    caught_by: ClassVar = {"gradient"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.spare = nn.Parameter(torch.ones(3))


class DetachedDenseWeight(Sound):
    caught_by: ClassVar = {"gradient"}

    def dense_weight(self) -> Tensor:
        return self.weight.detach()


class _DoubledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * g


class WrongBackward(Sound):
    caught_by: ClassVar = {"gradient", "gradcheck"}

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, _DoubledGradient.apply(self.weight), self.bias)


class WrongBackwardAlone(WrongBackward):
    """Without a matrix of its own to compare with."""

    caught_by: ClassVar = {"gradcheck"}
    dense_weight = None


class OnlyFloat32(Bare):
    caught_by: ClassVar = {"gradcheck", "bfloat16"}

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x * torch.ones(x.shape[-1], dtype=torch.float32)).float()


class DetachedPenalty(Sound):
    caught_by: ClassVar = {"penalty"}

    def penalty(self) -> Tensor:
        return self.weight.detach().square().mean()


class InfinitePenalty(Sound):
    caught_by: ClassVar = {"penalty"}

    def penalty(self) -> Tensor:
        return super().penalty() / 0


class PenaltyByRow(Sound):
    """Each row's penalty, not their sum: the harness cannot add it to a loss."""

    caught_by: ClassVar = {"penalty"}

    def penalty(self) -> Tensor:
        return self.weight.square().mean(1)


# The start, and what comes back ---------------------------------------------------------------


class Scaled(Bare):
    factor: ClassVar[float]

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        with torch.no_grad():
            self.map.weight *= self.factor


class TooSmall(Scaled):
    caught_by: ClassVar = {"output_scale"}
    factor = 1 / 30


class TooLarge(Scaled):
    caught_by: ClassVar = {"output_scale"}
    factor = 900


class JustSmallEnough(Scaled):
    factor = 1.9


class JustTooLarge(Scaled):
    caught_by: ClassVar = {"output_scale"}
    factor = 2.1


class ForgottenPermutation(Bare):
    caught_by: ClassVar = {"restore"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.permutation = torch.randperm(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x[..., self.permutation])


class KeptPermutation(ForgottenPermutation):
    caught_by: ClassVar = set()

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        permutation = self.permutation
        del self.permutation
        self.register_buffer("permutation", permutation)


class Unpicklable(Bare):
    caught_by: ClassVar = {"restore"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.transform = lambda x: x

    def forward(self, x: Tensor) -> Tensor:
        return self.map(self.transform(x))


class Uncopyable(Bare):
    caught_by: ClassVar = {"restore"}

    def __deepcopy__(self, memo: dict[int, Any]) -> Uncopyable:
        raise TypeError("no copies")


class StaleCache(Bare):
    """Keeps the matrix of its first evaluation, which later states then do not reach."""

    caught_by: ClassVar = {"restore"}

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self.map(x)
        if not hasattr(self, "kept"):
            self.kept = self.map.weight.detach().clone()
        return F.linear(x, self.kept, self.map.bias)


class NumpyDraws(Bare):
    caught_by: ClassVar = {"seed", "global_state"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        signs = np.random.choice([-1.0, 1.0], in_features)  # noqa: NPY002
        self.register_buffer("signs", torch.tensor(signs, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x * self.signs)


class FreshEntropy(Bare):
    caught_by: ClassVar = {"seed"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        with torch.no_grad():
            self.map.weight *= 0.9 + 0.2 * np.random.default_rng().random()


class SetsSeed(Bare):
    """Every trial starts from the same weights, whatever its seed."""

    caught_by: ClassVar = {"seed"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        torch.manual_seed(0)
        super().__init__(in_features, out_features, bias)


class SeedsInForward(Bare):
    """Draws the same noise at every call, and makes everything after it draw the same."""

    caught_by: ClassVar = {"seed"}

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        y = self.map(x)
        return y * torch.bernoulli(torch.full_like(y, 0.9)) if self.training else y

    @property
    def stochastic(self) -> bool:
        return self.training


class RandomOutputs(Bare):
    """Dropout that evaluation mode does not stop."""

    caught_by: ClassVar = {
        *("seed", "shapes", "linear", "training_mode", "gradcheck", "restore"),
        *("one_dimensional", "non_contiguous", "bfloat16", "autocast"),
    }

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.map(x), 0.5)


# Side effects --------------------------------------------------------------------------------


class SideEffect(Bare):
    caught_by: ClassVar = {"global_state"}
    effect: ClassVar[Callable[[], object]]

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        type(self).effect()


class SetsDefaultDtype(SideEffect):
    effect = staticmethod(lambda: torch.set_default_dtype(torch.float64))


class SetsDefaultDevice(SideEffect):
    effect = staticmethod(lambda: torch.set_default_device("meta"))


class SetsGradMode(SideEffect):
    effect = staticmethod(lambda: torch.set_grad_enabled(False))


class SetsThreads(SideEffect):
    effect = staticmethod(lambda: torch.set_num_threads(torch.get_num_threads() + 1))


class SetsDeterministic(SideEffect):
    effect = staticmethod(lambda: torch.use_deterministic_algorithms(True))


class SeedsPython(SideEffect):
    effect = staticmethod(lambda: random.seed(0))


class SetsEnvironment(SideEffect):
    effect = staticmethod(lambda: os.environ.update(OMP_NUM_THREADS="7"))


class Prints(SideEffect):
    caught_by: ClassVar = {"prints"}
    effect = staticmethod(lambda: print("a new layer"))


class PrintsErrors(SideEffect):
    caught_by: ClassVar = {"prints"}
    effect = staticmethod(lambda: print("a new layer", file=sys.stderr))


# What the class declares ---------------------------------------------------------------------


class UnknownSetting(Bare):
    caught_by: ClassVar = {"declarations"}
    size_setting = "rnak"


class UnknownExemption(Bare):
    caught_by: ClassVar = {"declarations"}
    exempt: ClassVar = {"output_size": "no such check"}


class ExemptFromWords(Bare):
    caught_by: ClassVar = {"declarations"}
    exempt: ClassVar = "output_scale"


class ConstructionNeedsNoExemption(Bare):
    """It can be built: that it claims an exemption says nothing that is true."""

    caught_by: ClassVar = {"declarations"}
    exempt: ClassVar = {"construction": "must be built by hand"}


class PaddedSize(Bare):
    """Tells the size that it computes with, not the one that it was asked for."""

    caught_by: ClassVar = {"declarations"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.in_features = 32 * -(-in_features // 32)


class SummaryOfTensors(Sound):
    caught_by: ClassVar = {"declarations"}

    def summary(self) -> dict[str, Any]:
        return {"norm": self.weight.norm()}


class CountsTooFew(Sound):
    """One for each output."""

    caught_by: ClassVar = {"counts"}

    def multiply_adds(self) -> int:
        return self.out_features


class CountsFloatingPointOperations(Sound):
    caught_by: ClassVar = {"counts"}

    def multiply_adds(self) -> int:
        return 2 * self.weight.numel()


class CountsFraction(Sound):
    caught_by: ClassVar = {"counts"}

    def multiply_adds(self) -> Any:
        return self.weight.numel() / 1


class WrongParameterCount(Sound):
    caught_by: ClassVar = {"counts"}

    def parameter_count(self) -> int:
        return self.weight.numel()


class WorseThanZero(Sound):
    caught_by: ClassVar = {"from_dense"}

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, **settings: Any) -> Sound:
        return super().from_dense(-weight, bias, **settings)


class ForgetsBias(Sound):
    caught_by: ClassVar = {"from_dense"}

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, **settings: Any) -> Sound:
        return super().from_dense(weight, None if bias is None else 0 * bias, **settings)


class InventsBias(Sound):
    """A bias of ones where none was asked for."""

    caught_by: ClassVar = {"from_dense"}

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, **settings: Any) -> Sound:
        bias = torch.ones(len(weight)) if bias is None else bias
        return super().from_dense(weight, bias, **settings)


class NotExact(Exact):
    """Never more than half of the full rank."""

    caught_by: ClassVar = {"from_dense"}

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, *, rank: int | None = None) -> Sound:
        return super().from_dense(weight, bias, rank=min(rank or 4, min(weight.shape) // 2))


class ErrorRises(Exact):
    """Exact at full size, and at a small one, but not between."""

    caught_by: ClassVar = {"from_dense"}

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, *, rank: int | None = None) -> Sound:
        return super().from_dense(weight, bias, rank={2: 6, 4: 1}.get(rank or 0, rank))


class RefusesLargeSizes(Exact):
    """Exact at full size, above which it raises: a size that doubling alone may not meet."""

    caught_by: ClassVar = set()

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, *, rank: int | None = None) -> Sound:
        if rank is not None and rank > min(weight.shape):
            raise ValueError("rank exceeds the full rank")
        return super().from_dense(weight, bias, rank=rank)


# Limits --------------------------------------------------------------------------------------


class NoSingleVector(Bare):
    caught_by: ClassVar = {"one_dimensional"}

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 1:
            raise ValueError("give a batch")
        return self.map(x)


class NoEmptyBatch(Bare):
    caught_by: ClassVar = {"empty_batch"}

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.unflatten(-1, (1, -1)).reshape(-1, x.shape[-1])).reshape(
            *x.shape[:-1], -1
        )


class NeedsContiguous(Bare):
    caught_by: ClassVar = {"non_contiguous"}

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_contiguous():
            raise RuntimeError("view size is not compatible with the input's strides")
        return self.map(x)


class NoBfloat16(Bare):
    caught_by: ClassVar = {"bfloat16"}

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return self.map(x)


class NoAutocast(Bare):
    caught_by: ClassVar = {"autocast"}

    def forward(self, x: Tensor) -> Tensor:
        y = self.map(x)
        if y.dtype != x.dtype:
            raise RuntimeError("expected scalar type Float but found BFloat16")
        return y


class NoCompile(Bare):
    """Asks for a value in the middle of forward."""

    caught_by: ClassVar = {"compile"}

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x) if float(x.detach().sum()) < 1e9 else self.map(x).clone()


class NeedsBias(Bare):
    caught_by: ClassVar = {"bias"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        if not bias:
            raise NotImplementedError("always with a bias")
        super().__init__(in_features, out_features)


class NeverABias(Bare):
    caught_by: ClassVar = {"bias"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=False)


# What cannot be checked at all ---------------------------------------------------------------


class Unbuildable(Bare):
    caught_by: ClassVar = {"construction"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        raise RuntimeError("needs\na compiler")


class NoBiasArgument(nn.Linear):
    caught_by: ClassVar = {"construction"}

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)


class NoModule:
    caught_by: ClassVar = {"construction"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        pass


class RefusesAll(Bare):
    caught_by: ClassVar = {"construction"}

    @classmethod
    def supports(cls, in_features: int, out_features: int) -> str | None:
        return "never"


class Exits(Bare):
    caught_by: ClassVar = {"construction"}

    def forward(self, x: Tensor) -> Tensor:
        sys.exit("no licence")
