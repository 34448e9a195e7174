"""What people answered in a quiz, joined with its key: accuracies, ratings, agreement, confusion."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import numpy as np

from featvis.errors import OutputError, UserError
from featvis.pages.entries import read_number
from featvis.pages.quiz import SCALES
from featvis.read import parse_json
from featvis.spec.target import synonyms
from featvis.trust.intervals import of_mean, wilson
from featvis.trust.names import fold, is_name_of
from featvis.trust.quiz import KEY, KIND, TASKS
from featvis.trust.raters import is_other, krippendorff_alpha, mean_distance, square

ANSWERS = "featvis quiz answers"
MARKS = tuple(str(scale["key"]) for scale in SCALES)
_LARGEST = {ANSWERS: 8 * 2**20, KIND: 64 * 2**20}
_LONGEST_TEXT = 500

PUBLISHED: tuple[dict[str, Any], ...] = (
    {
        "source": "Borowski et al. 2021 (ICLR, arXiv 2010.12606)",
        "question": "which of two photographs excites the unit more",
        "network": "Inception V1",
        "pictures": "82 ± 4 %",
        "photographs": "92 ± 2 %",
        "remark": "with one reference only: 65 ± 5 % and 73 ± 4 %",
    },
    {
        "source": "Zimmermann et al. 2021 (NeurIPS, arXiv 2106.12447)",
        "question": "which of two occlusions of a photograph changes the unit's activation more",
        "network": "Inception V1",
        "pictures": "68 ± 4 %",
        "photographs": "66 ± 3 to 67 ± 3 %",
        "remark": "without any reference: 60 ± 3 %; another, harder question than the one asked here",
    },
)
"""What people reached elsewhere, with synthetic pictures and with other references such as photographs."""

Told = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """What a quiz's questions show."""

    path: Path
    quiz: str
    folders: tuple[str, ...]
    items: dict[int, Told]


@dataclass(frozen=True)
class Session:
    """One person's answers to a quiz."""

    path: Path
    quiz: str
    rater: str
    """The name they gave, or what tells the session."""
    session: str
    answers: tuple[Told, ...]


