"""Networks as people hand them over: compiled, exported, scripted, or plain modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from featvis.errors import ModelError


def as_module(given: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module whose layers can be read, and what its user should know.

    The module inside a compiled one; an exported program as the modules that it was made from.

    Raises:
        ModelError: it has no layers, or is no network.
    """
    notes: tuple[str, ...] = ()
    if isinstance(given, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise ModelError(
            "a TorchScript module shows no layers: give the Python module that it was made from, with its "
            "weights (module.load_state_dict(scripted.state_dict()))"
        )
    for name, part in given.named_modules() if isinstance(given, nn.Module) else ():
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(
                f"its part {name!r} is a TorchScript module, which cannot be borrowed: put the Python module "
                "there that it was made from, with its weights (load_state_dict(scripted.state_dict()))"
            )
    if isinstance(given, nn.Module) and isinstance(given._modules.get("_orig_mod"), nn.Module):
        while isinstance(inner := given._modules.get("_orig_mod"), nn.Module):
            given = inner
        notes = (f"{type(given).__name__} is compiled; the module inside is used, layer by layer",)
    if isinstance(given, torch.export.ExportedProgram):
        return _unflattened(given), notes
    if isinstance(given, torch.fx.GraphModule) and _is_flat(given):
        raise ModelError(
            "the module of an exported program has no layers left: give the program itself (what "
            "torch.export.export or torch.export.load returned), or the module that it was made from"
        )
    if not isinstance(given, nn.Module):
        raise ModelError(
            f"a network is a name or a torch.nn.Module, not a {type(given).__name__}"
            + ("; a state_dict is given as weights, saved to a file" if isinstance(given, dict) else "")
        )
    if any(nn.parameter.is_lazy(one) for one in given.parameters()):
        raise ModelError(
            f"{type(given).__name__} has lazy layers that have not run yet: run it once on an image, "
            "module(torch.zeros(1, 3, 224, 224)), before it is handed over"
        )
    return given, notes


def _unflattened(program: torch.export.ExportedProgram) -> nn.Module:
    shapes = [node.meta["val"].shape for node in program.graph.nodes if _is_input(node, program)]
    if shapes and isinstance(shapes[0][0], int):
        sizes = "x".join(str(side) for side in shapes[0])
        raise ModelError(
            f"the program was exported for inputs of {sizes} alone; export it for any batch: "
            "dynamic_shapes=({0: torch.export.Dim('batch')},)"
        )
    module: nn.Module = torch.export.unflatten(program)
    return module


def _is_input(node: Any, program: torch.export.ExportedProgram) -> bool:
    return node.name in program.graph_signature.user_inputs and len(node.meta["val"].shape) > 0


def _is_flat(module: torch.fx.GraphModule) -> bool:
    nodes = list(module.graph.nodes)
    inner = any(node.op == "call_module" and node.target != "_guards_fn" for node in nodes)
    return not inner and any(node.op == "get_attr" for node in nodes)
