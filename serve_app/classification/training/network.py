"""The network in torch, and one pass of training over it. One thread, seeded: the same bytes twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as fn

from serve_app.classification.features import Features, FeatureSpec, extract
from serve_app.classification.structure import STRUCTURE_NAMES
from serve_app.classification.training.config import NetworkSpec, OptimiserSpec
from serve_app.classification.training.examples import Example
from serve_app.contracts.vocabulary import Domain

DOMAINS = tuple(Domain)
STRUCTURE_CLIP = 4.0
_NO_DOMAIN = -1


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples as features, ready to batch. `targets`, `weights`: float32 [n]; `domains`: int64 [n], -1 unknown."""

    features: Sequence[Features]
    targets: npt.NDArray[np.float32]
    domains: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, examples: Sequence[Example], spec: FeatureSpec, report: Callable[[float], None]) -> "Dataset":
        """`report` gets the fraction done."""
        numbers = {domain: number for number, domain in enumerate(DOMAINS)}
        features = []
        for number, example in enumerate(examples):
            features.append(extract(example.turns, spec))
            report((number + 1) / len(examples))
        return cls(
            features,
            np.array([example.target for example in examples], dtype=np.float32),
            np.array([_NO_DOMAIN if e.domain is None else numbers[e.domain] for e in examples], dtype=np.int64),
            np.array([example.weight for example in examples], dtype=np.float32),
        )


class Network(nn.Module):
    """Two bags and the structure -> one hidden layer -> complexity logit, domain logits."""

    def __init__(self, spec: NetworkSpec, num_buckets: int, mean: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(num_buckets, spec.embedding_size, mode="sum")
        nn.init.normal_(self.table.weight, std=0.05)
        num_inputs = 2 * spec.embedding_size + len(STRUCTURE_NAMES)
        self.hidden = nn.Linear(num_inputs, spec.hidden_size)
        self.heads = nn.Linear(spec.hidden_size, 1 + len(DOMAINS))
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.mean: torch.Tensor
        self.scale: torch.Tensor

    def forward(
        self, ids: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor, structure: torch.Tensor, dropout: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`offsets`: int64 [2 * batch], focus and context in turn. Returns logits [batch] and [batch, domains]."""
        bags = self.table(ids, offsets, per_sample_weights=weights).reshape(structure.shape[0], -1)
        standard = ((structure - self.mean) * self.scale).clamp(-STRUCTURE_CLIP, STRUCTURE_CLIP)
        hidden = fn.relu(self.hidden(torch.cat([bags, standard], dim=1)))
        logits = self.heads(fn.dropout(hidden, dropout, self.training))
        return logits[:, 0], logits[:, 1:]


def fit(dataset: Dataset, network: Network, spec: OptimiserSpec, seed: int, report: Callable[[float], None]) -> None:
    """Fits the network in place with Adam and a falling learning rate. `report` gets the fraction done."""
    rng = np.random.default_rng(seed)
    num_batches = -(-len(dataset.features) // spec.batch_size)
    num_steps = spec.num_epochs * num_batches
    optimiser = torch.optim.Adam(network.parameters(), lr=spec.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, spec.learning_rate, total_steps=num_steps)
    network.train()
    for epoch in range(spec.num_epochs):
        order = rng.permutation(len(dataset.features))
        for number in range(num_batches):
            chosen = order[number * spec.batch_size : (number + 1) * spec.batch_size]
            optimiser.zero_grad()
            _loss(dataset, chosen, network, spec, rng).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            report((epoch * num_batches + number + 1) / num_steps)
    network.eval()


def _loss(
    dataset: Dataset, chosen: npt.NDArray[np.int64], network: Network, spec: OptimiserSpec, rng: np.random.Generator
) -> torch.Tensor:
    ids, offsets, weights, structure = _batch(dataset, chosen)
    kept = torch.from_numpy(rng.random(len(weights)) >= spec.bucket_dropout)
    weights = weights * kept / (1.0 - spec.bucket_dropout)
    complexity, domain = network(ids, offsets, weights, structure, spec.hidden_dropout)
    example_weights = torch.from_numpy(dataset.weights[chosen])
    losses = fn.binary_cross_entropy_with_logits(
        complexity, torch.from_numpy(dataset.targets[chosen]), reduction="none"
    )
    labels = torch.from_numpy(dataset.domains[chosen])
    domain_losses = fn.cross_entropy(domain, labels, ignore_index=_NO_DOMAIN, reduction="none")
    decay = spec.weight_decay * network.table.weight.square().sum()
    return ((losses + spec.domain_loss_weight * domain_losses) * example_weights).mean() + decay


def _batch(
    dataset: Dataset, chosen: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    features = [dataset.features[i] for i in chosen]
    num_focus = np.array([np.count_nonzero(f.weights[0]) for f in features])
    sizes = np.stack([num_focus, np.array([len(f.ids) for f in features]) - num_focus], axis=1).reshape(-1)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return (
        torch.from_numpy(np.concatenate([f.ids for f in features]).astype(np.int64)),
        torch.from_numpy(offsets.astype(np.int64)),
        torch.from_numpy(np.concatenate([f.weights.sum(axis=0) for f in features])),
        torch.from_numpy(np.stack([f.structure for f in features])),
    )
