"""Who has a network now: a borrowing is undone, done again, and waits for that of another thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from featvis.errors import ModelError

_Asked = ParamSpec("_Asked")
_Value = TypeVar("_Value")

_turn = threading.Condition(threading.RLock())
_live: list[Loan] = []
"""Every loan that has begun and not ended, the latest last."""
_waiting: dict[int, Loan] = {}
"""By thread, the loan that it waits for."""
_sessions: ContextVar[list[Loan] | None] = ContextVar("_sessions", default=None)
_NOTHING = object()
_KINDS = ("cpu", "cuda", "mps", "xpu")
"""The devices that have an autocast."""


class Loan:
    """What one borrowing changes in a network, for as long as it lasts.

    At most one loan of a module is made at any time. A second one in the same thread sets the first aside,
    so that each sees the network as its user gave it; the order in which they end does not matter.
    """

    def __init__(self, module: nn.Module, change: Callable[[], None] | None, *, writes: bool = False) -> None:
        """Borrow ``module``, which ``change`` makes what the borrower needs; see :func:`lent`."""
        self._module, self._change, self._writes = module, change, writes
        self._touches = frozenset(id(part) for part in (*module.modules(), *module.parameters()))
        self._buffers: dict[int, tuple[int, Tensor]] = {}
        self._before: _State | None = None
        self._during: _State | None = None
        self.is_made = False
        """Whether the network is now as this loan changes it."""
        self.thread: int | None = None
        """Who has it; None between two steps of a run that its caller drives."""

    def begin(self) -> None:
        """Wait for other threads' loans of the same modules, set this one's own aside, and make it."""
        with _turn:
            self._wait()
            _live.append(self)
            try:
                self._make()
            except BaseException:
                self.end()
                raise

    def resume(self) -> None:
        """Make it again, if it was set aside."""
        if not self.is_made:
            with _turn:
                self._wait()
                self._make()

    def park(self) -> None:
        """Give the network back until :meth:`resume`; meanwhile anyone may have it."""
        with _turn:
            self._undo()
            self.thread = None
            _turn.notify_all()

    def end(self) -> None:
        """Give the network back for good; the loan that was set aside for this one is made again."""
        with _turn:
            self._undo()
            if self in _live:
                _live.remove(self)
            if self.thread is not None:
                for other in reversed(_live):
                    aside = other.thread == self.thread and not other.is_made and self._meets(other)
                    if aside and not any(made.is_made and made._meets(other) for made in _live):
                        other._make()
            self.thread = None
            _turn.notify_all()

    def _meets(self, other: Loan) -> bool:
        return not self._touches.isdisjoint(other._touches)

    def _holders(self) -> set[int]:
        """Return the other threads that have what this loan needs."""
        mine = threading.get_ident()
        found = {other.thread for other in _live if other is not self and self._meets(other)}
        return {thread for thread in found if thread is not None and thread != mine}

    def _wait(self) -> None:
        mine = threading.get_ident()
        while holders := self._holders():
            reached, left = set(holders), list(holders)
            while left:
                wanted = _waiting.get(left.pop())
                for thread in wanted._holders_for(mine) if wanted is not None else ():
                    if thread == mine:
                        raise ModelError(
                            "two threads each wait for a network that the other has; use one after the other"
                        )
                    if thread not in reached:
                        reached.add(thread)
                        left.append(thread)
            _waiting[mine] = self
            try:
                _turn.wait()
            finally:
                _waiting.pop(mine, None)
        self.thread = mine

    def _holders_for(self, asking: int) -> set[int]:
        found = {other.thread for other in _live if other is not self and self._meets(other)}
        return {thread for thread in found if thread is not None and _waiting.get(thread) is not self}

    def _make(self) -> None:
        for other in _live:
            if other is not self and other.is_made and self._meets(other):
                other._undo()
        if self._change is None:  # nothing is changed, so nothing is put back
            self.is_made = True
            return
        self._before = _State(self._module, None if self._writes else self._buffers)
        self.is_made = True
        if self._during is None:
            self._change()
        else:
            self._during.put_back(self._module, self._before)

    def _undo(self) -> None:
        if self.is_made and self._before is not None:
            self._during = _State(self._module)
            self._before.put_back(self._module, self._during)
        self.is_made = False


class _State:
    """Everything of a network that a borrowing may change, as it is at one moment."""

    def __init__(self, module: nn.Module, buffers: dict[int, tuple[int, Tensor]] | None = None) -> None:
        self.modules = {inner: _own(inner) for inner in module.modules()}
        self.learns = {parameter: parameter.requires_grad for parameter in module.parameters()}
        # A network may write into its buffers while it runs. What is there is kept, once for each change.
        self.buffers = buffers if buffers is not None else {}
        for buffer in module.buffers() if buffers is not None else ():
            if not buffer.is_inference() and not _is_as(buffer, self.buffers.get(id(buffer))):
                self.buffers[id(buffer)] = (buffer._version, buffer.detach().clone())

    def put_back(self, module: nn.Module, now: _State) -> None:
        """Make the network what it was at this moment; ``now`` is what it is."""
        for inner, own in self.modules.items():
            current = now.modules.get(inner)
            if current is None:
                continue
            if own[0] != current[0]:
                inner.training = own[0]
            for place, kept in (("_parameters", own[1]), ("_buffers", own[2])):
                held: dict[str, Any] = inner.__dict__[place]
                if list(held) != list(kept):
                    held.clear()
                for name, value in kept.items():
                    if held.get(name, _NOTHING) is not value:
                        held[name] = value
            if own[3] is not current[3]:
                if own[3] is _NOTHING:
                    inner.__dict__.pop("forward", None)
                else:
                    inner.__dict__["forward"] = own[3]
        for parameter, learns in self.learns.items():
            if parameter.requires_grad != learns:
                parameter.requires_grad_(learns)
        if self.buffers:
            for buffer in module.buffers():
                kept_value = self.buffers.get(id(buffer))
                if kept_value is not None and not buffer.is_inference() and not _is_as(buffer, kept_value):
                    with torch.no_grad():
                        buffer.copy_(kept_value[1])
                    self.buffers[id(buffer)] = (buffer._version, kept_value[1])


def _own(inner: nn.Module) -> tuple[bool, dict[str, Any], dict[str, Any], object]:
    forward = inner.__dict__.get("forward", _NOTHING)
    return inner.training, dict(inner._parameters), dict(inner._buffers), forward


def _is_as(buffer: Tensor, kept: tuple[int, Tensor] | None) -> bool:
    """Whether a buffer is as it was when it was kept, with its version then.

    The values are looked at as well: BatchNorm in training mode writes without counting the version up.
    """
    if kept is None or buffer.is_inference() or buffer._version != kept[0]:
        return False
    return buffer.is_meta or buffer.layout != torch.strided or torch.equal(buffer, kept[1])


@contextmanager
def lent(module: nn.Module, change: Callable[[], None] | None, *, writes: bool = False) -> Iterator[Loan]:
    """Borrow a network, changed by ``change``, if at all; on every way out it is exactly as before.

    With ``writes`` the values of its buffers are not put back: who borrows it means to write them.
    """
    loan = Loan(module, change, writes=writes)
    loan.begin()
    session = _sessions.get()
    if session is not None:
        session.append(loan)
    try:
        yield loan
    finally:
        loan.end()
        if session is not None and loan in session:
            session.remove(loan)


def at_rest(module: nn.Module) -> AbstractContextManager[Loan]:
    """Borrow a network as its user gave it, whoever else has it now, to look at it or copy it."""
    return lent(module, None)


def seen_at_rest(module: nn.Module, look: Callable[[nn.Module], _Value]) -> _Value | None:
    """Return what ``look`` sees of a network as its user gave it; None while anyone has it changed.

    Unlike :func:`at_rest` it waits for no one and sets no one's loan aside.
    """
    with _turn:  # nobody borrows it meanwhile
        made = [loan for loan in _live if loan.is_made and loan._change is not None]
        if made and any(Loan(module, None)._meets(loan) for loan in made):
            return None
        return look(module)


@contextmanager
def as_usual() -> Iterator[None]:
    """Compute with gradients and in float32, whatever the caller has set for what it does itself."""
    default = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in _KINDS:
            stack.enter_context(own_types(kind))
        if default == torch.float32:  # it is the whole process': other threads are left alone
            yield
            return
        try:
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(default)


def stepwise(
    function: Callable[_Asked, Generator[_Value, None, None]],
) -> Callable[_Asked, Generator[_Value, None, None]]:
    """Let a generator that borrows networks give them back whenever it yields.

    Between two steps its caller may do with the network what it likes. Within a step it is :func:`as_usual`.
    """

    @functools.wraps(function)
    def run(*args: _Asked.args, **kwargs: _Asked.kwargs) -> Generator[_Value, None, None]:
        session: list[Loan] = []
        steps = function(*args, **kwargs)
        try:
            while True:
                asked = _sessions.set(session)
                try:
                    with as_usual():
                        for loan in list(session):
                            loan.resume()
                        value = next(steps)
                except StopIteration:
                    return
                finally:
                    _sessions.reset(asked)
                    for loan in reversed(session):
                        loan.park()
                yield value
        finally:
            steps.close()

    return run


def with_gradients(function: Callable[_Asked, _Value]) -> Callable[_Asked, _Value]:
    """Let a function climb or attribute :func:`as_usual`, whatever its caller has set."""

    @functools.wraps(function)
    def run(*args: _Asked.args, **kwargs: _Asked.kwargs) -> _Value:
        with as_usual():
            return function(*args, **kwargs)

    return run


def own_types(kind: str) -> AbstractContextManager[Any]:
    """Compute in the numbers' own types on a kind of device, whatever ``torch.autocast`` a caller is in."""
    if kind in _KINDS and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
