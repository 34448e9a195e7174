"""Transforms: random differentiable changes of images, for robustness, one file each."""
