"""The C++ side of the registry: op codes and the lists of ops by the signature of their function."""

from collections.abc import Collection
from hashlib import sha256
from typing import get_args

from augengine.ops import OPS, max_width
from augengine.ops.registry import Reads

SIGNATURES = [reads.upper() for reads in get_args(Reads)]


def registry_header(drawn: Collection[str] | None = None) -> str:
    """The text of ``registry.inc``, which the build writes and the CUDA backend compiles at run time.

    With `drawn`, only these ops stand in the lists, so that the code of all others is left out.
    """
    groups: dict[str, list[str]] = {signature: [] for signature in SIGNATURES}
    for op in OPS.values():
        if drawn is None or op.name in drawn:
            groups[op.reads.upper()].append(op.name)
    lines = ["// Generated from augengine/ops.", f"#define AE_MAX_ARGS {max_width()}"]
    lines += ["enum OpCode : int { " + ", ".join(f"OP_{op.name} = {op.code}" for op in OPS.values()) + " };"]
    partners = ", ".join(str(sum(p.width for p in op.params if p.name == "partner")) for op in OPS.values())
    lines += [f"constexpr int PARTNERS[] = {{{partners}}};  // of each op: its first arguments are rows of the batch"]
    lines += [f"#define AE_{group}_OPS(X) " + " ".join(f"X({name})" for name in ops) for group, ops in groups.items()]
    digest = sha256("\n".join(lines).encode()).hexdigest()[:16]
    return "\n".join([*lines, f'#define AE_REGISTRY_HASH "{digest}"']) + "\n"


def registry_hash() -> str:
    """What tells this registry from another; a compiled extension carries that of the one it was built from."""
    return registry_header().split('"')[-2]
