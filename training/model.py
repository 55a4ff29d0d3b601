"""The shape of the bundled model, its balancing loss, and what makes it train quickly on a CPU.

Knows Transformers' Qwen3 MoE classes; knows nothing of data, tokenizers or optimizers. The checkpoint that comes out is
a plain `Qwen3MoeForCausalLM`: the experts and attention functions only change how the same arithmetic is ordered while
training.
"""

import torch
import torch.nn.functional as F
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

EXPERTS_FUNCTION = "sorted_loop"
ATTENTION = "one_by_one"


def make_config(vocab_size: int, pad_token_id: int, eos_token_id: int, **overrides: object) -> Qwen3MoeConfig:
    """The bundled model's configuration; tests pass smaller sizes as overrides."""
    settings: dict[str, object] = {
        "vocab_size": vocab_size,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
        "attention_bias": False,
        "initializer_range": 0.02,
        "router_aux_loss_coef": 0.003,
        "pad_token_id": pad_token_id,
        "eos_token_id": eos_token_id,
        "bos_token_id": None,
    }
    return Qwen3MoeConfig(**{**settings, **overrides})


def make_model(config: Qwen3MoeConfig, seed: int = 0) -> Qwen3MoeForCausalLM:
    """A freshly initialised float32 model that uses the fast experts function."""
    torch.manual_seed(seed)
    model = Qwen3MoeForCausalLM(config).float()
    for name, parameter in model.named_parameters():
        if name.endswith("gate.weight"):
            torch.nn.init.normal_(parameter, std=config.initializer_range)
    model.set_experts_implementation(EXPERTS_FUNCTION)
    return model


