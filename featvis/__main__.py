"""``python -m featvis``: the command line."""

from featvis.cli import main

if __name__ == "__main__":
    main()
