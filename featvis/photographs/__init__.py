"""Photographs: read, framed, measured, searched."""