class Balance:
    """Qwen3's global-batch balancing loss of every layer, `E · Σ f_e p_e`: 1 where perfectly even.

    f, the share of slots that went to expert e (sums to 1), is counted over the last few batches: an even load is
    wanted over the mixture, not inside each batch.
    p is the expert's mean probability in the present batch. The counts are `state`, float32 [L, E].
    """

    def __init__(self, layers: int, experts: int, device: torch.device | str = "cpu", keep: float = 0.9) -> None:
        self.state = torch.zeros(layers, experts, device=device)
        self._keep = keep

    def loss(self, rows: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """The mean over layers, of each layer's `(logits [N, E], ids [N, k])`."""
        experts = self.state.shape[1]
        terms = []
        for layer, (logits, ids) in enumerate(rows):
            self.state[layer].mul_(self._keep).add_(torch.bincount(ids.flatten(), minlength=experts))
            share = self.state[layer] / self.state[layer].sum()
            terms.append(experts * (share * logits.softmax(-1).mean(0)).sum())
        return torch.stack(terms).mean()


class RouterTap:
    """Collects every router's scores and chosen experts during one forward pass.

    `with RouterTap(model) as tap:` registers the hooks and removes them at the end; `tap.take()` returns a list with
    one `(logits [N, E], ids [N, k])` a layer and empties it.
    """

    def __init__(self, model: Qwen3MoeForCausalLM) -> None:
        self._routers = [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "RouterTap":
        self._handles = [router.register_forward_hook(self._keep) for router in self._routers]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, _module: torch.nn.Module, _inputs: object, output: tuple[torch.Tensor, ...]) -> None:
        self._rows.append((output[0], output[2]))

    def take(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        rows, self._rows = self._rows, []
        return rows


class _SortedExperts(torch.autograd.Function):
    """All experts of one layer over slots sorted by expert; gathers both ways, so nothing is scattered.

    Shapes: hidden [N, D], ids and weights [N, K], gate_up [E, 2I, D], down [E, D, I]. Returns [N, D].
    """

    @staticmethod
    def forward(ctx, hidden, ids, weights, gate_up, down):  # type: ignore[no-untyped-def]
        n, k = ids.shape
        order = torch.argsort(ids.flatten(), stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel(), device=order.device)
        ends = torch.bincount(ids.flatten(), minlength=gate_up.shape[0]).cumsum(0).tolist()
        spans = [(e, a, b) for e, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True)) if b > a]
        x = hidden.index_select(0, order // k)
        projected = x.new_empty(n * k, gate_up.shape[1])
        for e, a, b in spans:
            torch.mm(x[a:b], gate_up[e].t(), out=projected[a:b])
        gate, up = projected.chunk(2, -1)
        inner = F.silu(gate) * up
        y = torch.empty_like(x)
        for e, a, b in spans:
            torch.mm(inner[a:b], down[e].t(), out=y[a:b])
        slots = y.index_select(0, place).view(n, k, -1)
        out = torch.bmm(weights.unsqueeze(1), slots).squeeze(1)
        ctx.save_for_backward(x, projected, inner, slots, weights, gate_up, down, order, place)
        ctx.spans = spans
        return out

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, projected, inner, slots, weights, gate_up, down, order, place = ctx.saved_tensors
        n, k = weights.shape
        grad_weights = torch.bmm(slots, grad.unsqueeze(2)).squeeze(2)
        dy = grad.index_select(0, order // k).mul_(weights.flatten().index_select(0, order).unsqueeze(1))
        grad_down = torch.zeros_like(down)
        d_inner = torch.empty_like(inner)
        for e, a, b in ctx.spans:
            torch.mm(dy[a:b].t(), inner[a:b], out=grad_down[e])
            torch.mm(dy[a:b], down[e], out=d_inner[a:b])
        gate, up = projected.chunk(2, -1)
        d_projected = torch.empty_like(projected)
        sigmoid = torch.sigmoid(gate)
        silu = gate * sigmoid
        torch.mul(d_inner, silu, out=d_projected[:, inner.shape[1] :])
        d_projected[:, : inner.shape[1]] = d_inner * up * (sigmoid + silu * (1 - sigmoid))
        grad_gate_up = torch.zeros_like(gate_up)
        dx = dy  # its memory is free now
        for e, a, b in ctx.spans:
            torch.mm(d_projected[a:b].t(), x[a:b], out=grad_gate_up[e])
            torch.mm(d_projected[a:b], gate_up[e], out=dx[a:b])
        grad_hidden = dx.index_select(0, place).view(n, k, -1).sum(1)
        return grad_hidden, None, grad_weights, grad_gate_up, grad_down


def sorted_experts(module, hidden_states, top_k_index, top_k_weights):  # type: ignore[no-untyped-def]
    """Transformers' experts interface around the sorted experts."""
    return _SortedExperts.apply(hidden_states, top_k_index, top_k_weights, module.gate_up_proj, module.down_proj)


ALL_EXPERTS_FUNCTIONS.register(EXPERTS_FUNCTION, sorted_experts)


def positions_of(lengths: tuple[int, ...]) -> torch.Tensor:
    """`[1, T]`: every token's place in its own example."""
    return torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)


def hidden_states(model: Qwen3MoeForCausalLM, ids: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """The last hidden states `[1, T, D]` of examples that stand one after another in a row `ids [1, T]`. Their
    `lengths` add up to T; none sees another, and nothing is padded."""
    positions = positions_of(lengths).to(ids.device)
    before, model.config._attn_implementation = model.config._attn_implementation, ATTENTION
    try:
        output = model.model(input_ids=ids, position_ids=positions, lengths=lengths, use_cache=False)
    finally:
        model.config._attn_implementation = before
    return output.last_hidden_state


def one_by_one(module, query, key, value, attention_mask, *, lengths, **settings):  # type: ignore[no-untyped-def]
    """Transformers' attention interface: causal attention of every example with itself. Shapes [1, heads, T, head]."""
    parts = (part.split(lengths, dim=2) for part in (query, key, value))
    outputs = [sdpa_attention_forward(module, *part, None, **settings)[0] for part in zip(*parts, strict=True)]
    return torch.cat(outputs, dim=1), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, one_by_one)
