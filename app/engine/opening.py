"""Opening a model as an engine, and looking into one: a folder or hub name to an engine whose capture was verified.

Knows loading, the local engine and the capture check. Does not know requests.
"""

from __future__ import annotations

from typing import Any

import torch

from analysis.errors import BadValue, CaptureError, ModelError
from app.engine.facts import text_config
from app.engine.local import LocalEngine
from app.engine.models import LoadedModel, input_device, load_model
from app.engine.noise import NOISE_TEXT, in_dtype, noise_floor


def open_engine(model: str = "", quantize: str = "", compiled: bool = False) -> LocalEngine:
    """Load ``model`` (folder or hub name; "" for the bundled one) and verify its capture; ``compiled`` as in
    ``LocalEngine``.

    Raises:
        ModelError: it cannot be loaded completely, or its routing cannot be captured faithfully.
    """
    loaded: LoadedModel = load_model(model, quantize)
    if compiled and loaded.quantization != "none" and input_device(loaded.model).type == "cpu":
        raise ModelError("A quantized model cannot be compiled on a CPU; leave --compile or the quantization out.")
    return LocalEngine(
        loaded.model,
        loaded.tokenizer,
        name=loaded.name,
        revision=loaded.revision,
        quantization=loaded.quantization,
        compiled=compiled,
    )


CHECK_KEYS = (
    "model_type",
    "num_layers",
    "moe_layers",
    "num_experts",
    "top_k",
    "shared_experts",
    "layers_captured",
    "ids_match",
    "weight_sum",
)
"""What ``python -m app check`` reports besides ``ok`` and ``problems``; null where it could not be found out."""


def verify_checkpoint(name: str, quantize: str = "") -> dict[str, Any]:
    """Load ``name`` and check its capture, whatever comes out: the JSON of ``python -m app check``.

    Raises:
        ModelError: it cannot be loaded completely.
    """
    loaded = load_model(name, quantize)
    known = {
        "ok": False,
        **dict.fromkeys(CHECK_KEYS),
        "model_type": loaded.model_type,
        "quantization": loaded.quantization,
        "num_layers": getattr(text_config(loaded.model), "num_hidden_layers", None),
    }
    try:
        engine = LocalEngine(loaded.model, loaded.tokenizer, name=loaded.name, check=False)
    except CaptureError as error:
        return {**known, "problems": [str(error)]}
    found = {key: engine.spec.shared_value(key) for key in ("num_experts", "top_k", "shared_experts")}
    return {**known, "moe_layers": engine.spec.layer_numbers, **found, **engine.verify().to_json()}


def measure_noise(name: str, text: str | None = None, quantize: str = "", other_dtype: bool = True) -> dict[str, Any]:
    """Load ``name`` and measure the noise floor of its routing: the JSON of ``python -m app noise``.

    Args:
        text: what to route; a text of our own where it is None.
        quantize: also compare with the model quantized so.
        other_dtype: also compare with a copy in bfloat16 (float32 where the model is in bfloat16 itself).

    Raises:
        UserError: the model cannot be loaded or captured, or the text is too short or too long for it.
    """
    loaded = load_model(name)
    engine = LocalEngine(loaded.model, loaded.tokenizer, name=loaded.name)
    tokens = engine.text.encode(NOISE_TEXT if text is None else text)
    if not engine.spec.layers:
        raise BadValue(f"{loaded.name} is a dense model: it has no routing to compare.")
    if not 4 <= len(tokens) <= engine.capabilities.context:
        raise BadValue(f"The text has {len(tokens)} tokens; it needs from 4 to {engine.capabilities.context:,}.")
    others: dict[str, Any] = {}
    if other_dtype:
        dtype = torch.float32 if engine.model.dtype == torch.bfloat16 else torch.bfloat16
        others[str(dtype).removeprefix("torch.")] = in_dtype(engine.model, dtype)
    if quantize:
        others[quantize] = load_model(name, quantize).model
    found = noise_floor(engine.model, tokens, others)
    ways = found["ids"].along("way")
    return {
        "model": engine.name,
        "dtype": str(engine.model.dtype).removeprefix("torch."),
        "text": "own" if text is None else "given",
        "tokens": len(tokens),
        "moe_layers": engine.spec.layer_numbers,
        "ways": {way: {k: s.values[i].tolist() for k, s in found.items()} for i, way in enumerate(ways)},
    }
