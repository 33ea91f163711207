"""What training is told: configs/classifier.yaml, parsed by the caller."""

from pathlib import Path

from pydantic import Field

from serve_app.classification.features import FeatureSpec
from serve_app.strict import StrictModel


class NetworkSpec(StrictModel):
    """Widths of the network: an embedding for each bucket, one hidden layer shared by both heads."""

    embedding_size: int = Field(default=24, ge=2, le=256)
    hidden_size: int = Field(default=48, ge=2, le=512)


class OptimiserSpec(StrictModel):
    """How it is fitted. `bucket_dropout`: share of a bag's buckets left out at each step."""

    num_epochs: int = Field(default=6, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=0.003, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    bucket_dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    hidden_dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    domain_loss_weight: float = Field(default=0.5, ge=0.0)


class CorpusSpec(StrictModel):
    """How many prompts of each source. `routing_rows` is a parquet file of routing labels, or null to train without."""

    routing_rows: Path | None
    own_gain_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Of a routing prompt's target: what its own answers say, the rest is its subject's average."""
    routing_weight: float = Field(default=1.0, gt=0.0)
    """Of a routing prompt in the loss; every other prompt weighs 1."""
    num_template_prompts: int = Field(default=1200, ge=1)
    """For each domain and level."""
    num_puzzles_each: int = Field(default=60, ge=0)
    """For each reasoning-gym generator that is used."""
    held_out_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Of prompts, by their hash: a prompt is never on both sides."""


class TrainingConfig(StrictModel):
    """Everything that the trained bytes depend on, besides the versions of the packages."""

    model_version: str
    seed: int
    num_calibration_prompts: int = Field(default=4000, ge=100)
    features: FeatureSpec = FeatureSpec()
    network: NetworkSpec = NetworkSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    corpus: CorpusSpec
