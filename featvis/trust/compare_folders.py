"""compare_folders: two folders of pictures of the same classes, by whoever made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featvis.errors import ModelError, TargetError, UserError
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.results.mirror import takes_addresses
from featvis.trust.folders import Claimed, class_number, read_claimed, weights_of
from featvis.trust.panel import check_took_no_part, installed_judges
from featvis.trust.references import read_photographs
from featvis.trust.yardsticks import Sides, Table, measure_looks, measure_norms, measure_recognition


@with_gradients
@takes_addresses("folder_a", "folder_b", writes=False)
def compare_folders(
    folder_a: str | Path,
    folder_b: str | Path,
    *,
    classes: str | Path | None = None,
    judges: Sequence[str | ModelHandle] | None = None,
    views: int | None = None,
    examples: str | Path | None = None,
    draws: int = 2000,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure two folders of pictures, paired by class: what featvis made beside what others published.

    Only classes of which both folders hold pictures are compared; each counts once, whatever the number of
    its pictures, and classes are drawn anew in the bootstrap.

    Args:
        folder_a, folder_b: folders that featvis wrote, or of plain images.
        classes: which plain image is of which class: a CSV file of lines FILE,CLASS (a number or a name). By
            default the images' names or folders say it; see :func:`featvis.trust.folders.read_claimed`.
        judges: networks that took no part; by default the embedded ones that are installed, but for one whose
            weights made the pictures of either folder.
        views: how often a judge looks at each picture, 1 or 8, by default what is known to suit it.
        examples: a folder of photographs that pictures are to be like; by default figures of 500.
        draws: of the bootstrap.
        say: is told how far it is.

    Returns:
        ``folders``, ``judges``, ``classes`` (how many are compared), ``pictures`` and ``left_out`` (of each
        folder), ``draws``, and ``measures, yardsticks, ahead, wins`` as :func:`featvis.compare` has them.

    Raises:
        UserError: an image whose class is not told or that no judge knows, or no class in both.

    >>> import tempfile, featvis as fv, torch
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as place:
    ...     for name, level in (("a", 90), ("b", 160)):
    ...         Path(place, name).mkdir()
    ...         for number in range(3):
    ...             image = Image.new("RGB", (32, 32), (level, 90, 90 + 30 * number))
    ...             image.save(Path(place, name, f"class{number}.png"))
    ...     found = fv.compare_folders(Path(place, "a"), Path(place, "b"), judges=[], draws=100)
    >>> found["classes"], round(found["measures"]["saturation"]["difference"], 2)
    (3, 0.16)
    """
    if draws < 100:
        raise UserError(f"compare_folders: at least 100 draws of the bootstrap, got {draws}")
    say = say or (lambda line: None)
    sets = {"a": read_claimed(folder_a, classes), "b": read_claimed(folder_b, classes)}
    climbed = weights_of(folder_a) | weights_of(folder_b)
    if judges is None:
        panel = [load_model(name) for name in installed_judges()]
        panel = [judge for judge in panel if judge.fingerprint() not in climbed]
    else:
        panel = [load_model(judge) for judge in judges]
        check_took_no_part(panel, climbed)
    photographs = None
    if examples is not None:
        if not panel:
            raise UserError("compare_folders: examples are shown to judges as pictures are; name a judge")
        photographs = read_photographs(Path(examples), panel[0]).images
    numbers = _numbers(sets, panel, say)
    first = next(iter(numbers.values()), None)
    owners: Mapping[str, list[Any]] = first or {
        side: [one.label.lstrip("0") or "0" if one.label.isdigit() else one.label.casefold() for one in some]
        for side, some in sets.items()
    }
    shared = set(owners["a"]) & set(owners["b"])
    if not shared:
        raise UserError(f"{folder_a} and {folder_b} hold pictures of no class in common")
    order = {
        side: [place for owner in sorted(shared) for place, one in enumerate(some) if one == owner]
        for side, some in owners.items()
    }
    sides = Sides(
        {side: [sets[side][place].image for place in order[side]] for side in sets},
        {side: [owners[side][place] for place in order[side]] for side in sets},
        draws,
    )
    table = Table()
    for judge in panel:
        say(f"asking {judge.name} of {sum(map(len, order.values()))} pictures")
        if judge.name in numbers:
            mine = numbers[judge.name]
            labels = {side: [mine[side][place] for place in order[side]] for side in mine}
            measure_recognition(sides, labels, judge, views, table)
    measure_looks(sides, photographs, table)
    for judge in panel:
        measure_norms(sides, photographs, judge, table)
    return {
        "folders": {"a": str(folder_a), "b": str(folder_b)},
        "judges": [judge.name for judge in panel],
        "classes": len(shared),
        "pictures": {side: len(some) for side, some in order.items()},
        "left_out": {side: len(sets[side]) - len(some) for side, some in order.items()},
        "draws": draws,
        **table.to_json(len(shared)),
    }


def _numbers(
    sets: Mapping[str, Sequence[Claimed]], panel: Sequence[ModelHandle], say: Callable[[str], None]
) -> dict[str, dict[str, list[int]]]:
    """Return by judge the classes of all pictures, of those judges that know them."""
    found, wrong = dict[str, dict[str, list[int]]](), list[TargetError]()
    for judge in panel:
        try:
            found[judge.name] = {
                side: [class_number(one, judge) for one in some] for side, some in sets.items()
            }
        except TargetError as error:
            wrong.append(error)
            say(f"{judge.name} is not asked for classes: {error}")
        except ModelError as error:  # it names none, but may have BatchNorm
            say(str(error))
    if wrong and not found:
        raise wrong[0]
    return found
