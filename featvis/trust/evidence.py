"""Everything that is measured of one picture, by name, and how ``evaluation.json`` writes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from featvis.trust.agreement import Agreement
from featvis.trust.choice import Choice
from featvis.trust.naturalness import Appearance
from featvis.trust.paths import PathSimilarity
from featvis.trust.response import PhotographScores
from featvis.trust.selectivity import Selectivity
from featvis.trust.transfer import Recognition

_CLAIMS = ("file", "target", "layer", "unit", "label", "variant", "seed", "key")


@dataclass(frozen=True)
class Noise:
    """A unit's responses to images of noise, beside that to its picture."""

    mean: float
    best: float
    reach: float
    """What a score must exceed to be more than noise: the best, or four deviations above the mean."""
    z: float
    """The picture's response in standard deviations above the mean."""
    still: bool
    """Whether noise and the picture all give the same value."""


@dataclass(frozen=True)
class OtherPictures:
    """A unit's responses to the folder's pictures of its layer's other units."""

    pictures: int
    below: float | None
    """The share of them that excite it less than its own picture; None if there are none."""


@dataclass
class OwnResponse:
    """What a picture's own network says of it."""

    score: float
    claimed: float | None
    """The score in the picture's entry."""
    start: float | None
    fresh: float | None
    """The mean score under fresh transforms; None for a file that is not ours."""
    noise: Noise
    selectivity: Selectivity
    rank_beside_photographs: int | None
    below_random_directions: float
    """The share of random directions that the picture excites less than its unit."""
    other_pictures: OtherPictures
    saturated: bool
    random_z: float | None = None
    """What is left of ``noise.z`` when all weights are random; None for a network without weights."""
    photographs: PhotographScores | None = None
    path_similarity: PathSimilarity | None = None
    is_class: bool = False
    band: str | None = None
    """Where the logit of a class lies beside photographs', if that is known of the network."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        table = asdict(self)
        table["selectivity"]["rank_beside_photographs"] = table.pop("rank_beside_photographs")
        table["random_weights"] = {"z": table.pop("random_z")}
        if self.path_similarity is not None:
            table["path_similarity"]["mean"] = self.path_similarity.mean
        left_out = ["is_class"] if self.is_class else ["is_class", "band"]
        left_out += [name for name in ("photographs", "path_similarity") if table[name] is None]
        return {name: value for name, value in table.items() if name not in left_out}


@dataclass(frozen=True)
class Judgement:
    """What a judge sees in a picture of a class."""

    recognition: Recognition
    said: str
    """The name of the class that it names first."""
    band: str | None
    """Where its logit lies beside photographs', if that is known of the judge."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self.recognition), "said": self.said, "band": self.band}


@dataclass
class Evidence:
    """What was measured of one picture; what is None or empty was not."""

    entry: dict[str, Any]
    """The picture's entry in the manifest."""
    genuine: bool = True
    """Whether the file is the picture that the entry names."""
    dead: bool = False
    """Whether no start gave the unit any gradient, so that there is no picture."""
    judgements: dict[str, Judgement] = field(default_factory=dict)
    batchnorm_alone: dict[str, float] = field(default_factory=dict)
    """By judge, D_σ of the picture as a batch of its own."""
    appearance: Appearance | None = None
    outside: list[str] = field(default_factory=list)
    unlike: bool = False
    agreement: Agreement | None = None
    diversity: float | None = None
    choice: Choice | None = None
    own: OwnResponse | None = None
    untrained: bool = False
    """Whether its own network has random weights."""

    @property
    def recognized(self) -> int:
        """How many judges name the picture's class first."""
        return sum(one.recognition.rank == 1 for one in self.judgements.values())

    def to_json(self) -> dict[str, Any]:
        """Return the picture's table in ``evaluation.json``, to which its verdicts are added."""
        table = {name: self.entry.get(name) for name in _CLAIMS}
        if self.dead:
            return {**table, "status": "dead"}
        table["genuine"] = self.genuine
        if self.judgements:
            table["transfer"] = {name: one.to_json() for name, one in self.judgements.items()}
        if self.batchnorm_alone:
            table["batchnorm_alone"] = self.batchnorm_alone
        if self.appearance is not None:
            table |= {"look": self.appearance.to_json(), "outside": self.outside, "unlike": self.unlike}
        if self.agreement is not None:
            table["agreement"] = {**asdict(self.agreement), "agrees": self.agreement.agrees}
            table["diversity"] = self.diversity
        if self.choice is not None:
            table["choice"] = {**asdict(self.choice), "is_chance": self.choice.is_chance}
        if self.own is not None:
            table |= self.own.to_json()
        return {**table, "untrained": self.untrained}
