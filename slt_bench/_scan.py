"""The whole sequence of a GRU with dense recurrent matrices, as one differentiable function.

The cell (Wolter, Lin, Yao 2020, arXiv 2004.09569, equations 9 to 12), for steps t = 0 .. T-1::

    r = sigmoid(W_reset h + a_reset)        a_* = projection of the input of this step
    z = sigmoid(W_update h + a_update)
    c = tanh(W_state (r * h) + a_state)
    h' = h + z * (c - h)

Everything is laid out (time, batch, features), so that one step is one contiguous block. r and z
lie side by side: one product a step makes both.

Time is walked in chunks of a few steps. What does not depend on the next step (input projections,
derivatives of the gates, weight gradients) is done for a whole chunk in one call, while its data
still is in the cache. The loop over single steps keeps three products and a few elementwise
operations. The history is 4 tensors of (time, batch, hidden), and none without gradients; the
backward pass needs only one chunk on top of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# A chunk has at most this many steps and, where it can, this many elements in one (steps, batch,
# hidden) tensor. Longer chunks leave the cache, shorter ones pay for more calls.
_CHUNK_STEPS = 16
_CHUNK_ELEMENTS = 2**19


def scan(
    x: Tensor,
    w_in: Tensor | None,
    b_in: Tensor | None,
    h0: Tensor,
    w_gates: Tensor,
    w_state: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run the cell over a sequence: states (time, batch, hidden) and the last one (batch, hidden).

    Args:
        x: inputs, (time, batch, features), with ``w_in`` and ``b_in``; or, without these two, their
            projections, (time, batch, 3 * hidden), in the order reset, update, state.
        w_in: input matrices one below the other, (3 * hidden, features), or None.
        b_in: their biases, (3 * hidden,), or None.
        h0: first state, (batch, hidden).
        w_gates: reset matrix above update matrix, (2 * hidden, hidden).
        w_state: state matrix, (hidden, hidden).

    Differentiable once in every argument; a second derivative raises RuntimeError.
    """
    arguments = (x, w_in, b_in, h0, w_gates, w_state)
    if torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in arguments):
        states, last = _Scan.apply(*arguments)  # type: ignore[no-untyped-call]
        return states, last
    history, _, _ = _forward(*arguments, keep=False)
    return history[1:], history[-1].clone()