def evaluate_answers(
    answers: str | Path | Sequence[str | Path],
    keys: str | Path | Sequence[str | Path] | None = None,
    *,
    accept: str | Path | dict[str, Any] | None = None,
    draws: int = 2000,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Say what people saw: join the answers to quizzes with the keys of these.

    Args:
        answers: the files that people saved, or folders of them.
        keys: ``key.json`` of every quiz that was answered, or the folders that hold one; by default those
            that lie beside the answers.
        accept: which free names are right: a table, or its JSON file, of labels (or the first name of
            one), each with a list of right names or a table of names with true, false or null (open). What
            ``to_mark`` of the result holds is such a table, to be filled in by a person.
        draws: of the bootstrap.
        say: is told what was left out, a line at a time.

    Returns:
        ``raters``; ``naming`` and ``names`` (free, and of the list), ``choice`` (by kind of reference) and
        ``ratings`` (by scale), each of ``all`` and by ``folders``; ``agreement`` between raters;
        ``confusion``; ``to_mark``; ``published`` (what people reached elsewhere). Shares have Wilson's 95 %
        intervals over answers, means those of a bootstrap over pictures.

    Raises:
        UserError: a file that does not read, is none of answers or no key, or does not belong to the others.

    >>> import featvis as fv, json, tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (24, 24), "red").save(f"{folder}/red.png")
    ...     key = fv.make_quiz(folder, f"{folder}/quiz", tasks=["rating"])
    ...     rated = {"item": 1, "ratings": {"photograph": 2, "whole": 5, "harsh": 4}}
    ...     said = {"kind": "featvis quiz answers", "version": 1, "quiz": key["quiz"], "rater": "Ann"}
    ...     _ = Path(folder, "a.json").write_text(json.dumps({**said, "session": "a", "answers": [rated]}))
    ...     told = fv.evaluate_answers(f"{folder}/a.json", f"{folder}/quiz")
    >>> told["ratings"]["whole"]["all"]["mean"]
    5.0
    """
    tell = say or (lambda _: None)
    paths = list(_answer_files([answers] if isinstance(answers, str | Path) else answers))
    if not paths:
        raise UserError("no file of answers")
    sessions = _without_repeats([read_answers(path) for path in paths], tell)
    places = [keys] if isinstance(keys, str | Path) else list(keys or _keys_beside(paths))
    known = {key.quiz: key for key in (read_key(Path(place)) for place in places)}
    for one in sessions:
        _check_fits(one, known)
    accepted = _read_accepted(accept)
    used = [key for key in known.values() if any(one.quiz == key.quiz for one in sessions)]
    folders = tuple(dict.fromkeys(name for key in used for name in key.folders))
    joined = [
        {**known[one.quiz].items[answer["item"]], **answer, "quiz": one.quiz, "rater": place}
        for place, one in enumerate(sessions)
        for answer in one.answers
    ]
    naming = [row for row in joined if row["task"] == "naming"]
    for row in naming:
        row["verdict"] = _judge(row["free"], row["label"], accepted)
    named = [row for row in naming if "name" in row]
    chosen = [row for row in joined if row["task"] == "choice"]
    rated = [row for row in joined if row["task"] == "rating"]
    return {
        "quizzes": [key.quiz for key in used],
        "folders": list(folders),
        "raters": [
            {
                "rater": one.rater,
                "session": one.session,
                "quiz": one.quiz,
                "answers": len(one.answers),
                "of": len(known[one.quiz].items),
                "seconds": _median_seconds(one.answers),
            }
            for one in sessions
        ],
        "naming": _by_folder(folders, naming, _free_share),
        "names": _by_folder(folders, named, lambda rows: _share(row["name"] == row["right"] for row in rows)),
        "choice": _choice(folders, chosen),
        "ratings": _ratings(folders, rated, draws) if rated else {},
        "agreement": _agreement(naming, named, chosen, rated),
        "confusion": _confusion(naming, named),
        "to_mark": _to_mark(naming),
        "published": list(PUBLISHED) if chosen else [],
    }


def _median_seconds(answers: Sequence[Told]) -> float | None:
    """Return how long a question took in the middle: who only clicks is found by it."""
    taken = [answer["seconds"] + answer["name_seconds"] for answer in answers]
    return round(median(taken), 1) if any(taken) else None


# What was answered, by folder


def _share(right: Iterable[bool]) -> Told:
    verdicts = list(right)
    count, good = len(verdicts), sum(verdicts)
    return {
        "answers": count,
        "right": good,
        "share": good / count if count else None,
        "interval": list(wilson(good, count)) if count else None,
    }


def _free_share(rows: Sequence[Told]) -> Told:
    verdicts = Counter(row["verdict"] for row in rows)
    empty = sum(not fold(row["free"]) for row in rows)
    return {**_share(row["verdict"] == "right" for row in rows), "open": verdicts["open"], "empty": empty}


def _by_folder(
    folders: Sequence[str], rows: Sequence[Told], measure: Callable[[Sequence[Told]], Told]
) -> dict[str, Told]:
    """Measure what was answered to each folder's pictures, and to all; nothing where nothing was."""
    found = {name: [row for row in rows if row["folder"] == name] for name in folders}
    told = {name: measure(mine) for name, mine in found.items() if mine}
    return {"all": measure(rows), "folders": told} if rows else {}


def _choice(folders: Sequence[str], rows: Sequence[Told]) -> Told:
    def measure(rows: Sequence[Told]) -> Told:
        return _share(row["photograph"] == row["right"] for row in rows)

    kinds = ("pictures", "photographs")
    found = {kind: [row for row in rows if row["references"] == kind] for kind in kinds}
    return {kind: _by_folder(folders, mine, measure) for kind, mine in found.items() if mine}


