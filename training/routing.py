"""What training does to the routers: even load, specialists for kinds of text, and how early the routing is settled.

Knows models, token ids and counts; knows nothing of how anything was trained. The prompt is the unit of every test:
tokens of one text depend on each other. Formulas: OLMoE (arXiv 2409.02060) for saturation and specialization.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Qwen3MoeForCausalLM

from training.intervals import Share, mean
from training.model import RouterTap

TINY = 1e-12


@dataclass(frozen=True)
class Routed:
    """One text as a model routed it: its token ids [T] and the executed experts [T, L, K]."""

    tokens: np.ndarray
    experts: np.ndarray


@torch.inference_mode()
def routed(model: Qwen3MoeForCausalLM, texts: Sequence[Sequence[int]]) -> list[Routed]:
    found = []
    for ids in texts:
        with RouterTap(model) as tap:
            model.model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
            experts = torch.stack([chosen for _, chosen in tap.take()], 1)
        found.append(Routed(np.asarray(ids), experts.cpu().numpy()))
    return found


def used(text: Routed, experts: int) -> np.ndarray:
    """[T, L, E], 1 where a token used an expert."""
    flags = np.zeros((*text.experts.shape[:2], experts), np.float32)
    np.put_along_axis(flags, text.experts, 1, 2)
    return flags


def load(texts: Sequence[Routed], experts: int) -> Share:
    """Of every layer over all texts: the least used expert's load and MaxVio, both against the uniform share."""
    counts = sum(used(text, experts).sum(0) for text in texts)
    relative = counts / counts.sum(1, keepdims=True) * experts
    layers = [
        {"layer": i, "smallest_share": float(row.min()), "max_violation": float(row.max() - 1)}
        for i, row in enumerate(relative)
    ]
    return {
        "tokens": sum(len(text.tokens) for text in texts),
        "smallest_share": min(row["smallest_share"] for row in layers),
        "mean_max_violation": float(np.mean([row["max_violation"] for row in layers])),
        "layers": layers,
    }


def saturation(earlier: Sequence[Routed], last: Sequence[Routed]) -> Share:
    """Share of a token's experts that the last stage uses too, a mean over the texts; chance is k / E."""
    shares = []
    for a, b in zip(earlier, last, strict=True):
        same = (a.experts[..., :, None] == b.experts[..., None, :]).any(-1)
        shares.append(float(same.mean()))
    return mean(shares)


def specialization(
    texts: Sequence[Routed], domains: Sequence[str], experts: int, permutations: int = 2000, seed: int = 0
) -> list[Share]:
    """Do the domains' texts use different experts? By layer and over all, tested by permuting the texts' domains.

    The statistic is the variance between domains of the mean share of tokens that use an expert, summed over experts.
    Once plain, once with token ids matched: a token's use counts against the mean of the tokens of the same id over all
    domains that have it, so that what is left is not vocabulary. `coverage` is the share of tokens whose id occurs in
    at least two domains; only those enter the matched test.
    """
    names = sorted(set(domains))
    member = np.array([[domain == name for domain in domains] for name in names], np.float64)
    flags = [used(text, experts) for text in texts]
    results = []
    for matched in (False, True):
        coverage, values = 1.0, np.stack([f.mean(0) for f in flags])
        if matched:
            coverage, values = _matched(texts, flags, domains)
        flat = values.reshape(len(texts), values.shape[1], -1)
        observed = _between(flat, member)
        random = np.random.default_rng(seed)
        drawn = np.stack([_between(flat, member[:, random.permutation(len(texts))]) for _ in range(permutations)])
        more = (drawn.sum(1) >= observed.sum()).sum()
        results.append(
            {
                "control": "token ids matched" if matched else "none",
                "coverage": coverage,
                "texts": len(texts),
                "domains": len(names),
                "ratio": float(observed.sum() / (drawn.sum(1).mean() + TINY)),
                "p": float((more + 1) / (permutations + 1)),
                "smallest_p": 1 / (permutations + 1),
                "layers": [
                    {
                        "layer": i,
                        "ratio": float(observed[i] / (drawn[:, i].mean() + TINY)),
                        "p": float(((drawn[:, i] >= observed[i]).sum() + 1) / (permutations + 1)),
                    }
                    for i in range(flat.shape[1])
                ],
            }
        )
    return results


def _between(values: np.ndarray, member: np.ndarray) -> np.ndarray:
    """[L] variance between domains of their texts' mean, summed over experts; values [N, L, E], member [D, N]."""
    means = np.einsum("dn,nle->dle", member / member.sum(1, keepdims=True), values)
    return means.var(0).sum(-1)


def _matched(texts: Sequence[Routed], flags: Sequence[np.ndarray], domains: Sequence[str]) -> tuple[float, np.ndarray]:
    """(coverage, [N, L, E] mean of each text's use minus what its token ids let expect)."""
    tokens = np.concatenate([text.tokens for text in texts])
    use = np.concatenate(flags)
    where = np.concatenate([np.full(len(text.tokens), domain) for text, domain in zip(texts, domains, strict=True)])
    rest = np.zeros_like(use)
    kept = np.zeros(len(tokens), bool)
    for token in np.unique(tokens):
        rows = np.flatnonzero(tokens == token)
        if len(set(where[rows])) > 1:
            rest[rows], kept[rows] = use[rows] - use[rows].mean(0), True
    ends = np.cumsum([len(text.tokens) for text in texts])
    values = [
        part[keep].mean(0) if keep.any() else np.zeros(use.shape[1:])
        for part, keep in zip(np.split(rest, ends[:-1]), np.split(kept, ends[:-1]), strict=True)
    ]
    return float(kept.mean()), np.stack(values)
