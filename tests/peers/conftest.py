"""The comparison is run by `make bench-peers`; pytest reads its arithmetic only."""

from pathlib import Path

READ = {"figures.py"}
collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("*.py")
    if path.name not in READ and not path.name.startswith("test_")
]
