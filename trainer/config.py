"""A training run as one YAML file.

What trains when is not in here: it follows from the lock, and from the run's ledger where `dynamic`
changes weights. `lock`, `model`, `seed`, `init`, `documents`, `mask_repeats`, `precision`, `loss`,
`optimizer`, `schedule`, `faults` and `dynamic` decide the result; `microbatch` and `processes`
enter it through the router losses, which are means over the microbatches of each process. The rest
says where and how fast.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dolmix.config import Frac, Name, Schema
from dolmix.tokenizer import TokenizerConfig

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class RouterConfig(Schema):
    """How a token chooses its experts, and how it weighs what they give."""

    gate: Literal["linear", "mlp"] = "linear"
    """`linear`: one matrix, as OLMoE; `mlp`: matrix, tanh, square matrix, as LLaMA-MoE."""
    normalize: Literal["none", "topk", "softmax"] = "none"
    """Weights of the chosen experts: their share of the softmax over all (`none`, OLMoE), the same
    divided by their sum (`topk`, Mixtral), or a softmax over the chosen alone (`softmax`)."""
    scale: Positive = 1.0
    """Factor on the weights, after `normalize`."""
    noise: bool = False
    """In training add randn * (softplus(n) + 0.01) to the logits, n a learnt vector from zero."""
    bias_rate: NotNegative = 0.0
    """Auxiliary-loss-free balancing: after a step each expert's bias, which is added for choosing
    only, goes up by this if it had fewer visits than the mean, else down. 0 turns it off."""


class ModelConfig(Schema):
    """Shape of the model; the sequence length is the lock's."""

    vocab: Count
    """Rows of the embedding, padding included: more than the tokenizer's largest id."""
    d_model: Count
    """Width of the residual stream."""
    layers: Count
    """Number of blocks."""
    heads: Count
    """Query heads; d_model / heads is the width of one and must be even."""
    kv_heads: Count | None = None
    """Key and value heads, a divisor of `heads`; as many as `heads` when not given."""
    experts: Count = 64
    """Experts of a mixture-of-experts layer."""
    top_k: Count = 8
    """Experts that each token visits."""
    d_ff: Count
    """Inner width of one expert."""
    dense_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Layers, counted from 0, with one dense SwiGLU in place of experts."""
    dense_d_ff: Count | None = None
    """Inner width of a dense layer; top_k * d_ff when not given, which costs the same per token."""
    shared_d_ff: Count | None = None
    """Inner width of a shared expert that every token visits besides its `top_k`; null: none."""
    router: RouterConfig = RouterConfig()
    """The router of every mixture-of-experts layer."""
    clip_qkv: Positive | None = None
    """Cut queries, keys and values to [-clip_qkv, clip_qkv], after the QK norm; null: not."""
    qk_norm: bool = True
    """RMSNorm over the whole width of queries and of keys, before they are cut into heads."""
    tie_embeddings: bool = False
    """Use the embedding as the output matrix too."""
    norm_eps: Positive = 1e-5
    """Added to the mean square in every RMSNorm."""
    rope_theta: Positive = 10_000.0
    """Base of the rotary position frequencies."""
    init_std: Positive = 0.02
    """Standard deviation of every matrix at the start, cut at three of them; norms start at 1."""
    expert_backend: Literal["grouped_mm", "triton", "loop"] = "grouped_mm"
    """`grouped_mm` computes all experts in one call; `triton` the same with own kernels around it
    (CUDA, faster); `loop` is the slow reference."""

    @property
    def num_kv_heads(self) -> int:
        """Key and value heads."""
        return self.kv_heads or self.heads

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.heads

    @property
    def num_dense_d_ff(self) -> int:
        """Inner width of a dense layer."""
        return self.dense_d_ff or self.top_k * self.d_ff

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Layers that have experts, counted from 0."""
        return tuple(n for n in range(self.layers) if n not in self.dense_layers)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % (2 * self.heads):
            raise ValueError(
                f"d_model {self.d_model} over heads {self.heads} must be an even whole number"
            )
        if self.heads % self.num_kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")
        uneven = [f"{n} {w}" for n, w in (("d_model", self.d_model), ("d_ff", self.d_ff)) if w % 8]
        if uneven and self.moe_layers and self.expert_backend != "loop":
            raise ValueError(
                f"{' and '.join(uneven)}: a multiple of 8 is needed, since torch's grouped product "
                "reads 16 bytes at a time"
            )
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} is more than the {self.experts} experts")
        if outside := [n for n in self.dense_layers if n >= self.layers]:
            raise ValueError(
                f"dense_layers {outside}: the {self.layers} layers are 0 to {self.layers - 1}"
            )
        return self


class LossConfig(Schema):
    """What is added to the cross-entropy; `trainer.loss` has the formulas."""

    convention: Literal["olmoe", "hf", "global"] = "olmoe"
    """Scaling of the router losses: as OLMoE trained, as Hugging Face computes them, or balanced
    over the batch of all ranks."""
    load_balance: NotNegative = 0.01
    """Weight of the load-balancing loss."""
    router_z: NotNegative = 0.001
    """Weight of the router z-loss."""


