"""Borrowing a network: frozen while we climb, read without hooks left behind, given back as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function

from featvis.errors import FeatvisError, ModelError, NetworkError
from featvis.models.borrow.fold import Pair, Rest, fold_in, scale_and_offset, sends_back_its_own
from featvis.models.borrow.gather import gather
from featvis.models.borrow.loan import Loan, lent
from featvis.models.borrow.long_ways import in_a_network
from featvis.models.borrow.moments import MOMENTS_FROM, MOMENTS_OF, Moments, MomentsFrom
from featvis.models.borrow.shortcuts import take_shortcuts
from featvis.models.form import IMAGES, Form
from featvis.models.layers.answer import answer_at
from featvis.models.plain import as_written, is_compiled
from featvis.models.reason import is_resource, reason_of


class _Finished(BaseException):
    """Ends the forward pass; no Exception, lest a network's own ``except Exception`` swallow it."""


@contextmanager
def borrowed(
    module: nn.Module,
    *,
    channels_last: bool = False,
    fold: Sequence[Pair] = (),
    cheaper: bool = False,
    only: Mapping[str, Sequence[int]] | None = None,
    precision: str = "float32",
    writes: bool = False,
) -> Iterator[Loan]:
    """Freeze ``module`` and put it in eval mode; on every way out it is exactly as before.

    Meanwhile its weights may be ``channels_last``, BatchNorms be folded into convolutions (``fold``), modules
    do their work as :mod:`featvis.models.borrow.shortcuts` says (``cheaper``), layers compute some units
    ``only`` (see :func:`featvis.models.borrow.gather.gather`), and with the ``precision`` bfloat16 weights
    are cast once, which autocast would do at every step. With ``writes`` its buffers keep what is written
    into them.
    """

    def change() -> None:
        for inner in module.modules():
            for name, mine in inner._parameters.items():
                if mine is not None and mine.is_inference():  # autograd cannot save these
                    inner._parameters[name] = nn.Parameter(mine.clone(), requires_grad=False)
            for name, buffer in inner._buffers.items():
                if buffer is not None and buffer.is_inference():
                    inner._buffers[name] = buffer.clone()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        module.eval()
        fold_in(module, fold)
        gather(module, only or {})
        if channels_last:
            for inner in module.modules():
                for name, mine in inner._parameters.items():
                    if mine is not None and mine.dim() == 4:
                        laid = mine.detach().contiguous(memory_format=torch.channels_last)
                        inner._parameters[name] = nn.Parameter(laid, requires_grad=False)
        if precision == "bfloat16":
            _cast(module)
        if cheaper:
            take_shortcuts(module)

    with lent(module, change, writes=writes) as loan:
        yield loan


def _cast(module: nn.Module) -> None:
    """Let the modules whose weights autocast casts hold them as bfloat16 already: the same numbers."""
    for inner in module.modules():
        # Only where the weights are read by torch's own convolution or product, and nowhere else.
        if type(inner).forward not in _AUTOCAST and type(inner).__name__ != "Conv2dSame":
            continue
        for name, mine in inner._parameters.items():
            if mine is not None and mine.dtype == torch.float32:
                cast = nn.Parameter(mine.detach().to(torch.bfloat16), requires_grad=False)
                inner._parameters[name] = cast


_AUTOCAST: tuple[Any, ...] = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward, nn.Linear.forward)


