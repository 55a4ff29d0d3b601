"""The noise floor is nothing where nothing differs, grows with what does, and counts what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.engine.moe_layer import router_spec
from app.engine.noise import _different, _moved, in_dtype, noise_floor
from app.engine.router import find_moe_layers
from tests.tiny_models import tiny_moe

TEXT = list(range(5, 69))


def test_in_float32_no_way_of_running_differs_and_bfloat16_does():
    model = tiny_moe()
    found = noise_floor(model, TEXT, {"bfloat16": in_dtype(model, torch.bfloat16), "itself": model})
    ids = dict(zip(found["ids"].along("way"), found["ids"].values, strict=True))
    assert list(ids) == ["decode", "chunks", "batch", "bfloat16", "itself"]
    for way in ("decode", "chunks", "batch", "itself"):
        assert ids[way].max() <= 0.001
    assert 0 < ids["bfloat16"].max() < 0.5
    assert found["ids"].n == 64 and found["ids"].along("layer") == [0, 2, 3]
    assert model.dtype == torch.float32


def test_what_is_counted():
    spec = router_spec(find_moe_layers(tiny_moe()))
    base = np.tile(np.arange(4, dtype=np.uint8), (10, 3, 1))
    other = base.copy()
    other[0, 1] = [3, 2, 1, 0]  # the same set in another order
    other[1, 1] = [0, 1, 2, 9]  # one other expert
    np.testing.assert_allclose(_different(base, other, spec), [0, 1 / 40, 0])
    np.testing.assert_allclose(_moved(base, other, spec), [0, 1 / 40, 0])
    with pytest.raises(ValueError):
        _different(base, other[:5], spec)


def test_too_short_a_text_is_refused():
    with pytest.raises(ValueError, match="at least 4"):
        noise_floor(tiny_moe(), [5, 6])
