"""Loading: whole checkpoints load, anything less is refused in one sentence."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis.errors import ModelError
from app.engine.base import SamplingParams
from app.engine.catalogue import BUNDLED_CARD, card_for, offers
from app.engine.local import LocalEngine
from app.engine.models import load_model
from app.engine.opening import open_engine, verify_checkpoint
from tests.tiny_models import ASSETS, tiny_dense, tiny_moe, tokenizer


def saved(path, model):
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("whole"), tiny_moe())


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def change_weights(path, change):
    file = path / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


def change_config(path, **values):
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_whole_checkpoint_loads_and_is_verified(whole):
    result = verify_checkpoint(str(whole))
    assert result["ok"] and result["moe_layers"] == [0, 2, 3] and result["layers_captured"] == 3
    assert (result["num_layers"], result["num_experts"], result["top_k"]) == (4, 16, 4)


def test_the_loaded_model_is_the_saved_one(whole):
    loaded, original = load_model(str(whole)).model, tiny_moe()
    ids = torch.arange(9).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, original(ids).logits)


def test_the_bundled_model_is_complete_and_says_what_it_is():
    engine = open_engine()
    assert engine.spec.num_experts >= 64 and engine.spec.top_k == 8 and engine.spec.num_moe_layers == 6
    assert all(layer.renormalised and not layer.shared_experts for layer in engine.spec.layers)
    assert "not Qwen" in engine.card.about and engine.provenance()["capture_check"]["ok"]
    assert max(f.stat().st_size for f in ASSETS.iterdir()) <= 10_000_000
    for token in ("<think>", "</think>", "<|im_start|>", "<|im_end|>"):
        assert engine.text.id_of(token) is not None


def remove_a_layer(path):
    change_weights(path, lambda w: [w.pop(k) for k in list(w) if k.startswith("model.layers.3.")])


def remove_an_expert(path):
    change_weights(path, lambda w: [w.pop(k) for k in list(w) if ".2.mlp.experts.7." in k] or w.popitem())


def remove_the_router(path):
    change_weights(path, lambda w: w.pop("model.layers.2.mlp.gate.weight"))


def cut_short(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5000])


def no_weights(path):
    (path / "model.safetensors").unlink()


def more_layers(path):
    change_config(path, num_hidden_layers=5)


def fewer_layers(path):
    change_config(path, num_hidden_layers=3)


def other_experts(path):
    change_config(path, num_local_experts=8)  # as Transformers writes the number of experts


def broken_config(path):
    (path / "config.json").write_text('{"model_type": ')


def unknown_model(path):
    change_config(path, model_type="no_such_thing")


def no_tokenizer(path):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (path / file).unlink()


def huge(path):
    change_config(path, hidden_size=100_000, num_hidden_layers=200, num_experts=2048)


@pytest.mark.parametrize(
    "damage",
    [
        remove_a_layer,
        remove_an_expert,
        remove_the_router,
        cut_short,
        no_weights,
        more_layers,
        fewer_layers,
        other_experts,
        broken_config,
        unknown_model,
        no_tokenizer,
        huge,
    ],
)
def test_nothing_half_loaded_is_accepted(copy, damage):
    damage(copy)
    with pytest.raises(ModelError) as error:
        open_engine(str(copy))
    message = str(error.value)
    assert "\n" not in message and len(message) < 500 and str(copy) in message


@pytest.mark.parametrize("name", ["", "no/such/folder", "./missing", "a b", "../x", "https://x/y"])
def test_names_that_are_no_model(name, tmp_path):
    with pytest.raises(ModelError):
        load_model(name or str(tmp_path))


def test_quantize_must_be_known(whole):
    with pytest.raises(ModelError, match="4bit or 8bit"):
        load_model(str(whole), "3bit")


@pytest.mark.skipif(sys.platform != "linux", reason="bitsandbytes is installed on Linux only")
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_a_quantized_model_answers_and_says_what_was_quantized(quantize):
    engine = open_engine("", quantize)
    assert engine.provenance()["quantization"] == quantize
    assert any("bit" in type(m).__name__ for m in engine.model.modules())
    assert engine.run("What is 12 + 30?", sampling=SamplingParams(max_tokens=8)).num_rows > 8


def test_a_model_that_fails_when_it_runs_is_refused_in_one_sentence(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no kernel for this shape\nand a long story")

    model = tiny_moe()
    monkeypatch.setattr(model, "forward", broken)
    with pytest.raises(ModelError, match="cannot be run here: no kernel for this shape$"):
        LocalEngine(model, tokenizer())


def test_a_dense_checkpoint_is_ok_without_layers(tmp_path):
    result = verify_checkpoint(str(saved(tmp_path, tiny_dense())))
    assert result["ok"] and result["moe_layers"] == [] and result["num_experts"] == 0


def test_cards_and_offers():
    assert card_for("") is BUNDLED_CARD and card_for(str(ASSETS)) is BUNDLED_CARD
    assert card_for("Qwen/Qwen3-30B-A3B").title == "Qwen3-30B-A3B"
    assert offers(24) == [] and offers(80) == ["Qwen/Qwen3-30B-A3B"]
