"""Galleries: a config file becomes a folder of pictures that opens in a browser, resumable at any moment."""
