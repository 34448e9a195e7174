"""featvis beside Lucent and Horama: the same units of the same network, one table.

``make bench-peers ARGS="--quick"`` passes options on. See the README beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featvis.models.handle import ModelHandle

PARTS = ("speed", "quality", "featvis")


def parse(typed: list[str]) -> argparse.Namespace:
    """Read the options; nothing heavy is imported yet."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.compare",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--only", choices=PARTS, help="a part; featvis: the peers' pictures from before, the rest anew")
    add("--quick", action="store_true", help="2 units, 2 classes, 8 steps: does it run?")
    add("--units", type=int, default=16, help="channels of the layer, for speed")
    add("--steps", type=int, default=6, help="counted steps of a peer's picture, for speed")
    add("--rounds", type=int, default=4, help="turns of each library, for speed")
    add("--layer", default="blocks.3", help="for speed")
    add("--size", type=int, default=128, help="canvas, for speed")
    add("--lanes", type=int, help="featvis' lanes, for speed; by default the recipe's")
    add("--classes", type=int, default=16, help="classes drawn at random, for quality")
    add("--curve", default="24,32,48,64,96,128,256", help="featvis' numbers of steps, for quality")
    add("--recipe", default="portrait", help="featvis' recipe, for quality: a name or a TOML file")
    add("--lucent-steps", type=int, default=512, help="for quality; half of them is looked at, too")
    add("--equal-classes", type=int, default=16, help="as --horama-classes, for Lucent at 224 px")
    add("--horama-steps", type=int, default=64, help="for quality; Horama's own 1000 take very long on a CPU")
    add("--horama-canvas", type=int, default=1280, help="side of Horama's canvas")
    add(
        "--horama-classes",
        type=int,
        default=4,
        help="for quality: the first so many of the classes, 0 for none",
    )
    add("--seed", type=int, default=0, help="of the classes and of every picture")
    add("--model", default="efficientnet_lite0", help="as featvis names networks")
    add("--weights", help="a file of weights, or none")
    add("--judges", default="efficientnet_lite1,efficientnet_lite2", help="for quality")
    add("--device", default="auto", help="auto or cpu (the peers take a GPU whenever they see one)")
    add("--threads", type=int, help="CPU threads; by default torch's own number")
    add("--out", type=Path, help="pictures and their figures; what is there is not made again")
    add("--json", type=Path, help="write all figures to this file")
    add("--markdown", type=Path, help="write the tables to this file")
    asked = parser.parse_args(typed)
    for name in ("units", "steps", "rounds", "size", "classes", "lucent_steps", "horama_steps"):
        if getattr(asked, name) < (2 if name == "lucent_steps" else 1):
            parser.error(f"--{name.replace('_', '-')} is too small: {getattr(asked, name)}")
    typed_curve = asked.curve
    try:
        asked.curve = sorted({int(steps) for steps in asked.curve.split(",")})
        if asked.curve[0] < 1:
            raise ValueError
    except ValueError:
        parser.error(f"--curve is numbers of steps such as 24,48,96, got {typed_curve!r}")
    if asked.quick:
        asked.units, asked.classes, asked.horama_classes, asked.rounds = 2, 2, 1, 2
        asked.curve, asked.lucent_steps, asked.horama_steps = [4, 8], 8, 8
        asked.horama_canvas = min(asked.horama_canvas, 256)
    asked.out = asked.out or Path(".peers") / ("quick" if asked.quick else "results")
    return asked


