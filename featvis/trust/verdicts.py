"""From what was measured of a picture to what is said of it in plain words.

The one place where a verdict is worded: a rule with its name, severity, words and the figures that it reads,
in the order in which verdicts are said: the gravest first, praise last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from featvis.trust.evidence import Evidence, OwnResponse

_SAME_SCORE = 0.05
_SMALL = 1e-3

Severity = Literal["dead", "grave", "recognition", "slight", "praise"]


@dataclass(frozen=True)
class Kind:
    """A kind of verdict."""

    name: str
    severity: Severity
    """``dead``: nothing else is said; ``grave``: the picture is not to be believed; ``recognition``: what
    judges see; ``slight``: a reservation; ``praise``: said where there is nothing against the picture."""
    words: str
    """What is said; ``it`` is the :class:`featvis.trust.evidence.Evidence`."""
    figures: tuple[str, ...]
    """What it is decided by, as ``evaluation.json`` names it."""
    holds: Callable[[Evidence], bool]
    counted: str = ""
    """What it is counted under, where the words differ from picture to picture but are one kind."""


KINDS: list[Kind] = []
"""Every kind of verdict, in the order of the rules below."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one picture."""

    kind: Kind
    text: str

    @property
    def counted(self) -> str:
        """What it is counted under."""
        return self.kind.counted or self.text


def verdicts_of(evidence: Evidence) -> list[Verdict]:
    """Return what is to be said of a picture, the gravest first.

    At least one verdict wherever its own network or a judge was asked: of a class what judges see, of any
    other unit without a fault that it ``stands out in its layer``.
    """
    said: list[Verdict] = []
    for kind in KINDS:
        if kind.severity == "praise" and said:
            break
        if kind.holds(evidence):
            judges = f"{len(evidence.judgements)} judge{'' if len(evidence.judgements) == 1 else 's'}"
            said.append(Verdict(kind, kind.words.format(it=evidence, judges=judges)))
            if kind.severity == "dead":
                break
    return said


def _kind(
    name: str, severity: Severity, words: str, *figures: str, counted: str = ""
) -> Callable[[Callable[[Evidence], bool]], Callable[[Evidence], bool]]:
    """Enter a rule as a kind of verdict."""

    def enter(holds: Callable[[Evidence], bool]) -> Callable[[Evidence], bool]:
        KINDS.append(Kind(name, severity, words, figures, holds, counted))
        return holds

    return enter


def _is_noise(own: OwnResponse) -> bool:
    return own.score <= own.noise.reach


@_kind("dead", "dead", "dead", "status", "noise.still")
def _dead(evidence: Evidence) -> bool:
    return evidence.dead or (evidence.own is not None and evidence.own.noise.still)


@_kind("foreign", "grave", "not the picture that was rendered", "genuine")
def _foreign(evidence: Evidence) -> bool:
    return not evidence.genuine


@_kind("misreported", "grave", "its score is not the one it claims", "score", "claimed")
def _misreported(evidence: Evidence) -> bool:
    own = evidence.own
    if own is None or own.claimed is None:
        return False
    return abs(own.score - own.claimed) > _SMALL + _SAME_SCORE * max(abs(own.score), abs(own.claimed))


@_kind("untrained", "grave", "of a network with random weights", "untrained")
def _untrained(evidence: Evidence) -> bool:
    return evidence.untrained


@_kind("saturated", "grave", "saturated", "saturated")
def _saturated(evidence: Evidence) -> bool:
    return evidence.own is not None and evidence.own.saturated


@_kind("noise", "grave", "responds as much to noise", "score", "noise.reach")
def _noise(evidence: Evidence) -> bool:
    return evidence.own is not None and _is_noise(evidence.own)


@_kind("random", "grave", "responds as much with random weights", "random_weights.z", "noise.z")
def _random(evidence: Evidence) -> bool:
    own = evidence.own
    return own is not None and own.random_z is not None and not _is_noise(own) and own.random_z >= own.noise.z


@_kind("recognized", "recognition", "recognized by {it.recognized} of {judges}", "transfer.rank")
def _recognized(evidence: Evidence) -> bool:
    return bool(evidence.judgements)


@_kind(
    "rank",
    "slight",
    "rank {it.own.selectivity.rank} of {it.own.selectivity.units} in its layer",
    "selectivity.rank",
    "selectivity.units",
    counted="not first in its layer",
)
def _rank(evidence: Evidence) -> bool:
    return not evidence.judgements and evidence.own is not None and evidence.own.selectivity.rank > 1


@_kind("rival", "slight", "another unit's picture excites it more", "other_pictures.below")
def _rival(evidence: Evidence) -> bool:
    below = None if evidence.own is None else evidence.own.other_pictures.below
    return below is not None and below < 1.0


@_kind("photograph", "slight", "a photograph excites it more", "score", "photographs.best")
def _photograph(evidence: Evidence) -> bool:
    own = evidence.own
    return own is not None and own.photographs is not None and own.score < own.photographs.best


@_kind("unstable", "slight", "unstable over seeds", "agreement.agrees")
def _unstable(evidence: Evidence) -> bool:
    return evidence.agreement is not None and evidence.agreement.agrees is False


@_kind("unlike", "slight", "looks unlike any photograph", "look", "batchnorm_alone")
def _unlike(evidence: Evidence) -> bool:
    return evidence.unlike


@_kind("fragile", "slight", "shifted and noised, it responds as to noise", "fresh", "noise.best")
def _fragile(evidence: Evidence) -> bool:
    own = evidence.own
    return own is not None and own.fresh is not None and not _is_noise(own) and own.fresh <= own.noise.best


@_kind("chance", "slight", "does not tell which photographs excite it", "choice.share", "choice.queries")
def _chance(evidence: Evidence) -> bool:
    return evidence.choice is not None and evidence.choice.is_chance


@_kind("good", "praise", "stands out in its layer", "selectivity.rank")
def _good(evidence: Evidence) -> bool:
    return evidence.own is not None
