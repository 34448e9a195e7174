"""Hostile inputs: what happens when a file was made to do harm.

``python -m tests.hostile`` runs them through the command line and prints how each kind ended.
"""
