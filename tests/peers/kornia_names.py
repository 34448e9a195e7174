"""Names that Lucent looks for in kornia and that kornia has moved since."""

from __future__ import annotations

MOVED = ("get_rotation_matrix2d", "warp_affine")


def give_old_names() -> None:
    """Let ``kornia.NAME`` be what is now ``kornia.geometry.transform.NAME``."""
    import kornia
    from kornia.geometry import transform

    for name in MOVED:
        if not hasattr(kornia, name):
            setattr(kornia, name, getattr(transform, name))