def _ratings(folders: Sequence[str], rows: Sequence[Told], draws: int) -> dict[str, dict[str, Told]]:
    def measure(scale: str) -> Callable[[Sequence[Told]], Told]:
        def mean(rows: Sequence[Told]) -> Told:
            values = np.array([float(row["ratings"][scale]) for row in rows])
            pictures = {(row["quiz"], row["item"]): 0 for row in rows}
            places = dict(zip(pictures, range(len(pictures)), strict=True))
            owners = np.array([places[row["quiz"], row["item"]] for row in rows])
            return {
                "answers": len(rows),
                "pictures": len(pictures),
                "mean": float(values.mean()),
                # An interval of one is none.
                "interval": list(of_mean(values, owners, draws)) if len(pictures) > 1 else None,
            }

        return mean

    return {scale: _by_folder(folders, rows, measure(scale)) for scale in MARKS}


def _agreement(
    naming: Sequence[Told], named: Sequence[Told], chosen: Sequence[Told], rated: Sequence[Told]
) -> dict[str, Told]:
    """Compare what several raters said to the same question."""

    def same(rows: Sequence[Told], said: Callable[[Told], Any]) -> Told:
        questions = _by_question(rows, said)
        apart = mean_distance(questions, is_other)
        return {
            "questions": sum(len(one) > 1 for one in questions),
            "same": None if apart is None else 1 - apart,
            "alpha": krippendorff_alpha(questions, is_other),
        }

    told = {
        "naming": same([row for row in naming if fold(row["free"])], lambda row: fold(row["free"])),
        "names": same(named, lambda row: row["names"][row["name"]]),
        "choice": same(chosen, lambda row: row["photograph"]),
    }
    for scale in MARKS:
        questions = _by_question(rated, lambda row, scale=scale: row["ratings"][scale])  # type: ignore[misc]
        told[scale] = {
            "questions": sum(len(one) > 1 for one in questions),
            "mean_difference": mean_distance(questions, lambda a, b: abs(a - b)),
            "alpha": krippendorff_alpha(questions, square),
        }
    return {name: one for name, one in told.items() if one["questions"]}


def _by_question(rows: Sequence[Told], said: Callable[[Told], Any]) -> list[list[Any]]:
    questions: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        questions.setdefault((row["quiz"], row["item"]), []).append(said(row))
    return list(questions.values())


def _confusion(naming: Sequence[Told], named: Sequence[Told]) -> dict[str, list[Told]]:
    """Count which names were taken for which, most frequent first."""
    lists = Counter((row["label"], row["names"][row["name"]]) for row in named if row["name"] != row["right"])
    words = Counter(
        (row["label"], fold(row["free"])) for row in naming if row["verdict"] != "right" and fold(row["free"])
    )
    return {
        kind: [
            {"label": label, "said": said, "times": times}
            for (label, said), times in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
        ]
        for kind, pairs in (("names", lists), ("naming", words))
    }


def _to_mark(naming: Sequence[Told]) -> dict[str, dict[str, None]]:
    marks: dict[str, dict[str, None]] = {}
    for label, said in sorted(
        {(row["label"], fold(row["free"])) for row in naming if row["verdict"] == "open"}
    ):
        marks.setdefault(label, {})[said] = None
    return marks


def _judge(said: str, label: str, accepted: dict[str, dict[str, bool | None]]) -> str:
    """Say whether a free name is ``right``, ``wrong``, or ``open``: for a person to mark."""
    if not fold(said):
        return "wrong"
    marks = {**accepted.get(fold(synonyms(label)[0]), {}), **accepted.get(fold(label), {})}
    if is_name_of(said, label, [name for name, is_right in marks.items() if is_right]):
        return "right"
    denied = any(is_name_of(said, name) for name, is_right in marks.items() if is_right is False)
    return "wrong" if denied else "open"


# Reading what may be anybody's


def read_answers(path: Path) -> Session:
    """Read the file that a person saved; an OutputError says in one line what is wrong with it."""
    loaded = _load(path, ANSWERS)
    rater, session = (_text(path, name, loaded.get(name, "")) for name in ("rater", "session"))
    answers = loaded.get("answers")
    if not isinstance(answers, list):
        _refuse(path, "its answers are no list")
    read = [_read_answer(path, answer) for answer in answers]
    numbers = Counter(answer["item"] for answer in read)
    if numbers and max(numbers.values()) > 1:
        _refuse(path, f"question {numbers.most_common(1)[0][0]} is answered twice")
    quiz = _text(path, "quiz", loaded.get("quiz"))
    return Session(path, quiz, rater or session[:8] or path.stem, session, tuple(read))


