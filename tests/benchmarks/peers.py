"""What is timed beside the project's layers: the usual ways to build the same maps, other
libraries, and forms that were tried. Each is checked against ours before it is timed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.recurrent import GRU


class Conv1dWavelet(nn.Module):
    """The analysis and synthesis of a wavelet layer by strided convolutions, as is usual."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.like
        dec, rec = layer.filters[:2].flip(-1).unsqueeze(1), layer.filters[2:].unsqueeze(1)
        taps = dec.shape[-1]
        lo, details = (x * layer.b[0]).unsqueeze(1), []
        for length in layer.lengths:
            extra = 2 * length + taps - 2 - lo.shape[-1] - (taps - 2)
            lo, hi = F.conv1d(F.pad(lo, (taps - 2, extra)), dec, stride=2).split(1, 1)
            details.append(hi)
        c = torch.cat([*details, lo], -1)[:, 0].index_select(1, layer.permutation) * layer.g[0]
        *slices, lo = c.unsqueeze(1).split([*layer.lengths, layer.lengths[-1]], -1)
        for length, hi in zip(reversed(layer.lengths), reversed(slices), strict=True):
            pairs = torch.cat([lo[..., :length], hi], 1)
            lo = F.conv_transpose1d(pairs, rec, stride=2)[..., taps - 2 : 2 - taps or None]
        return lo[:, 0, : layer.in_features] * layer.d[0] + layer.bias


class ButterflyFastfood(nn.Module):
    """A Fastfood layer whose Hadamard transforms are log2 n rounds of sums and differences."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.like
        n = layer.g.shape[1]
        y = _butterfly(x * layer.b[0]).index_select(1, layer.permutation)
        return _butterfly(y * (layer.g[0] / n)) * layer.s[0] + layer.bias


def _butterfly(x: Tensor) -> Tensor:
    batch, n = x.shape
    half = 1
    while half < n:
        a, b = x.reshape(batch, n // (2 * half), 2, half).unbind(2)
        x = torch.stack([a + b, a - b], 2).flatten(1)
        half *= 2
    return x


class EinsumTensorTrain(nn.Module):
    """A tensor-train layer of three cores by one einsum over all of them."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.like
        x = x.reshape(-1, *layer.in_modes)
        y = torch.einsum("bijk,uaiv,vcjw,wdkz->bacd", x, *layer.cores)
        return y.flatten(1) + layer.bias


class UsualLeNet5(nn.Sequential):
    """The dense network as users write it."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
        )


def onnx_gru(model: GRU, x: Tensor) -> Callable[[], Any]:
    """The same cell in ONNX Runtime: its GRU with linear_before_reset=0."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    weights = {k: v.detach().numpy() for k, v in model.named_parameters()}
    signs = {"update": -1, "reset": 1, "state": 1}  # its z weights the old state
    w, r, b = (
        np.concatenate([sign * weights[name.format(slot)] for slot, sign in signs.items()])[None]
        for name in ("input_{}.weight", "{}.weight", "input_{}.bias")
    )
    tensors = {"W": w, "R": r, "B": np.concatenate([b, np.zeros_like(b)], 1)}
    node = helper.make_node(
        "GRU", ["X", "W", "R", "B"], ["Y"], hidden_size=model.hidden_size, linear_before_reset=0
    )
    graph = helper.make_graph(
        [node],
        "gru",
        [helper.make_tensor_value_info("X", real, [x.shape[1], x.shape[0], x.shape[2]])],
        [helper.make_tensor_value_info("Y", real, None)],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    file = io.BytesIO()
    onnx.save(made, file)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(file.getvalue(), options, ["CPUExecutionProvider"])
    steps = x.transpose(0, 1).contiguous().numpy()
    return lambda: session.run(None, {"X": steps})[0]
