"""The exporters by name, loaded on use."""

from __future__ import annotations

from importlib import import_module

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError
from cuvee.interop.record import Exporter

EXPORTERS: dict[str, str] = {
    "megatron": "cuvee.interop.megatron:MEGATRON",
    "megatron-split": "cuvee.interop.megatron:SPLIT",
    "megatron-bridge": "cuvee.interop.nvidia:BRIDGE",
    "nemo": "cuvee.interop.nvidia:NEMO",
    "torchtitan": "cuvee.interop.torchtitan:TORCHTITAN",
    "olmo-core": "cuvee.interop.olmo:OLMO",
    "streaming": "cuvee.interop.mosaic:STREAMING",
    "llm-foundry": "cuvee.interop.mosaic:FOUNDRY",
    "hf": "cuvee.interop.huggingface:HF",
    "nanotron": "cuvee.interop.nanotron:NANOTRON",
    "axolotl": "cuvee.interop.axolotl:AXOLOTL",
    "llama-factory": "cuvee.interop.llamafactory:LLAMA_FACTORY",
    "trl": "cuvee.interop.trl:TRL",
    "litgpt": "cuvee.interop.litgpt:LITGPT",
    "lingua": "cuvee.interop.lingua:LINGUA",
    "maxtext": "cuvee.interop.maxtext:MAXTEXT",
    "json": "cuvee.interop.plain:JSON",
    "csv": "cuvee.interop.plain:CSV",
}


def exporter(name: str) -> Exporter:
    """The exporter of that name.

    Raises:
        UsageError: no such exporter.
    """
    if name not in EXPORTERS:
        raise UsageError(f"no exporter {name!r}", wanted=f"one of {', '.join(EXPORTERS)}", fix=nearest(name, EXPORTERS))
    module, attribute = EXPORTERS[name].split(":")
    found: Exporter = getattr(import_module(module), attribute)
    return found