def read_key(place: Path) -> Key:
    """Read the key of a quiz, from its file or the folder that holds it."""
    path = place / KEY if place.is_dir() else place
    loaded = _load(path, KIND)
    items: dict[int, Told] = {}
    folders = [item.get("name") for item in _tables(path, loaded.get("folders"))]
    for item in _tables(path, loaded.get("items")):
        number, task = item.get("item", -1), item.get("task")
        texts = (item.get("folder"), item.get("label"))
        sound = _is_whole(number) and task in TASKS and all(isinstance(text, str) for text in texts)
        names, right = item.get("names"), item.get("right", -1)
        if sound and task == "naming":
            sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
            sound = sound and _is_whole(right) and right < len(names or ())
        if sound and task == "choice":
            sound = right in (0, 1) and item.get("references") in ("pictures", "photographs")
        if not sound or number in items or item["folder"] not in folders:
            _refuse(path, f"its item {number!r} is not as a quiz writes it")
        items[number] = item
    return Key(path, _text(path, "quiz", loaded.get("quiz")), tuple(map(str, folders)), items)


def _read_answer(path: Path, answer: Any) -> Told:
    if not isinstance(answer, dict) or not _is_whole(answer.get("item")):
        _refuse(path, "an answer has no question's number")
    number = answer["item"]
    told: Told = {"item": number}
    for name in ("seconds", "name_seconds"):
        seconds = answer.get(name, 0)
        if read_number(seconds) is None or not 0 <= seconds < 10**9:
            _refuse(path, f"answer {number} took no number of seconds")
        told[name] = float(seconds)
    if "free" in answer:
        told["free"] = _text(path, f"answer {number}", answer["free"])
        if "name" in answer:
            told["name"] = _number(path, number, answer["name"], 0, 99)
    elif "photograph" in answer:
        told["photograph"] = _number(path, number, answer["photograph"], 0, 1)
    else:
        marks = answer.get("ratings")
        if not isinstance(marks, dict) or set(marks) != set(MARKS):
            _refuse(path, f"answer {number} is none: no name, photograph or ratings on {', '.join(MARKS)}")
        told["ratings"] = {scale: _number(path, number, marks[scale], 1, 5) for scale in MARKS}
    return told


def _load(path: Path, kind: str) -> Told:
    what = "a file of answers" if kind == ANSWERS else "the key of a quiz"
    try:
        size = path.stat().st_size
        if size > _LARGEST[kind]:
            _refuse(path, f"{size:,} bytes are too many for {what}")
        # Pasted into an editor and saved, a file may begin with a byte order mark.
        loaded = parse_json(path.read_text("utf-8-sig"), str(path), _no_number)
    except FileNotFoundError:
        raise OutputError(f"no file {str(path)!r}; it should be {what}") from None
    except RecursionError:
        _refuse(path, "it is nested too deeply")
    except OSError as error:
        _refuse(path, f"it does not read: {error.strerror or error}")
    except ValueError as error:
        _refuse(path, f"it is no whole JSON: {error}")
    if not isinstance(loaded, dict) or loaded.get("kind") != kind:
        _refuse(path, f"it is not {what}")
    if loaded.get("version") != 1:
        _refuse(path, "another version of featvis wrote it")
    return loaded


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _refuse(path: Path, why: str) -> NoReturn:
    raise OutputError(f"{path}: {why}")


def _tables(path: Path, value: Any) -> list[Told]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        _refuse(path, "it is not as a quiz writes it")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**6


def _number(path: Path, item: int, value: Any, low: int, high: int) -> int:
    if not _is_whole(value) or not low <= value <= high:
        _refuse(path, f"answer {item} is no whole number from {low} to {high}")
    return int(value)


