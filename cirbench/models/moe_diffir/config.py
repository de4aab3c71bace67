"""Every choice and size of a model, as frozen records that a TOML file or ``--set`` can fill.

The two standard networks (UNet, VAE) are described by their own library's arguments: ``unet`` and
``vae`` go to ``diffusers.UNet2DConditionModel`` and ``diffusers.AutoencoderKL`` as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import CirbenchError
from ...filling import fill, to_dict

__all__ = ["ModelConfig", "from_dict", "to_dict"]

PROMPTS = ("none", "single", "multiple", "moe")
ROUTINGS = ("token", "image")
PRIORS = ("tiny", "daclip")
VISUALS = ("tiny", "clip-resnet", "clip-vit")
SAMPLERS = ("ddpm", "ddim", "unipc", "dpm-solver++")
MOST_STEPS = 100_000
PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class PromptSize:
    """Prompt module (paper 3.2): token width, ViT blocks per scale, heads, SPADE's hidden width.

    ``prior_heads`` heads of ``prior_head_dim`` attend to the degradation prior.
    """

    dim: int = 256
    blocks: int = 2
    heads: int = 4
    prior_heads: int = 8
    prior_head_dim: int = 64
    spade_hidden: int = 128


@dataclass(frozen=True)
class EnhancerSize:
    """LQ enhancer (3.3): width, Restormer-style blocks in its two groups, heads."""

    dim: int = 64
    blocks: tuple[int, int] = (2, 2)
    heads: int = 4


@dataclass(frozen=True)
class PriorConfig:
    """Degradation-prior encoder (3.2): ``tiny`` (ours) or ``daclip`` (arguments in ``args``).

    ``width`` is the width of its tokens; ``codecs`` and ``levels`` size the heads of ``tiny``,
    which stage 0 trains and restoration never uses.
    """

    kind: str = "daclip"
    width: int = 768
    codecs: int = 7
    levels: int = 3
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VisualConfig:
    """Image encoder before the visual-to-text adapter (3.3).

    ``tiny`` (ours) reads the enhanced latents themselves, which saves decoding them;
    ``clip-resnet`` (open_clip) and ``clip-vit`` (transformers) read the decoded image.
    ``width`` is the channels of the map they make, ``args`` the arguments of the network.
    """

    kind: str = "clip-resnet"
    width: int = 2048
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CompensatorSize:
    """Decoder compensator (3.4): decoder levels (0 = full size), RRDBs each, growth, weight w.

    ``image`` is the width of a last fusion with the LQ image itself; 0, as in the paper: none.
    """

    levels: tuple[int, ...] = (1, 2)
    blocks: int = 1
    growth: int = 32
    weight: float = 1.0
    image: int = 0


@dataclass(frozen=True)
class ScheduleConfig:
    """The forward diffusion: the arguments of diffusers' ``DDPMScheduler``."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.num_train_timesteps <= MOST_STEPS:
            raise CirbenchError(
                f"schedule.num_train_timesteps is {self.num_train_timesteps}; it must be between 1 "
                f"and {MOST_STEPS}"
            )
        _one_of("schedule.prediction_type", self.prediction_type, PREDICTIONS)
        if self.rescale_betas_zero_snr and self.prediction_type == "epsilon":
            raise CirbenchError(
                "schedule.rescale_betas_zero_snr cannot be used with epsilon prediction; "
                "set schedule.prediction_type to v_prediction"
            )


@dataclass(frozen=True)
class SamplerConfig:
    """Reverse diffusion: solver and number of steps."""

    kind: str = "ddpm"
    steps: int = 200

    def __post_init__(self) -> None:
        _one_of("sampler.kind", self.kind, SAMPLERS)
        _at_least("sampler.steps", self.steps, 1)


@dataclass(frozen=True)
class ModelConfig:
    """A model. The first seven fields are the paper's ablations.

    Attributes:
        prompt: Table 2: ``none`` (the prompt module without prompts), ``single`` (one, always
            used), ``multiple`` (all, weighted by a softmax), ``moe`` (eq. 3: the best K of N).
        degradation_prior, v2t: Table 3.
        experts, top_k: N and K of Fig. 6.
        routing: a routing decision per ``token`` (the release) or per ``image``.
        balance_weight: weight of the load-balance loss; 0 in the paper.
        tile, overlap: pixels; images larger than a tile are restored in tiles.
    """

    prompt: str = "moe"
    degradation_prior: bool = True
    v2t: bool = True
    experts: int = 7
    top_k: int = 3
    routing: str = "token"
    balance_weight: float = 0.0
    tile: int = 256
    overlap: int = 64
    unet: Mapping[str, Any] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=dict)
    null_tokens: int = 77
    prompt_size: PromptSize = field(default_factory=PromptSize)
    enhancer: EnhancerSize = field(default_factory=EnhancerSize)
    prior: PriorConfig = field(default_factory=PriorConfig)
    visual: VisualConfig = field(default_factory=VisualConfig)
    v2t_hidden: int = 256
    compensator: CompensatorSize = field(default_factory=CompensatorSize)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        _one_of("prompt", self.prompt, PROMPTS)
        _one_of("routing", self.routing, ROUTINGS)
        _one_of("prior.kind", self.prior.kind, PRIORS)
        _one_of("visual.kind", self.visual.kind, VISUALS)
        _at_least("experts", self.experts, 1)
        if not 1 <= self.top_k <= self.experts:
            raise CirbenchError(
                f"top_k is {self.top_k}; it must be between 1 and experts ({self.experts})"
            )
        if self.sampler.steps > self.schedule.num_train_timesteps:
            raise CirbenchError(
                f"sampler.steps is {self.sampler.steps}; it must be at most "
                f"schedule.num_train_timesteps ({self.schedule.num_train_timesteps})"
            )
        if self.balance_weight < 0:
            raise CirbenchError("balance_weight is negative; use 0 to switch it off")
        if not 0 <= self.overlap < self.tile:
            raise CirbenchError(
                f"overlap is {self.overlap}; it must be at least 0 and below tile ({self.tile})"
            )


def from_dict(values: Mapping[str, Any], base: ModelConfig | None = None) -> ModelConfig:
    """A model from nested (or dotted: ``"sampler.steps"``) values; the rest is from ``base``.

    Tables ``unet``, ``vae`` and ``args`` are merged, key by key.

    Raises CirbenchError, naming the key, for an unknown key or a value of the wrong type.
    """
    return fill(base or ModelConfig(), values, "a model")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise CirbenchError(f"{name} is {value!r}; use one of {', '.join(known)}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise CirbenchError(f"{name} is {value}; it must be at least {least}")
