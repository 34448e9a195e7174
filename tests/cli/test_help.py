"""What every command takes and says in its help: names that stay, one text for one option."""

from __future__ import annotations

import pytest
from typer.main import get_command

import featvis as fv
from featvis.cli import main
from featvis.cli.app import make_app

MODEL = "--weights --mean --std --unit-axis --device --input-size --labels --channel-order --range "
MODEL += "--sample-rate --frames"
NETWORK = f"--model -m {MODEL}"
NAMES = {
    "render": (
        "--set --layer -l --units -u --recipe -r --size --steps --learning-rate --optimizer "
        "--copies --average --band --best-of --seed --seeds --diverse --lanes --precision --threads "
        "--space --start --out -o --snapshots --video --transparency --morph --fps --dry-run --executor "
        "NETWORK"
    ),
    "attribute": (
        "--target -t --method --direction --size --layer -l --steps --window --stride --area --baseline "
        "--smooth --noise --seed --curves --no-curves --sanity --grid --out -o NETWORK"
    ),
    "ablate": "--mode --factor --mean-of --count --out -o NETWORK",
    "blocks": (
        "--target -t --layer -l --count --icons --size --out -o --grid --against --groups --tile --recipe -r "
        "--set --steps --seed NETWORK"
    ),
    "atlas": (
        "--layer -l --beside --beside-model --count --grids --least --layout --whiten --no-whiten --scales "
        "--patches --title --recipe -r --set --cell --steps --lanes --seed --out -o NETWORK"
    ),
    "circuit": ("--from --levels --depth --count --examples --recipe -r --size --steps --out -o NETWORK"),
    "words": "--pair --vocabulary --template --find --like --at --count --widest --seed --out -o NETWORK",
    "statistics": "--size --out -o NETWORK",
    "serve": "--gallery --photos --port --show MODEL",
    "components": "--method --count --seed --size --out -o NETWORK",
    "dream": "--set --layer -l --octaves --octave-scale --recipe -r --size --steps --seed --out -o NETWORK",
    "accentuate": "--set --target -t --weight --near --recipe -r --size --steps --seed --out -o NETWORK",
    "invert": "--set --layer -l --recipe -r --size --steps --seed --out -o NETWORK",
    "caricature": "--set --layer -l --power --recipe -r --size --steps --seed --out -o NETWORK",
    "style": (
        "--set --content-layer --style-layer --weight --recipe -r --size --steps --seed --out -o NETWORK"
    ),
    "weights": "--units -u --scale --columns --out -o NETWORK",
    "layers": "--size --search --fields --no-fields MODEL",
    "models": "--search -s",
    "recipes": "",
    "parts": "--markdown",
    "compare": (
        "--set --targets -t --judge -j --judge-weights --views --examples --classes --seeds --steps --size "
        "--out -o NETWORK"
    ),
    "bench": ("--set --layer -l --recipe -r --size --lanes --steps --precision --threads --rounds NETWORK"),
    "evaluate": (
        "--judge -j --judge-weights --views --examples --batch --answers --key --accept --to-mark "
        "--unbounded NETWORK"
    ),
    "quiz": "--tasks --count --seed --title --text --out -o",
    "reproduce": "--start --out -o --unbounded NETWORK",
    "gallery build": (
        "--out -o --examples --limit --prune --shard --allow-unlike --dry-run --weights --device --executor "
        "--workers --slurm --detach"
    ),
    "gallery merge": "",
    "gallery status": "",
    "gallery pages": "",
    "gallery schema": "",
    "gallery export": "--zip --out -o",
}
"""The options of each command. Scripts use them: one may come, none may go."""

OF_ITS_OWN = {"--count", "--method", "--weight", "--grid"}
"""Options that are a command's own and share no more than their name."""
OF_METHODS = {"--layer", "--steps", "--seed"}
"""Options of `attribute` that belong to one of its methods."""


def commands(group=None, path=()):
    """Every command by its words."""
    for name, command in (group or get_command(make_app())).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())


def options(command):
    return [param for param in COMMANDS[command].params if param.param_type_name == "option"]


def test_every_command_is_in_the_table():
    assert set(COMMANDS) == set(NAMES)


@pytest.mark.parametrize("command", NAMES)
def test_a_command_keeps_the_names_of_its_options(command):
    names = [name for option in options(command) for name in (*option.opts, *option.secondary_opts)]
    assert len(names) == len(set(names))
    own = NAMES[command].replace("NETWORK", NETWORK).replace("MODEL", MODEL).split()
    json = [] if command == "gallery schema" else ["--json"]  # which is JSON
    assert set(names) == {*own, *json, "--quiet", "-q", "--verbose", "-v"}


def test_an_option_has_the_same_help_in_every_command():
    texts = {}
    for command in COMMANDS:
        for option in options(command):
            if option.opts[0] in OF_ITS_OWN or (command == "attribute" and option.opts[0] in OF_METHODS):
                continue
            kind = (option.opts[0], option.multiple, option.is_flag)  # repeatable, a switch, or neither
            if option.opts[0] == "--json" and not option.is_flag:
                continue  # of bench and compare: it takes a file's name, too
            texts.setdefault(kind, {}).setdefault(option.help, []).append(command)
    assert {kind: told for kind, told in texts.items() if len(told) > 1} == {}


def test_every_option_and_argument_says_what_it_is():
    for command, made in COMMANDS.items():
        assert made.help, command
        for param in made.params:
            assert param.help, f"{command} {param.name}"


@pytest.mark.parametrize("typed", [[], ["gallery"]], ids=["featvis", "featvis gallery"])
def test_without_a_command_the_whole_help_is_shown(typed, capsys):
    assert main([*typed, "--help"]) == 0
    text = capsys.readouterr().out
    assert main(typed) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.split() == text.split()
    assert len(shown.err.splitlines()) > 9


@pytest.mark.parametrize("words", [["render"], ["gallery", "build"], []])
def test_help_is_a_command_too(words, capsys):
    main([*words, "--help"])
    text = capsys.readouterr().out
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out == text


def test_the_version_has_two_spellings(capsys):
    assert main(["-V"]) == main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == f"featvis {fv.__version__}"


def test_the_help_names_what_the_environment_says(capsys):
    main(["--help"])
    assert "FEATVIS_MODEL, FEATVIS_DEVICE and FEATVIS_OUT" in " ".join(capsys.readouterr().out.split())
    main(["render", "--help"])
    text = capsys.readouterr().out
    assert "FEATVIS_MODEL" in text
    assert "FEATVIS_DEVICE" in text
    assert "FEATVIS_OUT" in text


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["blocks"], "Missing argument 'photo'. See featvis blocks --help"),
        (["rendr"], "Did you mean 'render'? See featvis --help"),
        (["gallery", "buld"], "Did you mean 'build'? See featvis gallery --help"),
        (["render", "--stepz", "3"], "See featvis render --help"),
    ],
)
def test_a_mistake_in_arguments_names_the_help(typed, says, capsys):
    assert main(typed) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("featvis: ")
    assert says in line


def test_the_list_of_commands_is_the_same_whether_their_options_are_read(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    asked = get_command(make_app())
    with pytest.raises(SystemExit):
        asked(args=["--help"], prog_name="featvis")
    assert capsys.readouterr().out == listed
