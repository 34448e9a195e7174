"""The command line: one file for each command; the only place that prints."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
import warnings
from collections.abc import Sequence

LINE = 2000
"""The most characters of an error's line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``featvis``; returns the exit code, and ends the process with it when called as a command.

    A mistake of the user's is one line on stderr and exit code 2.
    """
    if arguments is None:
        _let_all_be_shown()
    code = _run(list(sys.argv[1:] if arguments is None else arguments))
    if arguments is None:
        sys.exit(code)
    return code


def _let_all_be_shown() -> None:
    """Let a terminal or a pipe that lacks a character show its number, where Python ends with an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    from featvis.errors import BoundsError, FeatvisError, FeatvisWarning

    if sys.flags.optimize > 1:
        return _fail("the command line reads its options from docstrings; run Python without -OO")
    # Large pages: a step allocates and frees the same big tensors, and without them the kernel's page
    # faults took a fifth of it. Must be set before torch allocates; the process is our own.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        # What libraries have to say to programmers is not for the terminal of a user.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", FeatvisWarning)
            warnings.showwarning = _show
            from featvis.cli.app import command
            from featvis.cli.completion import whole_words
            from featvis.cli.elsewhere import folders_here

            with whole_words(), folders_here(_as_read(arguments)) as read:
                asked = command(read[0] if read else "")
                result = asked(args=read, prog_name="featvis", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except BoundsError as error:
        return _fail(f"{error.problem}; --unbounded allows it")
    except FeatvisError as error:
        return _fail(error.typed)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command starts anew", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _fail(f"out of memory: {error}")
    except OSError as error:  # a full disk, a folder that cannot be written, a file that is gone
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}")
    except Exception as error:
        if "not enough memory" in str(error) or "out of memory" in str(error):  # torch's RuntimeError
            return _fail(
                f"out of memory: {error}; fewer lanes (--lanes) or a smaller canvas (--size) take less"
            )
        # Typer carries Click or its own copy of it, so its errors are known by their names.
        if type(error).__name__ == "Abort":
            return _fail("interrupted; the same command starts anew", 130)
        if type(error).__name__ == "NoArgsIsHelpError":  # `featvis` or `featvis gallery`, and nothing else
            print(error, file=sys.stderr)
            return 2
        tell = getattr(error, "format_message", None)
        if tell is None:
            raise
        message, context = tell().rstrip("."), getattr(error, "ctx", None)
        stop = "" if message.endswith("?") else "."
        return _fail(f"{message}{stop} See {context.command_path if context else 'featvis'} --help")


def _as_read(typed: list[str]) -> list[str]:
    """Return the words as Click reads them; ``help render``, ``-q render``, ``bench --json FILE`` are right.

    Click has no option whose value may be left out: ``--json`` is one of bench and compare.
    """
    from featvis.cli.output import STDOUT

    front = list(itertools.takewhile({"-q", "--quiet", "-v", "--verbose"}.__contains__, typed))
    words = [*typed[len(front) :], *front]
    if words[:1] == ["help"]:
        return [*words[1:], "--help"]
    if words[:2] == ["gallery", "build"]:
        return [*words[:2], *_slurm_options(words[2:])]
    if words[:1] in (["bench"], ["compare"]) and "--json" in words:
        place = words.index("--json")
        file = next((word for word in words[place + 1 : place + 2] if word.endswith(".json")), None)
        words[place : place + 1 + (file is not None)] = [f"--json={file or STDOUT}"]
    return words


def _slurm_options(words: list[str]) -> list[str]:
    """Return ``--slurm-partition gpu`` as ``--slurm partition=gpu``: sbatch has more options than we know."""
    read: list[str] = []
    left = iter(words)
    for word in left:
        name, equals, value = word.removeprefix("--slurm-").partition("=")
        if not word.startswith("--slurm-") or not name:
            read.append(word)
            continue
        read += ["--slurm", f"{name}={value if equals else next(left, '')}"]
    return read


def _show(message: Warning | str, *_: object, **__: object) -> None:
    from featvis.cli.output import is_quiet

    if not is_quiet():
        _say(str(message))


def _fail(message: str, code: int = 2) -> int:
    _say(message)
    return code


def _say(message: str) -> None:
    from featvis.cli.output import plain

    # What was typed or read stands in it, of whatever length.
    line = plain(message if len(message) <= LINE else f"{message[: LINE // 2]} … {message[-LINE // 2 :]}")
    with contextlib.suppress(OSError):  # stderr on a full disk, or closed
        print(f"featvis: {line}", file=sys.stderr)
