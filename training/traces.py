"""Recorded traces for the page: the same texts through every stage, and a gallery of good conversations.

Knows the house's recorder and the recipe's checkpoints. Both are folders as `python -m app record` writes them.
"""

import itertools
import random
import shutil
from pathlib import Path

from transformers import AutoTokenizer

from analysis import storage
from app.engine.base import Message
from app.engine.catalogue import BUNDLED_CARD, EXAMPLE, SUGGESTIONS, TRACES
from app.engine.local import LocalEngine
from app.engine.opening import open_engine
from app.engine.prompts import Prompt
from app.engine.recording import SETTINGS, RecordJob, run_job
from training.data import sample
from training.data.dialogues import single
from training.encode import prompt_text, target_text
from training.evaluate import STAGES, progress_of, stage_model

#: Beside a stage's traces in the run: for how many tokens it was trained when they were recorded.
TRAINED = "trained"
#: What the stages are shown: (task, language) of one held-out problem each.
SHOWN = (
    ("multiplication", "en"),
    ("sorting", "en"),
    ("programs", "en"),
    ("dates", "ja"),
    ("capitals", "zh"),
    ("conversation", "en"),
)
MORE = {
    "en": (
        "What does this print?\nx = 4\nfor i in range(3):\n    x = x * 2\nprint(x)",
        "(12 + 7) × 4 - 9",
        "Thank you!",
    ),
    "ja": ("「赤い花」を英語に訳して", "水曜日の17日後は何曜日ですか?", "あなたは誰ですか?"),
    "zh": ("把“一只白色的狗”翻译成英语。", "计算 936 ÷ 8。", "你能做什么?"),
}
#: What the gallery's prompts are about, by position; a prompt beyond the last one has no topic.
TOPICS = {
    "en": ("arithmetic", "sorting", "arithmetic", "spelling", "knowledge", "self", "code", "arithmetic", "smalltalk"),
    "ja": ("arithmetic", "sorting", "arithmetic", "knowledge", "translation", "dates", "self"),
    "zh": ("arithmetic", "sorting", "arithmetic", "knowledge", "translation", "arithmetic", "self"),
}


def stage_texts(tokenizer: object) -> list[tuple[str, str]]:
    """(name, text as it should be answered) of what every stage routes."""
    rng = random.Random("the same for every stage")
    texts = []
    for task, language in SHOWN:
        dialogue = single(sample(rng, True, task, language), True)
        texts.append((f"{task} {language}", prompt_text(tokenizer, dialogue) + target_text(dialogue)))  # type: ignore[arg-type]
    return texts


def record_stages(run: Path, to: Path = TRACES / "stages") -> None:
    """Every stage's routing of the same texts: a folder a stage. Each is recorded once, in the run's folder, and again
    where the stage was trained on since then."""
    tokenizer = AutoTokenizer.from_pretrained(run / "tokenizer")
    prompts = [
        Prompt(i, (Message("user", text),), {"text": name}) for i, (name, text) in enumerate(stage_texts(tokenizer))
    ]
    shutil.rmtree(to, ignore_errors=True)
    for stage in STAGES:
        kept, partial = run / stage / "traces", run / stage / "traces.partial"
        trained = str(progress_of(run, stage).get("tokens", ""))
        old = kept.exists() and trained and trained != (kept / TRAINED).read_text(encoding="utf-8")
        if (old or not kept.exists()) and (model := stage_model(run, stage)) is not None:
            model.set_experts_implementation("grouped_mm")
            engine = LocalEngine(model, tokenizer, name=f"mini-qwen3-moe {stage}", revision=stage)
            for folder in (partial, kept):
                shutil.rmtree(folder, ignore_errors=True)
            _record(engine, prompts, RecordJob(partial, forced=True))
            (partial / TRAINED).write_text(trained, encoding="utf-8")
            partial.replace(kept)
        if kept.exists():
            shutil.copytree(kept, to / stage, ignore=shutil.ignore_patterns(TRAINED))


def record_gallery(to: Path = TRACES / "gallery") -> None:
    """The bundled model's answers, both modes, to what the page suggests and a little more; and the page's example."""
    engine = open_engine()
    asked = {"en": SUGGESTIONS, **BUNDLED_CARD.translated}
    prompts = []
    for language in asked:
        texts = dict.fromkeys((*asked[language], *MORE[language]))
        for text, topic in itertools.zip_longest(texts, TOPICS[language][: len(texts)], fillvalue=""):
            labels = {"language": language, "topic": topic, "model_name": BUNDLED_CARD.title}
            prompts.append(Prompt(len(prompts), (Message("user", text),), labels))
    shutil.rmtree(to, ignore_errors=True)
    _record(
        engine,
        prompts,
        RecordJob(to, modes=("thinking", "non-thinking"), temperature=0.0, max_new_tokens=400),
    )
    storage.save(engine.run(SUGGESTIONS[0], seed=0, router_scores=True), EXAMPLE)


def _record(engine: LocalEngine, prompts: list[Prompt], job: RecordJob) -> None:
    """Recorded once and whole: what a recording keeps to be resumed is not needed, and names this machine's folders."""
    if failed := run_job(engine, prompts, job)["failed"]:
        raise RuntimeError(f"{job.out} is not whole: {failed[0]}")
    (job.out / SETTINGS).unlink()
