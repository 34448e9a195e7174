"""``python -m featvis.models.measured``: the file of what is known of the embedded networks, made anew."""

from __future__ import annotations

import json
from typing import Any

from featvis.models.handle import ModelHandle
from featvis.models.known import FILE
from featvis.models.load import load_model

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def describe(model: ModelHandle) -> dict[str, Any]:
    """Return what the file says of a network, measured.

    Args:
        model: an embedded network.
    """
    network = model.at(model.input_size)
    sound = {name: layer for name, layer in network.layers.items() if layer.is_clear and not layer.fault}
    modules = dict(model.module.named_modules(remove_duplicate=False))
    return {
        "layers": {name: layer.units for name, layer in sound.items()},
        "others": sorted(({*modules} | {*network.layers} | {*network.others}) - {*sound} - {""}),
        "named": [name for name, layer in sound.items() if layer.labels],
        "logits": network.logits_layer,
    }


def _write() -> None:
    models = {name: load_model(name, device="cpu") for name in NAMES}
    labels = json.dumps(models["efficientnet_lite0"].labels, ensure_ascii=False)
    rows = [f"  {json.dumps(name)}: {json.dumps(describe(model))}" for name, model in models.items()]
    text = f'{{\n "labels": {labels},\n "networks": {{\n' + ",\n".join(rows) + "\n }\n}\n"
    FILE.write_text(text, "utf-8")


if __name__ == "__main__":
    _write()
