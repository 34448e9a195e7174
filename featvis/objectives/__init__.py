"""Objectives and penalties: what is climbed, one file each."""
