"""The router and the prompts against plain loops over eq. (1) and (3), and the prompt module."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from cirbench.models.moe_diffir.model import MoEDiffIR  # noqa: E402
from cirbench.models.moe_diffir.presets import micro  # noqa: E402
from cirbench.models.moe_diffir.prompt_module import PromptModule  # noqa: E402
from cirbench.models.moe_diffir.prompts import Prompts  # noqa: E402
from cirbench.models.moe_diffir.router import Router, Routing, balance_loss, load  # noqa: E402

B, T, D, N, K = 2, 5, 6, 7, 3


@pytest.fixture
def router() -> Router:
    torch.manual_seed(0)
    made = Router(D, N, K)
    torch.nn.init.normal_(made.gate.weight)
    return made


def loop(router: Router, tokens, noise):
    """Eq. (3), a token and a prompt at a time; the first N rows are W_g, the others W_noise."""
    weight = router.gate.weight.tolist()
    gates = torch.zeros(*tokens.shape[:2], N)
    for b in range(tokens.shape[0]):
        for t in range(tokens.shape[1]):
            x = tokens[b, t].tolist()
            dot = [sum(w * v for w, v in zip(row, x, strict=True)) for row in weight]
            logits = [
                dot[i]
                + (0 if noise is None else float(noise[b, t, i]) * softplus_floor(dot[N + i]))
                for i in range(N)
            ]
            total = sum(math.exp(one) for one in logits)
            softmax = [math.exp(one) / total for one in logits]
            for i in sorted(range(N), key=lambda i: -softmax[i])[:K]:
                gates[b, t, i] = softmax[i]
    return gates


def softplus_floor(value: float) -> float:
    return math.log1p(math.exp(value)) + 0.01


def test_gates_are_those_of_equation_3_with_and_without_noise(router: Router) -> None:
    tokens, noise = torch.randn(B, T, D), torch.randn(B, T, N)
    router.train()
    assert torch.allclose(router(tokens, noise).gates, loop(router, tokens, noise), atol=1e-6)
    router.eval()
    assert torch.allclose(router(tokens).gates, loop(router, tokens, None), atol=1e-6)


def test_prompts_are_those_of_equation_1(router: Router) -> None:
    tokens = torch.randn(B, T, D)
    prompts = Prompts(N, D)
    gates = router.eval()(tokens).gates
    expected = torch.zeros(B, T, D)
    for b in range(B):
        for t in range(T):
            for i in range(N):
                expected[b, t] += gates[b, t, i] * (prompts.matrices[i].T @ tokens[b, t])
    assert torch.allclose(prompts(tokens, gates), expected, atol=1e-5)


def test_k_gates_stay_with_their_softmax_values(router: Router) -> None:
    routing = router.train()(torch.randn(B, 100, D))
    assert ((routing.gates > 0).sum(-1) == K).all()
    kept = routing.probabilities.sort(-1, descending=True).values[..., :K].sum(-1)
    assert torch.allclose(routing.gates.sum(-1), kept)  # the mass of the best K
    assert (routing.gates.sum(-1) < 1).all()  # not renormalised
    assert torch.allclose(routing.probabilities.sum(-1), torch.ones(B, 100))


def test_noise_is_drawn_in_training_and_never_in_evaluation(router: Router) -> None:
    tokens = torch.randn(B, T, D)
    router.train()
    assert not torch.equal(router(tokens).gates, router(tokens).gates)
    router.eval()
    assert torch.equal(router(tokens).gates, router(tokens, torch.randn(B, T, N)).gates)


def test_a_new_router_is_undecided_and_learns_both_matrices() -> None:
    torch.manual_seed(0)
    router = Router(D, N, K).train()
    assert router.gate.bias is None and not router.gate.weight.any()
    assert torch.allclose(router.eval()(torch.randn(B, T, D)).probabilities, torch.tensor(1 / N))
    # Zero weights, yet noise of deviation softplus(0) + 0.01 decides who is tried.
    used = load(router.train()(torch.randn(1, 500, D)))
    assert (used > 0.2).all()
    tokens = torch.randn(B, T, D)
    Prompts(N, D)(tokens, router(tokens).gates).square().sum().backward()
    gate, noise = router.gate.weight.grad.split(N)
    assert gate.any() and noise.any()


def test_per_image_routing_gives_all_tokens_the_same_prompts(router: Router) -> None:
    tokens = torch.randn(B, T, D)
    router.per_image = True
    gates = router.eval()(tokens).gates
    assert gates.shape == (B, 1, N)
    router.per_image = False
    assert torch.equal(gates, router(tokens.mean(1, keepdim=True)).gates)


def test_balance_loss_is_1_when_even_and_n_when_one_prompt_does_all() -> None:
    even = torch.eye(N)[None]
    assert balance_loss(Routing(even, torch.full((1, N, N), 1 / N))).item() == pytest.approx(1)
    one = torch.zeros(1, 10, N)
    one[..., 2] = 1
    assert balance_loss(Routing(one, one)).item() == pytest.approx(N)


def module(**changes):
    torch.manual_seed(3)
    made = PromptModule(replace(micro(), **changes), 4, 2, None)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def test_single_is_one_matrix_with_weight_1() -> None:
    made = module(prompt="single")
    scale = made.scales[0]
    assert scale.router is None and len(scale.prompts.matrices) == 1
    before, after, routing = scale(torch.randn(1, 16, 4, 4), None)
    flat = before.flatten(2).transpose(1, 2) @ scale.prompts.matrices[0]
    assert routing is None
    assert torch.allclose(after.flatten(2).transpose(1, 2), flat, atol=1e-5)


def test_multiple_is_a_softmax_over_all_without_noise() -> None:
    made = module(prompt="multiple")
    tokens = torch.randn(1, 9, 16)
    routing = made.scales[0].router.train()(tokens)
    assert torch.equal(routing.gates, routing.probabilities)
    assert torch.equal(routing.gates, made.scales[0].router(tokens).gates)


def test_moe_with_all_prompts_equals_multiple_in_evaluation() -> None:
    sparse, dense = module(prompt="moe", top_k=7), module(prompt="multiple")
    state = sparse.state_dict()
    for key in [key for key in state if key.endswith("router.gate.weight")]:
        state[key] = state[key][:7]
    dense.load_state_dict(state)
    latents = torch.randn(2, 4, 8, 8)
    for one, other in zip(sparse(latents).features, dense(latents).features, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_scales_halve_the_side() -> None:
    found = module()(torch.randn(2, 4, 8, 12))
    assert [tuple(one.shape) for one in found.features] == [(2, 16, 8, 12), (2, 16, 4, 6)]
    assert [tuple(one.gates.shape) for one in found.routings] == [(2, 96, 7), (2, 24, 7)]


def test_routing_follows_the_degradation_prior() -> None:
    torch.manual_seed(0)
    made = PromptModule(micro(), 4, 2, 16).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    latents = torch.randn(1, 4, 8, 8)
    one, other = (made(latents, torch.randn(1, 5, 16)).routings[0] for _ in range(2))
    assert not torch.equal(one.gates, other.gates)


def test_loads_are_reported_without_changing_the_result() -> None:
    torch.manual_seed(0)
    model = MoEDiffIR(micro()).eval()
    lq = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = model.condition(lq)
        shares = [load(one) for one in before.routings]
        after = model.condition(lq)
    assert all(torch.allclose(one.sum(-1), torch.tensor(3.0)) for one in shares)
    assert all(torch.equal(*pair) for pair in zip(before.features, after.features, strict=True))
