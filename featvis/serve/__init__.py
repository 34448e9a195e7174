"""The explorer: a network that one walks through in the browser, on this machine only."""