class OptimizerConfig(Schema):
    """AdamW, with decay on all parameters (norms and embeddings too), as OLMoE trained."""

    lr: Positive
    """Peak learning rate."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay of the first and second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""
    weight_decay: NotNegative = 0.1
    """Decoupled decay, multiplied by the learning rate."""
    clip: Positive | None = 1.0
    """Largest norm of the gradient of all parameters together; null turns clipping off."""


class Span(Schema):
    """A length of training, in tokens or in steps of the lock's batch schedule."""

    tokens: Annotated[int, Field(ge=0)] | None = None
    """So many tokens."""
    steps: Annotated[int, Field(ge=0)] | None = None
    """The tokens of so many first steps."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.tokens is None) == (self.steps is None):
            raise ValueError("give exactly one of tokens and steps")
        return self


class ScheduleConfig(Schema):
    """The learning rate, in tokens; a step's rate counts its own batch's tokens.

    Linear warm-up, then a curve to `final_frac` of the peak at `total`: half a cosine, a straight
    line, or for `wsd` (warm-up, stable, decay) the peak and then a straight line over `decay`.
    """

    type: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """Curve after the warm-up; `constant` stays at the peak."""
    warmup: Span = Span(steps=0)
    """Length of the warm-up."""
    warmup_from_frac: Frac = 0.1
    """Where the warm-up starts, as a share of the peak."""
    total: Span | None = None
    """Where the curve ends; the end of the lock's order when not given, not max_steps."""
    decay: Span | None = None
    """Length of the last, falling part of `wsd`."""
    final_frac: Frac = 0.1
    """Where the curve ends, as a share of the peak; 0 for an anneal."""

    @model_validator(mode="after")
    def _decays(self) -> Self:
        if (self.type == "wsd") != (self.decay is not None):
            raise ValueError(f"type {self.type}, decay {self.decay}: wsd alone has a decay, always")
        return self


class PrecisionConfig(Schema):
    """Number types; `null` is bfloat16 on CUDA and float32 on the CPU."""

    compute: Literal["float32", "bfloat16"] | None = None
    """Type of weights and activations in forward and backward."""
    state: Literal["float32", "bfloat16"] = "float32"
    """Type of master weights and of both moments."""
    reduce: Literal["float32", "bfloat16"] = "float32"
    """Type in which gradients are added over ranks."""


class ParallelConfig(Schema):
    """How ranks share the model, and what is kept between forward and backward."""

    replicas: Count = 1
    """Groups of ranks that hold a whole model each, usually one a machine; ranks within a group
    share it (hybrid sharding)."""
    comm: Literal["micro", "step"] = "micro"
    """`micro` adds gradients over ranks after every microbatch; `step` gathers the weights and adds
    the gradients once a step, which needs memory for the whole model on every rank."""
    recompute: Literal["none", "experts", "blocks"] = "none"
    """What backward computes again: nothing, the experts' sorted inputs (backend triton), or whole
    blocks."""
    compile: bool | None = None
    """Compile each block; null compiles on CUDA."""
    loss_chunk: Count = 8192
    """Tokens whose logits exist at a time."""


class KeepConfig(Schema):
    """Which checkpoints stay; all others are removed once a later one is whole."""

    recent: Count = 2
    """So many of the latest."""
    log_spaced: bool = False
    """Write and keep steps 1, 2, 4, 8, ... below `every_steps`, and keep `every_steps` times each
    power of two: many early ones, fewer and fewer later."""
    every: Count | None = None
    """Write and keep every so many steps, for publishing."""


class CheckpointConfig(Schema):
    """When to write checkpoints; one is always written at the end and at an interruption."""

    every_steps: Count | None = None
    """Write one after every so many steps; null writes those of `keep` and the last."""
    keep: KeepConfig = KeepConfig()
    """Which to keep."""


class FaultsConfig(Schema):
    """Updates that are left out, and ranks that hang."""

    spike_sigma: Positive | None = 6.0
    """Leave out an update whose loss or gradient norm is so many standard deviations above the mean
    of the steps before; null leaves out only what is no finite number."""
    window: Annotated[int, Field(ge=2)] = 128
    """Steps of a stage before that a spike is measured against; it takes half as many to begin."""
    max_skipped: Annotated[int, Field(ge=0)] = 10
    """Stop once more updates than this were left out in the last `window` steps."""
    timeout_s: Positive = 900.0
    """Stop, with the stack of every rank, when a rank has not got on for so long; less than the 30
    minutes after which torch gives up without a word."""


