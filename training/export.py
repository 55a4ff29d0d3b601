"""Writes a stage's checkpoint as a folder that Transformers loads: `python -m training.export STAGE [--to DIR]`.

bfloat16 safetensors in files of at most 8 MB, tokenizer, chat template, generation config and model card. Knows nothing
of how the model was trained or measured; the card's figures come from the JSON that `training.evaluate` writes.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from training.card import model_card

BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "mini-qwen3-moe"
LARGEST_FILE = "8MB"
#: In a run's folder: what the person who made it has to say of it.
NOTE = "note.md"


def export(stage: Path, to: Path = BUNDLED, figures: Path | None = None) -> None:
    """Replaces the model in `to` by a stage's. Other people may be loading it: files are swapped in one by one.

    Raises:
        FileExistsError: `to` holds something else than a model.
    """
    if to.exists() and any(to.iterdir()) and not (to / "config.json").exists():
        raise FileExistsError(f"{to} is not empty and holds no model: name another folder")
    state = torch.load(stage / "checkpoint.pt", weights_only=True, map_location="cpu")
    tokenizer = AutoTokenizer.from_pretrained(stage.parent / "tokenizer")
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**state["config"]))
    model.load_state_dict(state["model"])
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        top_k=20,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    with TemporaryDirectory() as made:
        staging = Path(made)
        _write(model, tokenizer, stage, staging, figures)
        to.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in staging.iterdir()}
        for path in staging.iterdir():
            partial = to / f".{path.name}.partial"
            partial.write_bytes(path.read_bytes())
            partial.replace(to / path.name)
    for path in to.iterdir():
        if path.name not in names:
            path.unlink()


def _write(
    model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerBase, stage: Path, staging: Path, figures: Path | None
) -> None:
    model.save_pretrained(staging, max_shard_size=LARGEST_FILE)
    tokenizer.save_pretrained(staging)
    _name_experts_as_qwen3(staging / "config.json")
    measured = json.loads(figures.read_text(encoding="utf-8")) if figures else None
    note = stage.parent / NOTE
    card = model_card(
        stage.name,
        json.loads((staging / "config.json").read_text(encoding="utf-8")),
        sum(p.numel() for p in model.parameters()),
        measured,
        note.read_text(encoding="utf-8") if note.exists() else "",
    )
    (staging / "README.md").write_text(card, encoding="utf-8")


def _name_experts_as_qwen3(path: Path) -> None:
    """Qwen3's published configs say `num_experts`; Transformers reads either and writes `num_local_experts`."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["num_experts"] = config.pop("num_local_experts", config.get("num_experts"))
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.export", description="Write a run's checkpoint as a model folder."
    )
    parser.add_argument("stage", type=Path, help="a stage's folder in a run")
    parser.add_argument("--to", type=Path, default=BUNDLED, help="folder to write")
    parser.add_argument("--figures", type=Path, help="JSON of training.evaluate, for the model card")
    given = parser.parse_args(arguments)
    if not (given.stage / "checkpoint.pt").exists():
        parser.error(f"no checkpoint in {given.stage}")
    try:
        export(given.stage, given.to, given.figures)
    except FileExistsError as error:
        parser.error(str(error))
    print(f"written to {given.to}")


if __name__ == "__main__":
    main()