def _text(path: Path, name: str, value: Any) -> str:
    """Return a text without anything that would move a terminal's cursor or turn its direction."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        _refuse(path, f"{name} is no text of at most {_LONGEST_TEXT} characters")
    plain = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in value)
    return " ".join(plain.split())


def _answer_files(places: Iterable[str | Path]) -> Iterable[Path]:
    """Return the files, and those of the folders that are no key."""
    for place in map(Path, places):
        if place.is_dir():
            found = [path for path in sorted(place.glob("*.json")) if path.name != KEY]
            if not found:
                raise OutputError(f"{place} holds no .json file of answers")
            yield from found
        else:
            yield place


def _keys_beside(paths: Sequence[Path]) -> list[Path]:
    found = [
        folder / KEY for folder in dict.fromkeys(path.parent for path in paths) if (folder / KEY).is_file()
    ]
    if not found:
        raise UserError(f"no key: give the quiz's {KEY}, or the folder that `featvis quiz` wrote it to")
    return found


def _without_repeats(sessions: list[Session], tell: Callable[[str], None]) -> list[Session]:
    """Of files that were saved in one session, one perhaps before its end, keep the fullest."""
    kept: dict[tuple[str, str], Session] = {}
    for one in sessions:
        name = (one.quiz, one.session or str(one.path))
        before = kept.setdefault(name, one)
        if before is one:
            continue
        fuller, other = (one, before) if len(one.answers) > len(before.answers) else (before, one)
        later = {answer["item"]: answer for answer in fuller.answers}
        changed = [
            answer["item"] for answer in other.answers if not _goes_on(answer, later.get(answer["item"], {}))
        ]
        if changed:
            told = f"{before.path} and {one.path} are of one session and differ in question {changed[0]}"
            raise UserError(f"{told}; leave one out")
        kept[name] = fuller
        tell(f"{other.path} is left out: {fuller.path} holds the same session's answers")
    for (_, rater), times in Counter((one.quiz, one.rater) for one in kept.values()).items():
        if times > 1:
            tell(f"{times} sessions are by {rater!r}: counted as {times} raters")
    return list(kept.values())


def _goes_on(answer: Told, later: Told) -> bool:
    """Whether a later file says of a question what an earlier one said, and perhaps more."""
    return all(later.get(name) == value for name, value in answer.items() if name != "name_seconds")


def _check_fits(session: Session, known: dict[str, Key]) -> None:
    key = known.get(session.quiz)
    if key is None:
        given = ", ".join(one.quiz for one in known.values())
        _refuse(session.path, f"it answers the quiz {session.quiz[:40]!r}; the keys given are of {given}")
    kinds = {"naming": "free", "choice": "photograph", "rating": "ratings"}
    for answer in session.answers:
        item = key.items.get(answer["item"])
        if item is None:
            _refuse(session.path, f"the quiz has no question {answer['item']}")
        if kinds[item["task"]] not in answer:
            _refuse(session.path, f"question {answer['item']} asks for something else than it answers")
        if answer.get("name", 0) >= len(item.get("names", [0])):
            _refuse(session.path, f"question {answer['item']} has no name {answer['name']}")


def _read_accepted(accept: str | Path | dict[str, Any] | None) -> dict[str, dict[str, bool | None]]:
    """Return which words are right, wrong or open, by folded label."""
    where = "accept" if accept is None or isinstance(accept, dict) else str(accept)
    if isinstance(accept, str | Path):
        try:
            loaded = parse_json(Path(accept).read_text("utf-8-sig"), where)
        except FileNotFoundError:
            raise OutputError(f"no file {where!r} of names to accept") from None
        except (OSError, ValueError, RecursionError) as error:
            raise OutputError(f"{where}: it is no whole JSON: {error}") from None
    else:
        loaded = accept or {}
    right = "a table of labels, each with a list of right names, or a table of names with true, false or null"
    if not isinstance(loaded, dict):
        raise OutputError(f"{where}: names to accept are {right}")
    told: dict[str, dict[str, bool | None]] = {}
    for label, marks in loaded.items():
        if isinstance(marks, list):
            marks = dict.fromkeys(map(str, marks), True)
        if not isinstance(marks, dict) or not all(
            one is None or isinstance(one, bool) for one in marks.values()
        ):
            raise OutputError(f"{where}: {label!r}: names to accept are {right}")
        told.setdefault(fold(label), {}).update(marks)
    return told
