"""``featvis quiz``: a page that asks people what they see."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from featvis.cli.checks import check_at_least, check_folder
from featvis.cli.options import AsJson, OutOfCommand, Seed
from featvis.cli.output import note, print_json, results_folder
from featvis.errors import count_of


def quiz(
    folders: list[Path],
    tasks: str = "naming,choice,rating",
    count: int = 16,
    seed: Seed = 0,
    title: str = "What do you see?",
    text: str = "",
    out: OutOfCommand = None,
    as_json: AsJson = False,
) -> int:
    """Make a page that asks people what they see in pictures. It is one file to send round.

    People open quiz.html in a browser, on a phone too; it sends nothing anywhere, and at the end saves a
    file of answers that they send back. Keep key.json to yourself: `featvis evaluate --answers` joins the
    two.

    Example: featvis quiz gallery/new gallery/old photos/ --count 16 --out gallery/quiz

    Args:
        folders: Folders of pictures, galleries, or folders of photographs; several are mixed.
        --tasks: What is asked, in this order: naming (freely, then one of eight names), choice (which of two
            photographs excites the unit more) and rating (1 to 5: looks like a photograph, whole, harsh).
        --count: How many questions of each folder a task asks at most.
        --title: The page's heading.
        --text: What the page says below it.
    """
    check_at_least(1, count=count)
    place = out or results_folder() / "quiz"
    check_folder(place)
    from featvis.trust.quiz import KEY, PAGE, make_quiz

    wanted = [task.strip() for task in tasks.split(",") if task.strip()]
    key = make_quiz(folders, place, seed=seed, count=count, tasks=wanted, title=title, text=text, say=note)
    asked = Counter(item["task"] for item in key["items"])
    if as_json:
        files = {"page": str(place / PAGE), "key": str(place / KEY)}
        print_json({"questions": len(key["items"]), "tasks": dict(asked), **files})
        return 0
    told = ", ".join(f"{number} of {task}" for task, number in asked.items())
    print(f"{count_of(len(key['items']), 'question')}: {told}")
    size = (place / PAGE).stat().st_size / 1e6
    print(f"{place / PAGE}: send this round ({size:.1f} MB, all in one file)")
    print(f"{place / KEY}: keep this; with it, featvis evaluate {place} --answers FILE")
    return 0
