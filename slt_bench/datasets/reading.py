"""Reading data sets as tensors."""

from __future__ import annotations

import gzip
import io
import lzma
import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slt_bench.datasets.catalogue import DATASETS, Dataset, describe
from slt_bench.datasets.finding import contents_of
from slt_bench.errors import UsageError


@dataclass(frozen=True, eq=False)
class ImageData:
    """Grey images (N, 28, 28) as uint8, 0 to 255, and their labels (N,) as int64, 0 to 9."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True, eq=False)
class TextData:
    """Texts (characters,) as uint8 indices into ``alphabet``, the sorted symbols of ``train``."""

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    alphabet: str


def load_images(name: str, folder: str | os.PathLike[str] | None = None) -> ImageData:
    """Read ``mnist`` or ``mnist-5k``.

    ``folder`` is the first place looked in; a data set that is shipped needs none.
    Raises ``DataUnavailable`` (``WrongHash`` where a file has other bytes) and ``UsageError``.
    """
    data = _of_kind(name, "images")
    contents = contents_of(data, folder)
    if data.shipped:
        with np.load(io.BytesIO(contents[0]), allow_pickle=False) as arrays:
            parts = [
                arrays[f"{part}_{what}"]
                for part in ("train", "test")
                for what in ("images", "labels")
            ]
    else:
        # The idx format: a header of 16 bytes for images, 8 for labels, then one byte a value.
        parts = [
            np.frombuffer(bytearray(gzip.decompress(raw)), np.uint8, offset=offset)
            for raw, offset in zip(contents, (16, 8, 16, 8), strict=True)
        ]
    tensors = [torch.from_numpy(part) for part in parts]
    return ImageData(
        name,
        train_images=tensors[0].reshape(-1, 28, 28),
        train_labels=tensors[1].long(),
        test_images=tensors[2].reshape(-1, 28, 28),
        test_labels=tensors[3].long(),
    )


def load_text(name: str, folder: str | os.PathLike[str] | None = None) -> TextData:
    """Read ``ptb-eos``, ``ptb-raw`` or ``kjv`` character by character.

    A text of one file is cut into three contiguous parts: of n characters the first
    floor(0.90 n) are for training, those up to floor(0.95 n) for validation, the rest for testing.
    ``folder`` is the first place looked in; a data set that is shipped needs none.
    Raises ``DataUnavailable`` (``WrongHash`` where a file has other bytes) and ``UsageError``.
    """
    data = _of_kind(name, "text")
    texts = [
        lzma.decompress(raw) if file.name.endswith(".xz") else raw
        for file, raw in zip(data.files, contents_of(data, folder), strict=True)
    ]
    if len(texts) == 1:
        text = texts[0]
        cuts = len(text) * 90 // 100, len(text) * 95 // 100
        texts = [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]
    parts = [
        np.frombuffer(text.replace(b"\n", data.line_end.encode("ascii")), np.uint8)
        for text in texts
    ]
    used = [np.bincount(part, minlength=256) > 0 for part in parts]
    if np.any((used[1] | used[2]) & ~used[0]):
        raise ValueError(f"data set {name!r}: its training part lacks a symbol of the other parts")
    symbols = np.flatnonzero(used[0])
    index = np.zeros(256, np.uint8)
    index[symbols] = np.arange(len(symbols))
    train, validation, test = (torch.from_numpy(index[part]) for part in parts)
    return TextData(name, train, validation, test, bytes(symbols.tolist()).decode("ascii"))


def _of_kind(name: str, kind: str) -> Dataset:
    data = describe(name)
    if data.kind != kind:
        allowed = ", ".join(other.name for other in DATASETS.values() if other.kind == kind)
        raise UsageError(f"data set {name!r} holds {data.kind}, not {kind} (allowed: {allowed})")
    return data
