"""Loading checkpoints: any folder or hub name, completely or not at all; and calling what was loaded.

Chooses dtype and device by the machine. Knows files and memory; does not know routing or requests.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    FineGrainedFP8Config,
    Mxfp4Config,
)
from transformers.utils import logging as transformers_logging

from analysis.errors import ModelError
from app.engine.catalogue import BUNDLED
from app.engine.facts import stack_of
from app.engine.quantization import quantization_config, unscaled_fp8, weight_bytes, what_was_quantized

QUANTIZATIONS = ("", "4bit", "8bit")
_SHRINKS = {"fp8": 2.0}
"""How many times smaller than in 16 bits a checkpoint stays that is quantized by this method; by others at most 4."""

RUN_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ImportError, OSError)
"""What loading or running a model raises where its files or this machine do not allow it."""


@dataclass(frozen=True)
class LoadedModel:
    """A complete model ready to run.

    Attributes:
        model, tokenizer: Transformers objects; the model is in evaluation mode.
        name: as asked for; the bundled model's folder for "".
        revision: the hub commit, or None for a folder.
        quantization: "none", or what was quantized.
        model_type: the checkpoint's, which may hold more than the language model that was loaded.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None
    quantization: str
    model_type: str


def load_model(name: str = "", quantize: str = "") -> LoadedModel:
    """Load ``name``, a folder or hub name ("" for the bundled model).

    Raises:
        ModelError: it is missing, incomplete, damaged, not a language model, or larger than this machine's memory.
    """
    if quantize not in QUANTIZATIONS:
        raise ModelError(f"Unknown quantization {quantize!r}; expected 4bit or 8bit.")
    name = os.path.expanduser(name) or str(BUNDLED)
    _check_folder(name)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # else a line for every product of two matrices
    try:
        config = AutoConfig.from_pretrained(name)
    except RUN_ERRORS as error:
        raise ModelError(f"No model could be read from {name!r}: {first_line(error)}") from None
    method = _method(config)
    if method and quantize:
        raise ModelError(f"The checkpoint {name!r} is quantized already ({method}); {quantize} is not possible.")
    dtype, placement = _placement(name, config, quantize)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except RUN_ERRORS as error:
        raise ModelError(f"The tokenizer of {name!r} cannot be read: {first_line(error)}") from None
    if not set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder):
        raise ModelError(f"The tokenizer of {name!r} is missing: nothing but special tokens was found.")
    try:
        auto_class, part = _language_model(config)
        model, info = auto_class.from_pretrained(
            name, dtype=dtype, output_loading_info=True, **part, **placement, **_quantization(quantize, method, dtype)
        )
    except Exception as error:  # a damaged file fails in many libraries, each with exceptions of its own
        reason = first_line(error)
        if "above report" in reason:  # a table that is not shown
            reason = "weights are missing, or their shapes do not fit its config."
        raise ModelError(f"The checkpoint {name!r} cannot be loaded: {reason}") from None
    _refuse_incomplete(name, model, info)
    bare = unscaled_fp8(Path(name)) if method else []
    if bare:
        raise ModelError(f"The checkpoint {name!r} is incomplete: {len(bare)} weights lack scales, as {bare[0]!r}.")
    vocabulary = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > vocabulary:
        raise ModelError(f"The tokenizer of {name!r} has {len(tokenizer)} tokens but its model only {vocabulary}.")
    return LoadedModel(
        model=model.eval(),
        tokenizer=tokenizer,
        name=name,
        revision=getattr(model.config, "_commit_hash", None),
        quantization=_quantization_of(model, quantize, method),
        model_type=config.model_type,
    )


def input_device(model: Any) -> torch.device:
    """Where token ids are to be; the host where the embedding is kept elsewhere until it is needed."""
    device = model.get_input_embeddings().weight.device
    return torch.device("cpu") if device.type == "meta" else device


class ModelCache:
    """One sequence's cache, of whatever class the model makes for itself at its first pass."""

    def __init__(self, model: Any, cache: Any = None) -> None:
        self.model = model
        self.cache = cache
        self._name = cache_argument(model)

    def forward(self, ids: torch.Tensor, **options: Any) -> Any:
        """Run the model on ``ids`` (1, S), behind what the cache holds."""
        given = {} if self.cache is None else {self._name: self.cache}
        output = self.model(input_ids=ids, use_cache=True, **given, **options)
        self.cache = output[self._name]
        return output


