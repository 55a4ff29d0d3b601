"""Files that hold routing arrays: ``.npy``, ``.npz``, and the JSON answers of vLLM and SGLang. Never runs code in them.

Knows how the arrays are packed. What they must hold is checked by ``imports``; ``.pt`` dumps are read by the engine's
floor, which may use torch.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from analysis.config_spec import ConfigFacts, read_json
from analysis.errors import BadValue
from analysis.imports import Arrays, Tokens

NAMES = ("expert_ids", "routed_experts", "topk_ids")


def read_arrays(path: Path, source: str, facts: ConfigFacts) -> tuple[Arrays, Tokens | None]:
    """
    Args:
        source: "vllm", "sglang" or "npz".

    Returns:
        the arrays, and the tokens where the file names them.

    Raises:
        BadValue: naming the file and what is wrong with it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadValue(f"{path} cannot be read: {error.strerror}.") from None
    if path.suffix == ".json" and source != "npz":
        return _answer(data, source, facts, str(path))
    if data[:6] == b"\x93NUMPY":
        return Arrays(_numpy(data, str(path))), None
    if data[:2] == b"PK":
        return _npz(data, str(path))
    raise BadValue(
        f"{path} is not a file of NumPy (.npy, .npz)" + ("." if source == "npz" else ", nor an answer in .json.")
    )


def read_tokens(path: Path) -> Tokens:
    """A JSON list of token ids, or an object with ``token_ids`` and, if known, ``pieces``, ``prompt_tokens``,
    ``phases``.

    Raises:
        BadValue: naming the file.
    """
    data = read_json(path, "a list of token ids")
    data = {"token_ids": data} if isinstance(data, list) else data
    lists = ("token_ids", "pieces", "phases")
    if not isinstance(data, dict) or not isinstance(data.get("token_ids"), list):
        raise BadValue(f"{path} must be a list of token ids, or an object with token_ids.")
    prompt = data.get("prompt_tokens")
    if any(not isinstance(data.get(key), list | None) for key in lists) or not isinstance(prompt, int | None):
        raise BadValue(f"{path} must have lists as {', '.join(lists)} and a number as prompt_tokens.")
    return Tokens(data["token_ids"], data.get("pieces"), prompt, data.get("phases"))


def _numpy(data: bytes, name: str) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # ValueError, EOFError, SyntaxError and others on foreign content
        raise BadValue(f"{name} is not a readable array of NumPy: {str(error).splitlines()[0][:100]}") from None
    return np.asarray(array)


def _npz(data: bytes, name: str) -> tuple[Arrays, Tokens | None]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            wanted = (*NAMES, "expert_weights", "row_start", "token_ids")
            found = {key: archive[key] for key in wanted if key in archive.files}
            held = archive.files
    except Exception as error:  # zipfile's and NumPy's own, on foreign content
        raise BadValue(f"{name} is not a readable .npz: {(str(error).splitlines() or [''])[0][:100]}") from None
    ids = next((found[key] for key in NAMES if key in found), None)
    if ids is None:
        raise BadValue(f"{name} lacks expert_ids; it holds {', '.join(held)[:100] or 'nothing'}.")
    start = np.asarray(found.get("row_start", 0))
    if start.size != 1 or start.dtype.kind not in "iu":
        raise BadValue(f"{name} has a row_start that is not one whole number.")
    tokens = found.get("token_ids")
    if tokens is not None and (tokens.ndim != 1 or tokens.dtype.kind not in "iu"):
        raise BadValue(f"{name} has token_ids that are not a list of whole numbers.")
    return (
        Arrays(ids, found.get("expert_weights"), int(start.reshape(()))),
        None if tokens is None else Tokens(tokens.tolist()),
    )


def _answer(data: bytes, source: str, facts: ConfigFacts, name: str) -> tuple[Arrays, Tokens | None]:
    try:
        answer: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise BadValue(f"{name} is not readable JSON; expected an engine's answer.") from None
    answer = answer[0] if isinstance(answer, list) and answer else answer
    places = (_in(answer, "choices", 0), answer) if source == "vllm" else (
        _in(answer, "meta_info"), _in(answer, "sglext"), answer)  # fmt: skip
    routed = next((p["routed_experts"] for p in places if isinstance(p, dict) and p.get("routed_experts")), None)
    if routed is None:
        raise BadValue(f"{name} has no routed_experts; start the engine with --enable-return-routed-experts.")
    if isinstance(routed, list):
        return Arrays(_nested(_with_prompt(answer, routed), name)), None
    try:
        raw = base64.b64decode(routed, validate=True)
    except (ValueError, TypeError):
        raise BadValue(f"{name} has routed_experts that are neither base64 nor lists of numbers.") from None
    if source == "vllm":
        return Arrays(_numpy(raw, f"routed_experts of {name}")), None
    k, candidates = facts.spec.top_k, [facts.spec.num_moe_layers, facts.num_layers]
    if len(raw) % (4 * k) == 0 and k > 1 and not np.frombuffer(raw, "<i4").reshape(-1, k).any(axis=1).all():
        candidates.reverse()  # zeros throughout stand for dense layers
    for layers in candidates:
        if raw and len(raw) % (4 * layers * k) == 0:
            return Arrays(np.frombuffer(raw, "<i4").reshape(-1, layers, k)), None
    raise BadValue(
        f"{name} has {len(raw)} bytes of routed_experts; expected a multiple of 4 × {facts.spec.num_moe_layers} × {k}."
    )


def _with_prompt(answer: Any, routed: list[Any]) -> list[Any]:
    """Older releases of vLLM send the prompt's rows apart."""
    before = answer.get("prompt_routed_experts") if isinstance(answer, dict) else None
    return [*before, *routed] if isinstance(before, list) else routed


def _nested(values: list[Any], name: str) -> np.ndarray:
    try:
        return np.array(values)
    except (ValueError, OverflowError):
        raise BadValue(f"{name} has routed_experts in lists of unequal lengths.") from None


def _in(value: Any, *path: Any) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value