def main(typed: list[str] | None = None) -> int:
    """Measure, print, write."""
    asked = parse(sys.argv[1:] if typed is None else typed)
    if asked.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks: Lucent takes a GPU unasked
    os.environ["TQDM_DISABLE"] = "1"  # likewise: Horama's bars
    import torch

    import featvis as fv

    if asked.threads:
        torch.set_num_threads(asked.threads)
    try:
        model = fv.load_model(asked.model, weights=asked.weights, device=asked.device)
        return _compare(asked, model)
    except (fv.FeatvisError, ModuleNotFoundError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2


def _compare(asked: argparse.Namespace, model: ModelHandle) -> int:
    from featvis.files import write_whole
    from tests.peers import with_horama

    with_horama.make_spectrum(asked.out / with_horama.SPECTRUM)
    about = machine(model)
    title = f"{asked.model} on {about['device']} ({about['processor']}); " + ", ".join(about["versions"])
    print(title)
    lines: dict[str, list[str]] = {}
    found: dict[str, object] = {"about": about}
    # Quality first: it tells at once if pictures of the peers are missing that should be there.
    for part, measure in (("quality", _quality), ("speed", _speed)):
        if asked.only in (None, "featvis", part):
            lines[part], found[part] = measure(asked, model)
            print("\n" + "\n\n".join(lines[part]), flush=True)
    told = [title, *lines.get("speed", []), *lines.get("quality", [])]
    if asked.markdown is not None:
        write_whole(asked.markdown, ("\n\n".join(told) + "\n").encode())
    if asked.json is not None:
        write_whole(asked.json, (json.dumps(found, indent=1) + "\n").encode())
    return 0


def _speed(asked: argparse.Namespace, model: ModelHandle) -> tuple[list[str], dict[str, object]]:
    from tests.peers import speed, with_featvis, with_horama, with_lucent

    wanted = speed.Asked(
        layer=asked.layer,
        size=asked.size,
        lanes=asked.lanes or with_featvis.lanes_for(None, asked.units),
        units=tuple(range(asked.units)),
        counted=asked.steps,
        rounds=asked.rounds,
        canvas=asked.horama_canvas,
        recipe={"steps": 8} if asked.quick else {},
        spectrum=asked.out / with_horama.SPECTRUM,
    )
    observed = with_lucent.observe(model, asked.layer)
    rows = speed.measure(model, wanted, _say)
    lines = [
        f"Speed: {asked.units} channels of {asked.layer}; medians of {asked.rounds} rounds in turn. A round "
        f"has {asked.steps} counted steps of each picture of Lucent, {speed.horama_counted(wanted)} of "
        "Horama's, and a whole call of featvis. In brackets: least and greatest of the rounds.",
        speed.show(rows),
        "Seen in Lucent's steps: " + ", ".join(f"{name} {value}" for name, value in observed.items()) + ".",
    ]
    return lines, {"rows": speed.to_json(rows), "lucent": observed}


def _quality(asked: argparse.Namespace, model: ModelHandle) -> tuple[list[str], dict[str, object]]:
    import featvis as fv
    from tests.peers import judging, quality, report
    from tests.peers.clock import turn

    units = model.layer(model.output_layer).units
    wanted = quality.Asked(
        classes=quality.draw_classes(units, asked.classes, asked.seed),
        seed=asked.seed,
        curve=tuple(asked.curve),
        recipe=asked.recipe,
        lucent_steps=asked.lucent_steps,
        equal_classes=max(0, asked.equal_classes),
        horama_steps=asked.horama_steps,
        horama_canvas=asked.horama_canvas,
        horama_classes=max(0, asked.horama_classes),
        out=asked.out,
        only_featvis=asked.only == "featvis",
    )
    methods = quality.render(model, wanted, _say)
    verdicts = {}
    for name in asked.judges.split(","):
        judge = fv.load_model(name, device=model.device)
        with turn():
            verdicts[name] = {
                of: judging.ask(judge, method.files, method.classes) for of, method in methods.items()
            }
    theirs = f"lucent-{asked.lucent_steps}"
    # As it ships, and with featvis' canvas.
    compared = [name for name in (theirs, f"lucent-{quality.LARGE}-{wanted.half}") if name in methods]
    found = {name: report.reaches(methods, verdicts, name) for name in compared}
    picture = quality.sheet(methods.values(), wanted.classes, asked.out / "sheet.png")
    lines = [
        f"Quality: {asked.classes} of {units} classes (seed {asked.seed}); what judges see in the saved "
        "8-bit PNGs. Lucent's seconds are its steps as timed beside featvis' jobs.",
        report.quality_table(methods, verdicts, theirs),
        "\n".join(
            f"- {report.reach_line(judge, reach, name)}"
            for name, by_judge in found.items()
            for judge, reach in by_judge.items()
        ),
        f"All pictures side by side: {picture}",
    ]
    return lines, report.to_json(methods, verdicts, found)


def machine(model: ModelHandle) -> dict[str, object]:
    """Say what the figures were measured on."""
    from importlib.metadata import version

    from featvis.devices import name_of

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("featvis", "torch", "torch-lucent", "horama", "kornia")
    return {
        "device": name_of(model.device),
        "processor": names[0] if names else platform.processor(),
        "versions": [f"{name} {version(name)}" for name in packages],
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
