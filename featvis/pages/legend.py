"""What the words on the pages mean, each in a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from featvis.pages.examples import REACH


@dataclass(frozen=True)
class Word:
    """A word of the pages and its meaning."""

    name: str
    """What the legend's address ends in."""
    words: str
    """How the legend writes it."""
    meaning: str
    pattern: str = ""
    """What it looks like on a page, as a regular expression; empty: as ``words``."""

    def is_said(self, text: str) -> bool:
        """Whether a verdict or status is this word.

        >>> Word("rank", "rank N of M in its layer", "", r"rank \\d+ of \\d+ in its layer").is_said(
        ...     "rank 3 of 64 in its layer"
        ... )
        True
        """
        return re.fullmatch(self.pattern or re.escape(self.words), text) is not None


TERMS = (
    Word(
        "picture",
        "Picture",
        "An image that was computed, not photographed: it began as noise and was changed step by step "
        "until one unit of the network responded as strongly as it could. It shows what the unit looks "
        "for.",
    ),
    Word(
        "unit", "Unit", "One output of a layer: a channel, a neuron or a class. Each has a page of its own."
    ),
    Word("layer", "Layer", "One stage of the network. Early layers see edges and textures, late ones parts."),
    Word(
        "channel",
        "Channel",
        "A unit that looks for the same thing at every place of an image. Its score is the mean over all "
        "places.",
    ),
    Word(
        "neuron",
        "Neuron",
        "A channel at one place; its address ends in a row and a column, such as blocks.3:5@4,6.",
    ),
    Word(
        "class",
        "Class",
        "A unit of the last layer that stands for something with a name, such as a breed of dog. The name "
        "is the one it was trained by.",
    ),
    Word(
        "score",
        "Score",
        "How strongly the unit responds to the picture as it was saved. Higher is more, of the same unit "
        "only: scores of different layers, and of different units, have different scales.",
    ),
    Word(
        "start",
        "Score at the start",
        "The same for the noise that the picture began as.",
    ),
    Word(
        "curve",
        "The curve",
        "What was climbed at each step: the score of the image as it was shown to the network, moved, "
        "turned and noised, less what the recipe subtracts. That is another quantity than the two scores, "
        "which are the dots, and mostly a lower one.",
    ),
    Word(
        "seed",
        "Seed",
        "The number that all chance of a picture comes from. Another seed gives another picture of the "
        "same unit.",
    ),
    Word(
        "recipe",
        "Recipe",
        "Everything that changes the picture: canvas, steps, transforms. It has the name of the recipe "
        "that came with featvis, and what differs from it.",
    ),
    Word(
        "key", "Key", "32 digits that recipe, unit, seed and weights give: the same key is the same picture."
    ),
    Word(
        "photographs",
        "Times the best photograph",
        "The picture's score by that of the photograph which excites the unit most. It is told only where "
        f"that photograph reaches at least {REACH:.0%} of the picture's score: below it, none of the "
        "photographs seems to show what the unit looks for, and a ratio would say nothing.",
    ),
    Word(
        "mark",
        "Marks on small pictures",
        "Only what speaks against a picture is marked. One without a mark has no fault that was found, or "
        "was not judged; its own page says which.",
    ),
)
"""What a stranger must know."""

STATUSES = (
    Word("dead", "dead", "No start gave the unit any gradient, so there is no picture of it."),
    Word("failed", "failed", "Its run ended with an error, so there is no picture of it."),
    Word(
        "missing",
        "missing",
        "Its file is not in this folder; the command that made the gallery renders it again.",
    ),
    Word(
        "stopped",
        "stopped",
        "Its run was interrupted, and this is how it stood; "
        "the command that made the gallery renders it whole.",
    ),
    Word("stale", "earlier recipe", "It was made by an earlier recipe of this gallery's config."),
)
"""Why there is no picture, or an old one."""

VERDICTS = (
    Word(
        "good",
        "stands out in its layer",
        "Nothing was found against it, and of all units of its layer its own responds to it the most.",
    ),
    Word(
        "recognized",
        "recognized by N of M judges",
        "Networks that took no part were asked what they see: so many of them name this class first.",
        r"recognized by \d+ of \d+ judges?",
    ),
    Word(
        "saturated",
        "saturated",
        "The unit is driven to the top of its range, where a better picture would score the same.",
    ),
    Word(
        "noise",
        "responds as much to noise",
        "Mere noise excites the unit as much, so the picture says little about it.",
    ),
    Word(
        "random",
        "responds as much with random weights",
        "The network with weights drawn at random responds as much: the picture shows its architecture, "
        "not what it learned.",
    ),
    Word(
        "untrained",
        "of a network with random weights",
        "The network was not trained; its pictures show what its architecture does.",
    ),
    Word(
        "rank",
        "rank N of M in its layer",
        "Other units of the layer respond to the picture more than its own does, each beside its usual "
        "range.",
        r"rank \d+ of \d+ in its layer",
    ),
    Word(
        "rival",
        "another unit's picture excites it more",
        "The picture of another unit of the layer gives this unit a higher score: there is a better picture.",
    ),
    Word(
        "photograph",
        "a photograph excites it more",
        "A photograph gives the unit a higher score than the picture does: there is a better picture.",
    ),
    Word(
        "unstable",
        "unstable over seeds",
        "Its pictures from other seeds are no more alike than those of two different units.",
    ),
    Word(
        "unlike",
        "looks unlike any photograph",
        "Its frequencies, or what a judge's layers make of it, lie far outside what photographs show.",
    ),
    Word(
        "fragile",
        "shifted and noised, it responds as to noise",
        "Moved a little and noised anew, the picture excites the unit no more than noise does.",
    ),
    Word(
        "chance",
        "does not tell which photographs excite it",
        "Shown the picture, a machine cannot choose better than by chance which of two photographs "
        "excites the unit more.",
    ),
    Word(
        "misreported", "its score is not the one it claims", "The saved file, scored anew, scores otherwise."
    ),
    Word(
        "foreign",
        "not the picture that was rendered",
        "Its file is not what its recipe and key say: it was changed, or put there.",
    ),
)
"""What ``featvis evaluate`` says of a picture."""


def find_word(text: str) -> Word | None:
    """Return what a verdict or status means, if it is one of ours.

    >>> find_word("rank 3 of 64 in its layer").name, find_word("<b>")
    ('rank', None)
    """
    return next((word for word in (*VERDICTS, *STATUSES) if word.is_said(text)), None)
