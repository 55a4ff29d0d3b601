"""The endpoints for programs: ``/chat`` and ``/route_text``. Everything they are given is checked; nothing is kept
for a visitor. Knows the same runs as the page; has no components.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import gradio as gr

from analysis.errors import BadValue, UserError
from analysis.trace import Phase
from analysis.words import Words
from app.server import limits
from app.ui.context import Services
from app.ui.following import ActiveRuns, follow, new_run_id
from app.ui.forced_tab import route
from app.ui.turn import Options, build_request, recommended

log = logging.getLogger("expertscope")


def build(services: Services, runs: ActiveRuns) -> None:
    """Register the endpoints in the current ``gr.Blocks``."""
    most = services.settings.followed
    fault = Words("en")("page.fault")

    def chat(
        message: Any,
        history: Any = None,
        mode: Any = "thinking",
        thinking_budget: Any = None,
        temperature: Any = None,
        top_p: Any = None,
        top_k: Any = None,
        min_p: Any = None,
        presence_penalty: Any = None,
        max_tokens: Any = None,
        seed: Any = None,
        router_scores: Any = False,
    ) -> Generator[dict[str, Any], None, None]:
        """Answer ``message`` after ``history`` (a list of role and content), streaming
        ``{thinking, answer, tokens, waiting, finish_reason, trace_id}``. None means what Qwen3's authors recommend."""
        values = (temperature, top_p, top_k, min_p, presence_penalty, max_tokens)
        try:
            messages = (
                *limits.history(history, services.settings),
                limits.user_message(message, services.settings),
            )
            usual = recommended(services, limits.mode_of(mode, services.engine.capabilities))
            names = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "max_tokens")
            filled = {n: getattr(usual, n) if v is None else v for n, v in zip(names, values, strict=True)}
            options = Options(mode, thinking_budget, **filled, seed=seed, router_scores=router_scores)
            request = build_request(services, messages, options)
            provenance = services.engine.provenance(request)
            yield from _answer(services, runs, lambda: services.engine.stream(request), provenance)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            log.exception("A request of a client failed.")
            raise gr.Error(fault, print_exception=False) from None

    def route_text(text: Any, router_scores: Any = False) -> dict[str, Any]:
        """Route ``text`` without generating: ``{tokens, layers, expert_ids [R][L][K], trace_id}``."""
        try:
            trace_id = ""
            for progress in route(services, runs, text, router_scores, new_run_id()):
                trace_id = progress.trace_id
            if not trace_id or progress.finish_reason in ("stopped", "interrupted"):
                raise BadValue(f"The text could not be routed within {services.settings.turn_seconds:g} seconds.")
            trace = services.store.get(trace_id)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            log.exception("A request of a client failed.")
            raise gr.Error(fault, print_exception=False) from None
        return {
            "tokens": trace.texts(),
            "layers": trace.spec.layer_numbers,
            "expert_ids": trace.expert_ids.tolist(),
            "trace_id": trace_id,
        }

    gr.api(chat, api_name="chat", concurrency_limit=most, concurrency_id="turns")
    gr.api(route_text, api_name="route_text", concurrency_limit=most, concurrency_id="turns")


def _answer(
    services: Services, runs: ActiveRuns, stream: Any, provenance: Any
) -> Generator[dict[str, Any], None, None]:
    shown: dict[str, Any] = {"thinking": "", "answer": "", "tokens": 0}
    for progress in follow(services, runs, stream, provenance, new_run_id()):
        for event in progress.events:
            if event.generated:
                shown["tokens"] += 1
                if event.phase in (Phase.THINKING, Phase.ANSWER):
                    shown[event.phase.label] += event.text
        last = {"waiting": progress.waiting, "finish_reason": progress.finish_reason, "trace_id": progress.trace_id}
        yield {**shown, **last}
