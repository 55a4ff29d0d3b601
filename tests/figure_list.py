"""Every figure that there is: how to read it, how to call it, and how ``tests.make_figures`` draws it.

A test holds this list against ``analysis/figures/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from analysis import (
    association,
    caching,
    coactivation,
    compare,
    edited,
    metrics,
    output_metrics,
    overlap,
    placement,
    repetition,
    specialization,
    token_metrics,
)
from analysis.balance import sorted_by_chance
from analysis.contrast import mean_load
from analysis.figures import coactivation as coactivation_figures
from analysis.figures import compare as compare_figures
from analysis.figures import confidence, contrast, control, engineering, gates, load, markers, reuse, token
from analysis.figures import edited as edited_figures
from analysis.figures import overlap as overlap_figures
from analysis.figures import specialization as specialization_figures
from analysis.figures import stages as stage_figures
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace
from analysis.words import Words
from tests.figure_recordings import LAST, STEPS, Reading, Recordings, in_context

PHASES = ("prompt", "thinking", "answer")
TOKEN = 46  # " carry", in the thinking of the first answer


@dataclass(frozen=True)
class Drawn:
    """One figure of the page.

    Attributes:
        name: of its images.
        function: "module.function" in ``analysis.figures``.
        read: one sentence on how to read it.
        call: the code that makes it, ``traces`` being recordings and ``found`` a comparison.
        draw: the same with the recordings that come along.
    """

    name: str
    function: str
    read: str
    call: str
    draw: Callable[[Recordings, Words, Theme], go.Figure]


def _balance(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    measures = {"max_violation": metrics.max_violation, "entropy": metrics.load_entropy, "gini": metrics.gini}
    found = {name: [measure(r.traces, phase) for phase in PHASES] for name, measure in measures.items()}
    return load.balance(found, [layer.num_experts for layer in r.one.spec.layers], words, theme)


def _same_word(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    first: dict[bytes, tuple[RoutingTrace, int]] = {}
    for trace, index in r.occurrences("2"):
        first.setdefault(trace.token_ids.tobytes(), (trace, index))
    (one, i), (other, j) = list(first.values())[:2]
    chosen = token_metrics.token_gates(one, i), token_metrics.token_gates(other, j)
    contexts = in_context(one, i), in_context(other, j)
    return overlap_figures.same_word(chosen, contexts, one.spec.layers[3], words, theme)  # type: ignore[arg-type]


def _saturation(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    stages = {f"step {step}": overlap.saturation(r.checkpoints[step], r.checkpoints[LAST]) for step in STEPS}
    return stage_figures.saturation(stages, f"step {LAST}", words, theme)


def _stage_token(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    gates = {f"step {step}": token_metrics.token_gates(r.checkpoints[step][0], TOKEN) for step in (*STEPS, LAST)}
    return stage_figures.token_experts(gates, 3, r.checkpoints[LAST][0].texts()[TOKEN], words, theme)  # type: ignore[arg-type]


def _against(r: Recordings, measure: Callable[[Reading, Reading], Statistic]) -> tuple[Statistic, list[Statistic]]:
    """The edit of the experiment, and its random counterparts, each against the reading without an edit."""
    base, *others = r.experiment
    edit, *controls = (measure(base, one) for one in others)
    return edit, controls


def _saliency(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    shares, outputs = metrics.expert_load(r.with_outputs), r.with_outputs
    saliency, maxima = output_metrics.saliency(outputs), output_metrics.super_experts(outputs)
    return engineering.saliency_scatter(shares, saliency, maxima, words, theme)


def _device_load(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    placed = placement.in_blocks(r.one.spec, 8)
    shares = placement.device_load(r.traces, placed, "generated")
    return engineering.device_load(shares, placement.device_imbalance(r.traces, placed, "generated"), words, theme)


def _group_loads(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    found = r.comparison
    loads = {group: mean_load(found.contrast.shares, side) for side, group in enumerate(found.plan.groups)}
    return contrast.sorted_load(loads, words, theme)


def _heat(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    table = token_metrics.layer_heatmap(r.one, 3, TOKEN - 8, TOKEN + 9)
    texts, shown = r.one.texts(), table.along("token")
    phases = ["thinking"] * len(shown)
    return token.layer_heatmap(table, [texts[i] for i in shown], phases, TOKEN, 3, words, theme)


def _scores(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    trace = r.with_outputs[0]
    found = token_metrics.token_scores(trace, TOKEN, 3)
    used = trace.expert_ids[TOKEN, 3].tolist()
    return token.router_scores(found, used, 3, TOKEN, trace.texts()[TOKEN], words, theme)  # type: ignore[arg-type]


def _uncertainty(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    one, many = token_metrics.uncertainty(r.one, TOKEN), token_metrics.uncertainty_quantiles(r.one, "thinking")
    return token.uncertainty(one, many, TOKEN, r.one.texts()[TOKEN], words, theme)


def _ladder(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    found = token_metrics.token_gates(r.one, TOKEN)
    return token.gate_ladder(found, r.one.texts()[TOKEN], "thinking", words, theme)  # type: ignore[arg-type]


def _sorted_load(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    shares, router = metrics.expert_load(r.traces, "generated"), r.one.spec.layers[0]
    drawn = sorted_by_chance(shares.n, router.num_experts, router.top_k)
    return load.sorted_load(shares, router.layer, words, theme, drawn)


def _gate_ranks(r: Recordings, words: Words, theme: Theme) -> go.Figure:
    found = [metrics.gate_weights_by_rank(r.one, phase) for phase in PHASES]
    return gates.gate_ranks(found, 3, words, theme)  # type: ignore[arg-type]


CHAPTERS: dict[str, tuple[Drawn, ...]] = {
    "Load and balance": (
        Drawn(
            "load_map",
            "load.load_map",
            "A red cell is an expert that gets more of its layer's slots than the uniform share, a blue one fewer.",
            'load_map(expert_load(traces, "generated"), words, theme)',
            lambda r, w, t: load.load_map(metrics.expert_load(r.traces, "generated"), w, t),
        ),
        Drawn(
            "load_sorted",
            "load.sorted_load",
            "The steeper the bars fall, the less even the load; the dotted line is how far random routing of as many "
            "tokens falls by itself.",
            'sorted_load(expert_load(traces, "generated"), 0, words, theme, random=sorted_by_chance(n, 64, 8))',
            _sorted_load,
        ),
        Drawn(
            "balance",
            "load.balance",
            "A solid line far from the dotted one of its colour is a layer less balanced than sampling explains; "
            "MaxVio is (max − mean) / mean of the load.",
            'balance({"max_violation": [max_violation(traces, phase) …], …}, experts, words, theme)',
            _balance,
        ),
    ),
    "Gate weights": (
        Drawn(
            "gate_ranks",
            "gates.gate_ranks",
            "Boxes that fall steeply from rank 1 are a router that trusts few of the experts it uses.",
            "gate_ranks([gate_weights_by_rank(trace, phase) …], 3, words, theme)",
            _gate_ranks,
        ),
        Drawn(
            "gate_layers",
            "gates.gate_layers",
            "A row that is bright on the left only is a layer where the first expert does most of the work.",
            'gate_layers(gate_weights_by_rank(trace, "thinking"), words, theme)',
            lambda r, w, t: gates.gate_layers(metrics.gate_weights_by_rank(r.one, "thinking"), w, t),  # type: ignore
        ),
    ),
    "One token": (
        Drawn(
            "token_ladder",
            "token.gate_ladder",
            "Each row is a layer; the cells are the experts this token used, the largest gate weight first.",
            "gate_ladder(token_gates(trace, 46), text, phase, words, theme)",
            _ladder,
        ),
        Drawn(
            "token_scores",
            "token.router_scores",
            "Where the bars of the experts used and not used are nearly as high, the choice was close.",
            "router_scores(token_scores(trace, 46, 3), used, 3, 46, text, words, theme)",
            _scores,
        ),
        Drawn(
            "token_uncertainty",
            "token.uncertainty",
            "A point outside the grey band is a token of which the router was surer, or less sure, than it usually is.",
            "uncertainty(uncertainty(trace, 46), uncertainty_quantiles(trace, phase), 46, text, words, theme)",
            _uncertainty,
        ),
        Drawn(
            "token_neighbours",
            "token.layer_heatmap",
            "A bright column is an expert that token after token comes back to.",
            "layer_heatmap(layer_heatmap(trace, 3, 38, 55), texts, phases, 46, 3, words, theme)",
            _heat,
        ),
    ),
    "How sure the router is": (
        Drawn(
            "confidence",
            "confidence.confidence_bands",
            "Entropy far left of the dashed line, and top-k mass far right of it, are a router with clear preferences.",
            "confidence_bands([uncertainty_quantiles(traces, phase) …], words, theme)",
            lambda r, w, t: confidence.confidence_bands(
                [token_metrics.uncertainty_quantiles(r.traces, phase) for phase in PHASES], w, t
            ),
        ),
    ),
    "Two answers": (
        Drawn(
            "pair_js",
            "compare.js_by_layer",
            "A point right of the band is a layer where the two answers differ more than random halves of them would.",
            "js_by_layer(pair_js(first, second), words, theme)",
            lambda r, w, t: compare_figures.js_by_layer(compare.pair_js(*r.pair), w, t),
        ),
        Drawn(
            "pair_difference",
            "compare.difference_map",
            "The colour says which of two answers used the expert more; one pair describes and proves nothing.",
            'difference_map(load_difference(first, second), "thinking", "non-thinking", words, theme)',
            lambda r, w, t: compare_figures.difference_map(
                compare.load_difference(*r.pair), "thinking", "non-thinking", w, t
            ),
        ),
    ),
    "Two groups of prompts, tested": (
        Drawn(
            "dumbbell",
            "contrast.dumbbell",
            "Left, each expert's mean share in both groups; right, the difference: whiskers that miss zero belong to a "
            "difference that is more than chance.",
            "dumbbell(found, words, theme, most=20)",
            lambda r, w, t: contrast.dumbbell(r.comparison, w, t),
        ),
        Drawn(
            "contrast_map",
            "contrast.difference_map",
            "Only significant experts have a colour, that of the group which uses them more.",
            "difference_map(found, words, theme)",
            lambda r, w, t: contrast.difference_map(r.comparison, w, t),
        ),
        Drawn(
            "volcano",
            "contrast.volcano",
            "Above the dashed line a difference is significant; no expert can rise above the dotted one with so few "
            "prompts.",
            "volcano(found, words, theme)",
            lambda r, w, t: contrast.volcano(r.comparison, w, t),
        ),
        Drawn(
            "group_js",
            "contrast.group_js",
            "A layer right of the band differs between the groups by more than shuffled labels give; a floor, where "
            "prompts were answered twice, is how far a group differs from itself.",
            "group_js(found, words, theme)",
            lambda r, w, t: contrast.group_js(r.comparison, w, t),
        ),
        Drawn(
            "group_load",
            "contrast.sorted_load",
            "Each line is one group's experts in its own order: the steeper, the more it concentrates on few.",
            "sorted_load({name: mean_load(found.contrast.shares, side) …}, words, theme, layer=0)",
            _group_loads,
        ),
        Drawn(
            "myth_or_effect",
            "control.myth_or_effect",
            "The tick is the difference without a control; a full dot keeps it among the same tokens, a hollow one "
            "does not, so that the words may have made it.",
            'myth_or_effect(compare_folders(folders, control="token"), words, theme)',
            lambda r, w, t: control.myth_or_effect(r.controlled, w, t),
        ),
    ),
    "What experts are used for": (
        Drawn(
            "domain_map",
            "specialization.domain_map",
            "A column that is red in one row only is an expert of that domain; its words may be the reason.",
            "domain_map(domain_specialization({name: traces …}), 3, words, theme)",
            lambda r, w, t: specialization_figures.domain_map(
                specialization.domain_specialization(r.domains, "generated"), 3, w, t
            ),
        ),
        Drawn(
            "vocabulary",
            "specialization.vocabulary",
            "A bar far beyond its tick is a word that goes to one expert whatever its context.",
            "vocabulary(vocabulary_specialization(traces, minimum=20), texts, 3, words, theme, minimum=20)",
            lambda r, w, t: specialization_figures.vocabulary(
                specialization.vocabulary_specialization(r.traces, "generated", 20), r.texts, 3, w, t, 20, 16
            ),
        ),
        Drawn(
            "same_word",
            "overlap.same_word",
            "Cells lit on both sides are experts that the word uses whatever stands around it.",
            "same_word((token_gates(one, i), token_gates(other, j)), contexts, spec.layers[3], words, theme)",
            _same_word,
        ),
        Drawn(
            "context_overlap",
            "overlap.context_overlap",
            "The further the upper line lies from the lower one, the more the word decides; the nearer to 1, the less "
            "is left to its context.",
            "context_overlap(token_controlled_overlap(traces), words, theme)",
            lambda r, w, t: overlap_figures.context_overlap(overlap.token_controlled_overlap(r.traces), w, t),
        ),
        Drawn(
            "marker_map",
            "markers.marker_map",
            "Ringed experts go with the start of thinking more than as few markers at random places would.",
            'marker_map(marker_npmi(traces, b"<think>"), "<think>", words, theme)',
            lambda r, w, t: markers.marker_map(association.marker_npmi(r.traces, b"<think>"), "<think>", w, t),
        ),
        Drawn(
            "coactivation",
            "coactivation.coactivation",
            "Red blocks along the diagonal are groups of experts that serve the same tokens.",
            "coactivation(coactivation_lift(traces, minimum=20), 3, words, theme)",
            lambda r, w, t: coactivation_figures.coactivation(
                coactivation.coactivation_lift(r.traces, "all", 20), 3, w, t
            ),
        ),
        Drawn(
            "shared_by_layer",
            "overlap.shared_by_layer",
            "Two checkpoints read one text: the further right the line, the more of a token's experts both use; random "
            "routing lies on the broken line. One text is an example.",
            "shared_by_layer(token_overlap(earlier, later), words, theme)",
            lambda r, w, t: overlap_figures.shared_by_layer(
                overlap.token_overlap(r.checkpoints[0][0], r.checkpoints[LAST][0]),  # type: ignore[arg-type]
                w,
                t,
            ),
        ),
        Drawn(
            "saturation",
            "stages.saturation",
            "How soon the lines reach 100 % is how early the routing settled; here the bundled model was trained a few "
            "steps on its own answers.",
            "saturation({name: saturation(earlier, last) …}, name_of_last, words, theme)",
            _saturation,
        ),
        Drawn(
            "stage_balance",
            "stages.balance",
            "A line that falls towards the broken one says that training spread the load; short texts lie above 0 by "
            "chance alone.",
            "balance({name: max_violation(traces) …}, words, theme)",
            lambda r, w, t: stage_figures.balance(
                {f"step {step}": metrics.max_violation(r.checkpoints[step]) for step in (*STEPS, LAST)}, w, t
            ),
        ),
        Drawn(
            "stage_token",
            "stages.token_experts",
            "Lit cells left of the line are experts of this token that the last checkpoint uses, too; those right of "
            "it were given up on the way.",
            "token_experts({name: token_gates(trace, i) …}, 3, text, words, theme)",
            _stage_token,
        ),
    ),
    "What an edit of the routing does": (
        Drawn(
            "edit_by_layer",
            "edited.by_layer",
            "How many tokens of one text are routed otherwise under an edit: none up to the first edited layer "
            "(diamonds), and as many as under the random counterparts where the edit is not special.",
            'by_layer("changed", sets_changed(before, after), controls, noise, layers, words, theme)',
            lambda r, w, t: edited_figures.by_layer(
                "changed",
                *_against(r, lambda base, one: edited.sets_changed(base.trace, one.trace)),
                edited.sets_changed(r.experiment[0].trace, r.one),
                {2, 3},
                w,
                t,
            ),
        ),
        Drawn(
            "edit_touched",
            "edited.touched",
            "The load of the edited experts, before and after, beside those that the random counterparts edited.",
            "touched(touched_load(before, after, experts), controls, words, theme)",
            lambda r, w, t: edited_figures.touched(
                *_against(r, lambda base, one: edited.touched_load(base.trace, one.trace, one.experts)), w, t
            ),
        ),
        Drawn(
            "edit_log_prob",
            "edited.log_prob",
            "How much less probable the edit makes the model's own answer, a token, beside the random counterparts.",
            "log_prob(log_prob_change(trace, before, after), controls, words, theme)",
            lambda r, w, t: edited_figures.log_prob(
                *_against(r, lambda base, one: edited.log_prob_change(r.one, base.logprobs, one.logprobs)), w, t
            ),
        ),
    ),
    "What to keep, prune and place": (
        Drawn(
            "repetition",
            "reuse.repetition",
            "Right of the dashed line, tokens that follow each other share experts more than chance, and a cache pays.",
            "repetition([consecutive_repetition(traces, phase) …], words, theme)",
            lambda r, w, t: reuse.repetition([repetition.consecutive_repetition(r.traces, p) for p in PHASES], w, t),
        ),
        Drawn(
            "cache_hits",
            "reuse.cache_hits",
            "The gap between the lines is what a cleverer cache than LRU could still win.",
            "cache_hits(lru_hit_rate(traces), belady_hit_rate(traces), words, theme)",
            lambda r, w, t: reuse.cache_hits(
                caching.lru_hit_rate(r.traces, "generated"), caching.belady_hit_rate(r.traces, "generated"), w, t
            ),
        ),
        Drawn(
            "saliency",
            "engineering.saliency_scatter",
            "Bottom left can go first; top left is what pruning by frequency alone would lose.",
            "saliency_scatter(expert_load(traces), saliency(traces), super_experts(traces), words, theme)",
            _saliency,
        ),
        Drawn(
            "device_load",
            "engineering.device_load",
            "Left, which device has too much to do; right, how many times the mean the fullest one has, which all wait "
            "for.",
            "device_load(device_load(traces, placed), device_imbalance(traces, placed), words, theme)",
            _device_load,
        ),
    ),
}