class EvaluationConfig(Schema):
    """What a model is measured on: held-out stores by perplexity, questions by likelihood."""

    every_steps: Count | None = None
    """Measure after every so many steps, and after the last; null leaves it to `dynamic`, which
    measures stores alone, and to the command `python -m trainer evaluate`."""
    stores: dict[Name, Path] = Field(default_factory=dict)
    """Held-out stores by source; nothing of them is trained on."""
    tokens: Count = 262_144
    """Tokens of each store, in whole instances, the first ones."""
    tasks: dict[Name, Path] = Field(default_factory=dict)
    """Files of questions with the answers to choose from, JSONL, by task."""
    limit: Count | None = None
    """So many questions of each task, chosen by a hash of task and question; null takes all."""
    tokenizer: TokenizerConfig | None = None
    """The tokenizer of the stores, as the pipeline names it; `tasks` need it."""


class DynamicConfig(Schema):
    """Weights that follow the held-out loss of each source (dynamic batch loading).

    Every source of the lock needs a reference and a store under `evaluation.stores`.
    """

    rule: Literal["code", "paper"] = "code"
    """How weights follow from losses: as LLM-Shearing's code or as its paper has it."""
    every_steps: Count
    """Steps between two changes."""
    references: dict[Name, Positive]
    """Loss that each source should reach, in nats a token."""
    eta: Positive = 1.0
    """Step size of rule `code`."""
    uniform: Frac = 1e-4
    """Share that every source gets alike under rule `code`."""


class WandbConfig(Schema):
    """A run at Weights & Biases; a resumed run goes on with the same one."""

    project: str
    """Project there."""
    mode: Literal["online", "offline"] = "offline"
    """`offline` writes below OUT/wandb/, for `wandb sync`; `online` sends at once."""
    entity: str | None = None
    """User or team; the account's own when not given."""
    name: str | None = None
    """Name of the run."""
    group: str | None = None
    """Runs of one group are shown together."""
    tags: tuple[str, ...] = ()
    """Words to find the run by."""


class MetricsConfig(Schema):
    """Where metrics go besides OUT/metrics.jsonl, and what speed is measured against."""

    tensorboard: bool = False
    """Event files in OUT/tensorboard/ too (extra `tensorboard`)."""
    wandb: WandbConfig | None = None
    """A Weights & Biases run too (extra `wandb`)."""
    peak_tflops: Positive | None = None
    """Peak of one device in TFLOP/s, for the share of it that training reaches (MFU); null takes
    the maker's dense bfloat16 figure where the device is known."""


class ProfileConfig(Schema):
    """A trace of a few steps, and a table of where they go, in OUT/profile/."""

    steps: tuple[Count, Count]
    """First and last step, both within the training; a few suffice, after those that compile."""
    ranks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    """Ranks that write one."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        first, last = self.steps
        if first > last:
            raise ValueError(f"steps [{first}, {last}]: the first comes after the last")
        return self


class TrainConfig(Schema):
    """One training run."""

    lock: Path
    """The resolved mix; decides every batch."""
    output: Path
    """Folder of the run: metrics.jsonl, checkpoints/."""
    seed: int = 0
    """Seed of the initial weights; the order of the data has its own, in the lock."""
    max_steps: Count | None = None
    """Stop after this step, with a checkpoint that a longer run goes on from exactly; the lock's
    number of steps when not given."""
    processes: Count | Literal["gpu"] = 1
    """Processes on this machine, one a GPU; `gpu` starts one for each that is there."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is CUDA where there is any."""
    threads: Count | None = None
    """CPU threads of a process; the cores divided by the processes when not given."""
    deterministic: bool = False
    """Use deterministic algorithms only: slower on a GPU; CPU results are repeatable anyway."""
    microbatch: Count = 4
    """Instances of one forward pass of one process."""
    mask_repeats: bool = True
    """Leave instances out of the cross-entropy in which a span of 1 to 13 tokens stands 32 or more
    times in a row, as OLMoE trained; batches stay the same."""
    resume: Literal["auto", "never"] | Path = "auto"
    """`auto` goes on from the output's latest checkpoint, a folder starts from that checkpoint
    where the output has none, `never` refuses an output that has any."""
    init: Path | None = None
    """Start from these weights instead of random ones: a checkpoint of another run, an imported
    folder or one of Hugging Face's. The model's settings must be the same."""
    log_every: Count = 10
    """Steps between console lines; losses are fetched from the device as often."""
    chain_every: Count = 1
    """Steps between values of the batch proof in the metrics."""
    metrics: MetricsConfig = MetricsConfig()
    profile: ProfileConfig | None = None
    """Write where the time of a few steps goes."""
    documents: Literal["together", "apart"] = "together"
    """Attention over the whole instance, as OLMoE trained, or within each document only."""
    precision: PrecisionConfig = PrecisionConfig()
    parallel: ParallelConfig = ParallelConfig()
    model: ModelConfig
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    faults: FaultsConfig = FaultsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    dynamic: DynamicConfig | None = None
    """Change the weights of the mix while training; null keeps the lock's, which LLaMA-MoE found
    better."""