def _chunk(batch: int, hidden: int) -> int:
    return max(1, min(_CHUNK_STEPS, _CHUNK_ELEMENTS // max(1, batch * hidden)))


def _forward(
    x: Tensor,
    w_in: Tensor | None,
    b_in: Tensor | None,
    h0: Tensor,
    w_gates: Tensor,
    w_state: Tensor,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """History of h (time + 1, starting with h0), of [r, z] and of c.

    With ``keep`` False the last two hold one chunk, which every chunk overwrites.
    """
    time, batch = x.shape[:2]
    hidden = h0.shape[1]
    chunk = _chunk(batch, hidden)
    kept = time if keep else min(chunk, time)
    history = x.new_empty(time + 1, batch, hidden)
    gates = x.new_empty(kept, batch, 2 * hidden)
    candidates = x.new_empty(kept, batch, hidden)
    reset_state = x.new_empty(batch, hidden)
    minus_one = x.new_full((), -1.0)
    gates_t, state_t = w_gates.t(), w_state.t()

    history[0].copy_(h0)
    h, *next_states = history.unbind(0)
    for start in range(0, time, chunk):
        stop = min(start + chunk, time)
        here = slice(start, stop) if keep else slice(0, stop - start)
        g, c = gates[here], candidates[here]
        _project(x[start:stop], w_in, b_in, g, c)
        r, z = g[..., :hidden], g[..., hidden:]
        steps = (g.unbind(0), r.unbind(0), z.unbind(0), c.unbind(0), next_states[start:stop])
        for g_t, r_t, z_t, c_t, h_next in zip(*steps, strict=True):
            g_t.addmm_(h, gates_t).sigmoid_()
            torch.mul(r_t, h, out=reset_state)
            # tanh(a) = 2 sigmoid(2 a) - 1: torch's sigmoid is about four times as fast as its
            # tanh, and the doubling costs nothing inside the product.
            c_t.addmm_(reset_state, state_t, beta=2, alpha=2).sigmoid_()
            torch.add(minus_one, c_t, alpha=2, out=c_t)
            h = torch.lerp(h, c_t, z_t, out=h_next)
    return history, gates, candidates


def _project(
    x: Tensor, w_in: Tensor | None, b_in: Tensor | None, gates: Tensor, candidates: Tensor
) -> None:
    """Write the input projections of some steps into ``gates`` and ``candidates``."""
    two = gates.shape[2]
    if w_in is None or b_in is None:
        gates.copy_(x[..., :two])
        candidates.copy_(x[..., two:])
        return
    rows, w_t = x.flatten(0, 1), w_in.t()
    torch.addmm(b_in[:two], rows, w_t[:, :two], out=gates.flatten(0, 1))
    torch.addmm(b_in[two:], rows, w_t[:, two:], out=candidates.flatten(0, 1))


class _Scan(torch.autograd.Function):
    """``_forward`` with its gradient, written by hand."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        x, w_in, _, _, w_gates, w_state = arguments
        history, gates, candidates = _forward(*arguments, keep=True)
        ctx.save_for_backward(x, w_in, w_gates, w_state, history, gates, candidates)
        ctx.set_materialize_grads(False)
        return history[1:], history[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor | None, grad_last: Tensor | None) -> Any:
        x, w_in, w_gates, w_state, history, gates, candidates = ctx.saved_tensors
        needs_x, needs_w_in, needs_b_in, needs_h0, needs_gates, needs_state = ctx.needs_input_grad
        time, batch = x.shape[:2]
        hidden = w_state.shape[0]
        two = 2 * hidden
        chunk = min(_chunk(batch, hidden), time)

        d_x = torch.empty_like(x) if needs_x else None
        d_w_in = x.new_zeros(x.shape[2], 3 * hidden) if needs_w_in else None
        d_b_in = x.new_zeros(3 * hidden) if needs_b_in else None
        d_w_gates = torch.zeros_like(w_gates) if needs_gates else None
        d_w_state = torch.zeros_like(w_state) if needs_state else None

        # Gradients with respect to what enters sigmoid and tanh, and per unit of the gradient of
        # h' (of r * h for the reset gate) the factors that lead there.
        d_gates, d_candidates = x.new_empty(chunk, batch, two), x.new_empty(chunk, batch, hidden)
        d_reset, d_update = d_gates[..., :hidden], d_gates[..., hidden:]
        by_reset, by_update, by_state, reset_state = x.new_empty(4, chunk, batch, hidden).unbind(0)
        d_reset_state = x.new_empty(batch, hidden)
        d_h = x.new_zeros(batch, hidden)
        if grad_last is not None:
            d_h.copy_(grad_last)
        reset, update = gates[..., :hidden], gates[..., hidden:]

        for stop in range(time, 0, -chunk):
            start = max(0, stop - chunk)
            n = stop - start
            h, c = history[start:stop], candidates[start:stop]
            r, z = reset[start:stop], update[start:stop]
            rh, f_r, f_z, f_c = reset_state[:n], by_reset[:n], by_update[:n], by_state[:n]
            torch.mul(r, h, out=rh)
            torch.addcmul(rh, rh, r, value=-1, out=f_r)  # h r (1 - r)
            torch.sub(c, h, out=f_z).mul_(z)
            f_z.addcmul_(f_z, z, value=-1)  # (c - h) z (1 - z)
            torch.mul(z, c, out=f_c)
            torch.addcmul(z, f_c, c, value=-1, out=f_c)  # z (1 - c c)

            outer = (None,) * n if grad_states is None else grad_states[start:stop].unbind(0)
            factors = (r, z, f_r, f_z, f_c)
            targets = (d_gates[:n], d_reset[:n], d_update[:n], d_candidates[:n])
            columns = [t.unbind(0)[::-1] for t in (*factors, *targets)]
            for d_out, r_t, z_t, f_r_t, f_z_t, f_c_t, d_g_t, d_r_t, d_z_t, d_c_t in zip(
                outer[::-1], *columns, strict=True
            ):
                if d_out is not None:
                    d_h.add_(d_out)
                torch.mul(d_h, f_c_t, out=d_c_t)
                torch.mul(d_h, f_z_t, out=d_z_t)
                torch.mm(d_c_t, w_state, out=d_reset_state)
                torch.mul(d_reset_state, f_r_t, out=d_r_t)
                d_h.addcmul_(d_h, z_t, value=-1)  # through h' = (1 - z) h + ...
                d_h.addcmul_(d_reset_state, r_t)
                d_h.addmm_(d_g_t, w_gates)

            d_g, d_c = d_gates[:n].flatten(0, 1), d_candidates[:n].flatten(0, 1)
            if d_w_gates is not None:
                d_w_gates.addmm_(d_g.t(), h.flatten(0, 1))
            if d_w_state is not None:
                d_w_state.addmm_(d_c.t(), rh.flatten(0, 1))
            rows = x[start:stop].flatten(0, 1)
            if d_w_in is not None:
                # This way round: with two or three features, (3 hidden, rows) @ (rows, features)
                # is seven times slower.
                d_w_in[:, :two].addmm_(rows.t(), d_g)
                d_w_in[:, two:].addmm_(rows.t(), d_c)
            if d_b_in is not None:
                d_b_in[:two] += d_g.sum(0)
                d_b_in[two:] += d_c.sum(0)
            if d_x is not None:
                d_rows = d_x[start:stop].flatten(0, 1)
                if w_in is None:
                    d_rows[:, :two] = d_g
                    d_rows[:, two:] = d_c
                else:
                    torch.mm(d_g, w_in[:two], out=d_rows).addmm_(d_c, w_in[two:])

        d_w = None if d_w_in is None else d_w_in.t()
        return d_x, d_w, d_b_in, d_h if needs_h0 else None, d_w_gates, d_w_state
