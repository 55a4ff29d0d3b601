"""Opening a model as an engine, and looking into one: a folder or hub name to an engine whose capture was verified.

Knows loading, the local engine and the capture check. Does not know requests.
"""

from __future__ import annotations

from typing import Any

from analysis.errors import CaptureError
from app.engine.local import LocalEngine
from app.engine.models import LoadedModel, load_model


def open_engine(model: str = "", quantize: str = "") -> LocalEngine:
    """Load ``model`` (folder or hub name; "" for the bundled one) and verify its capture.

    Raises:
        ModelError: it cannot be loaded completely, or its routing cannot be captured faithfully.
    """
    loaded: LoadedModel = load_model(model, quantize)
    return LocalEngine(
        loaded.model,
        loaded.tokenizer,
        name=loaded.name,
        revision=loaded.revision,
        quantization=loaded.quantization,
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


def verify_checkpoint(name: str) -> dict[str, Any]:
    """Load ``name`` and check its capture, whatever comes out: the JSON of ``python -m app check``.

    Raises:
        ModelError: it cannot be loaded completely.
    """
    loaded = load_model(name)
    config = loaded.model.config
    known = {
        "ok": False,
        **dict.fromkeys(CHECK_KEYS),
        "model_type": loaded.model_type,
        "num_layers": getattr(getattr(config, "text_config", None) or config, "num_hidden_layers", None),
    }
    try:
        engine = LocalEngine(loaded.model, loaded.tokenizer, name=loaded.name, check=False)
    except CaptureError as error:
        return {**known, "problems": [str(error)]}
    found = {key: engine.spec.shared_value(key) for key in ("num_experts", "top_k", "shared_experts")}
    return {**known, "moe_layers": engine.spec.layer_numbers, **found, **engine.verify().to_json()}