class Tap:
    """Runs a borrowed network up to the deepest wanted layer and returns what the wanted layers gave.

    Hooks exist only while a forward pass runs, so between two steps the network is free of them.
    """

    def __init__(
        self,
        module: nn.Module,
        calls: Mapping[str, int],
        mean: Sequence[float],
        std: Sequence[float],
        precision: str,
        fold: Sequence[Pair] = (),
        *,
        name: str = "the network",
        axes: Mapping[str, int] | None = None,
        along: Mapping[str, int] | None = None,
        form: Form = IMAGES,
        channels_last: bool = True,
        loan: Loan | None = None,
        one_by_one: bool = False,
        own: tuple[str, int] | None = None,
    ) -> None:
        self._module, self._form, self._channels_last = module, form, channels_last
        self._one_by_one = one_by_one  # what the network gives for an image depends on its batch
        self._loan, self._name = loan, name
        # What forward returns as a layer, and its place among the tensors returned.
        self._own = own if own is not None and own[0] in calls else None
        self._axes = dict(axes or {})  # how many axes each layer has, where that is known
        self._along = dict(along or {})  # the units' axis of what modules give whose moments are read
        self._as_written = partial(as_written, module) if is_compiled(module) else nullcontext
        norms: dict[str, Any] = {pair.norm: module.get_submodule(pair.norm) for pair in fold}
        # Moments are float32 whatever the network's type.
        read = {name: norms[norm] for name in calls if (norm := name.removeprefix(MOMENTS_OF)) in norms}
        read = {name: norm for name, norm in read.items() if name.startswith(MOMENTS_OF)}
        self._folded = tuple(read)
        both = [torch.stack(scale_and_offset(norm)).float() for norm in read.values()]
        self._folded_by = torch.cat(both, dim=1) if both else None
        self._calls = dict(calls)
        self._modules = dict(module.named_modules(remove_duplicate=False))
        self._precision = precision
        first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
        self._dtype = first.dtype
        # (x - mean) / std as one product and sum.
        exact_mean, exact_std = (torch.tensor(n, dtype=torch.float64)[:, None, None] for n in (mean, std))
        self._scale = (1 / exact_std).float().to(first.device)
        self._offset = (-exact_mean / exact_std).float().to(first.device)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the activations for ``images`` ``(B, C, H, W)`` in [0, 1]."""
        return self.read(self.prepare(images))

    def prepare(self, images: Tensor) -> Tensor:
        """Return images in [0, 1] as the network takes them: normalized, of its type, in its form."""
        shown = torch.addcmul(self._offset, images, self._scale).to(self._dtype)
        if self._form != IMAGES:
            return self._form.shown(shown)
        return shown.contiguous(memory_format=torch.channels_last) if self._channels_last else shown

    def read(self, shown: Tensor) -> dict[str, Tensor]:
        """Return the activations for prepared images."""
        if self._one_by_one and len(shown) > 1:
            each = [self.read(one) for one in torch.split(shown, 1)]
            return {name: torch.cat([given[name] for given in each]) for name in each[0]}
        if self._loan is not None:
            self._loan.resume()
        activations: dict[str, Tensor] = {}
        left = dict(self._calls)
        handles = []
        autocast: Any = nullcontext()
        if self._precision == "bfloat16":
            autocast = torch.autocast(shown.device.type, dtype=torch.bfloat16)
        # Whoever redirects gradients of dead units must see the plain functions.
        watched = has_torch_function((shown,))
        try:
            for name in self._calls:
                if self._own is not None and name == self._own[0]:
                    continue
                handles.append(self._hook(name, activations, left, len(shown), watched))
            with autocast, self._as_written(), in_a_network():
                returned = self._module(shown)
            if self._own is not None:
                activations[self._own[0]] = self._answer(returned, len(shown))
                left[self._own[0]] = 0
        except _Finished:
            pass
        except FeatvisError:
            raise
        except Exception as error:
            if is_resource(error):
                raise
            raise NetworkError(f"{self._name} fails in its forward: {reason_of(error)}") from error
        finally:
            for handle in handles:
                handle.remove()
        if any(count > 0 for count in left.values()):
            never = [name for name, count in left.items() if count > 0]
            raise ModelError(f"layer {never[0]!r} did not run in this forward pass as it did in the first")
        if self._folded_by is not None:
            activations |= _unfolded({name: activations[name] for name in self._folded}, self._folded_by)
        return activations

    def _answer(self, returned: Any, images: int) -> Tensor:
        """Return the tensor that is the network's answer, with an axis for the images and one for units."""
        name, place = self._own or ("", 0)
        answer = answer_at(returned, place)
        if answer is None:
            raise ModelError(f"layer {name!r}: forward does not return now what it did at first")
        lacking = self._axes.get(name, answer.dim()) - answer.dim()
        if lacking > 0:  # (B,) is one unit; squeeze() takes away the axis of a batch of one
            answer = answer.reshape((1,) * lacking + answer.shape) if images == 1 else answer[:, None]
        return answer

    def _hook(
        self, name: str, activations: dict[str, Tensor], left: dict[str, int], images: int, watched: bool
    ) -> Any:
        def note(activation: Any) -> Any:
            if isinstance(activation, tuple | list):
                activation = activation[0]
            if images == 1 and activation.dim() == self._axes.get(name, 0) - 1:
                activation = activation[None]  # squeeze() takes away the axis of a batch of one
            left[name] -= 1
            if left[name] == 0:
                activations[name] = activation
                if all(count <= 0 for count in left.values()):
                    raise _Finished
                return True
            return False

        base = name if name in self._modules else name.rpartition("#")[0] or name  # NAME#2: the second call
        if base in self._modules:

            def after(_: nn.Module, __: Any, output: Any) -> Any:
                # What runs next may write in place (ReLU, +=): it gets a copy, ours stays true.
                if not note(output):
                    return None
                if isinstance(output, tuple | list):
                    return type(output)((output[0].clone(), *output[1:]))
                return output.clone()

            return self._modules[base].register_forward_hook(after)

        if name.startswith(MOMENTS_FROM):
            inner = self._modules[name.removeprefix(MOMENTS_FROM)]

            def beside(_: nn.Module, __: Any, output: Tensor) -> Tensor:
                # What a convolution gives is kept by nobody, unless it is another kind or somebody looks on.
                alone = type(inner).forward is nn.Conv2d.forward and len(inner._forward_hooks) == 1
                owned = alone and "forward" not in inner.__dict__ and not output._is_view()
                passed, moments = MomentsFrom.apply(output, self._along.get(name, 1), owned)
                note(moments)
                return passed  # type: ignore[no-any-return]

            return inner.register_forward_hook(beside)

        norm = name.removeprefix(MOMENTS_OF)
        plain = name not in self._folded
        owned = plain or sends_back_its_own(self._modules[norm])
        rest = self._modules[norm].__dict__.get("forward")

        def before(_: nn.Module, inputs: Any) -> Any:
            bounds = None
            if isinstance(rest, Rest) and not plain and not watched:
                bounds = rest.bounds
                rest.done = bounds is not None
            passed, moments = Moments.apply(inputs[0], not plain, owned, bounds)
            note(moments)
            return (passed, *inputs[1:])

        return self._modules[norm].register_forward_pre_hook(before)


def _unfolded(moments: Mapping[str, Tensor], by: Tensor) -> dict[str, Tensor]:
    """Return the moments of what came into BatchNorms from those of what their convolutions now give.

    Of all layers at once: each alone would be many operations on a few numbers. ``by`` is the scale and
    offset of every layer's channels in a row, ``(2, ΣC)``.
    """
    scale, offset = by
    mean, square = torch.cat(list(moments.values()), dim=2).unbind(1)
    own_mean = (mean - offset) / scale
    variance = (square - mean.square()) / scale.square()
    own = torch.stack((own_mean, variance + own_mean.square()), dim=1)
    return dict(
        zip(moments, torch.split(own, [values.shape[2] for values in moments.values()], dim=2), strict=True)
    )