def cache_argument(model: Any) -> str:
    """What the model's ``forward`` calls its key-value cache: ``past_key_values`` in Transformers 5.6 to 5.20,
    ``cache`` in 5.24."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def gpu_gib() -> float:
    """Memory of all CUDA devices together, in GiB; 0 without one."""
    if not torch.cuda.is_available():
        return 0.0
    return sum(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / 2**30


def _check_folder(name: str) -> None:
    path = Path(name)
    try:
        looks_like_path = name.startswith((".", "/", "~")) or name.count("/") != 1 or path.exists()
        is_folder = path.is_dir()
    except (OSError, ValueError):
        raise ModelError(f"{name[:60]!r}… is neither a folder nor a hub name like Qwen/Qwen3-30B-A3B.") from None
    if not looks_like_path:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise ModelError(f"{name!r} is neither a folder nor a hub name like Qwen/Qwen3-30B-A3B.")
        return
    if not is_folder:
        raise ModelError(f"There is no model folder {name!r}.")
    if not (path / "config.json").is_file():
        raise ModelError(f"The folder {name!r} is not a model: it has no config.json.")


def _language_model(config: Any) -> tuple[Any, dict[str, Any]]:
    """The class that loads what answers text with text, and what it needs to be told: the language model alone where
    Transformers has it, else with its eyes; of a model that also speaks, the part that thinks."""
    thinker = getattr(config, "thinker_config", None)
    if thinker is not None:
        return AutoModelForImageTextToText, {"config": thinker}
    for auto_class in (AutoModelForCausalLM, AutoModelForImageTextToText):
        if type(config) in auto_class._model_mapping:
            return auto_class, {}
    return AutoModelForCausalLM, {}


def _placement(name: str, config: Any, quantize: str) -> tuple[torch.dtype, dict[str, Any]]:
    """dtype and device by the machine; refuses what cannot fit."""
    try:
        with torch.device("meta"):
            auto_class, part = _language_model(config)
            model = auto_class.from_config(part.get("config", config))
    except RUN_ERRORS as error:
        raise ModelError(f"{name!r} is not a language model that can be run: {first_line(error)}") from None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**62
    needed, total = float(weight_bytes(model, quantize)), memory + gpu_gib() * 2**30
    if quantize and torch.cuda.is_available():  # what bitsandbytes quantizes cannot be offloaded
        total = gpu_gib() * 2**30 * 0.9
    method = _method(config)
    if method and not _dequantized(method):
        needed = needed / _SHRINKS.get(method, 4.0)
    if needed > total:
        parameters = sum(p.numel() for p in model.parameters())
        raise ModelError(
            f"{name!r} has {parameters / 1e9:.0f} billion parameters, about {needed / 2**30:.0f} GiB"
            f"{f' in {quantize}' if quantize else ''}; this machine has {total / 2**30:.0f} GiB for them."
        )
    if torch.cuda.is_available():
        return (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16), {"device_map": "auto"}
    if torch.backends.mps.is_available():
        return torch.float16, {"device_map": "mps"}
    roomy = weight_bytes(model, quantize, torch.float32) < memory / 2
    return (torch.float32 if roomy else torch.bfloat16), {}


def _method(config: Any) -> str:
    """How the checkpoint itself is quantized, as ``config`` names it; "" if it is not."""
    found = getattr(config, "quantization_config", None)
    found = found or getattr(config.get_text_config(), "quantization_config", None)
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method)) if method else ""


def _dequantized(method: str) -> bool:
    """Is a checkpoint quantized by ``method`` turned back into plain weights while loading? FP8 where its kernels are
    not; MXFP4 always, because its kernels replace the MoE block together with the router, which could not be seen."""
    if method == "fp8":
        native = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 9)
        return not (native and importlib.util.find_spec("kernels"))
    return method == "mxfp4"


def _quantization(quantize: str, method: str, dtype: torch.dtype) -> dict[str, Any]:
    if quantize:
        return {"quantization_config": quantization_config(quantize, dtype)}
    if _dequantized(method):
        kind = FineGrainedFP8Config if method == "fp8" else Mxfp4Config
        return {"quantization_config": kind(dequantize=True)}
    return {}


def _quantization_of(model: Any, quantize: str, method: str) -> str:
    if quantize:
        return what_was_quantized(model, quantize)
    if _dequantized(method):
        return f"{method} checkpoint, dequantized to {str(model.dtype).removeprefix('torch.')}"
    return method or "none"


def _refuse_incomplete(name: str, model: Any, info: dict[str, Any]) -> None:
    """Any weight that was not in the checkpoint would be random; any layer left over means the config is another's.
    Layers of a part that was not asked for, like a vision tower, may be left over."""
    missing = sorted(info.get("missing_keys") or [])
    if missing:
        raise ModelError(
            f"The checkpoint {name!r} is incomplete: {len(missing)} weights are missing, the first {missing[0]!r}."
        )
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys") or [])
    if mismatched:
        raise ModelError(f"The checkpoint {name!r} does not fit its config: {mismatched[0]!r} has another shape.")
    stacks = {stack_of(key)[0] for key in model.state_dict()}
    left_over = sorted(k for k in info.get("unexpected_keys") or [] if stack_of(k)[0] in stacks - {""})
    if left_over:
        raise ModelError(
            f"The checkpoint {name!r} does not fit its config: it holds {len(left_over)} weights that the config does "
            f"not know, the first {left_over[0]!r}."
        )
    errors = info.get("error_msgs") or info.get("conversion_errors")
    if errors:
        raise ModelError(f"The checkpoint {name!r} cannot be loaded: {first_line(errors)}")


def first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].strip()[:300]
