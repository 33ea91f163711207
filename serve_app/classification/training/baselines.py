"""What the network must beat: the length of the prompt, and TF-IDF with logistic regression."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as fn

from serve_app.classification.features import kept_bytes
from serve_app.classification.hashing import fold
from serve_app.classification.training.routing_rows import RoutingRow

_NUM_BUCKETS = 1 << 16
_NUM_STEPS = 150
_NUM_BYTES = 2000
_L2 = 3e-5

_Bags = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def length_scores(rows: Sequence[RoutingRow]) -> npt.NDArray[np.float64]:
    return np.array([len(row.prompt) for row in rows], dtype=np.float64)


def tfidf_scores(train: Sequence[RoutingRow], test: Sequence[RoutingRow]) -> npt.NDArray[np.float64]:
    """Words and word pairs, hashed; logistic regression on "the strong model did better"."""
    documents = [_buckets(row.prompt) for row in (*train, *test)]
    frequency = np.bincount(np.concatenate([np.unique(d) for d in documents[: len(train)]]), minlength=_NUM_BUCKETS)
    idf = np.log((1.0 + len(train)) / (1.0 + frequency)) + 1.0
    train_bags, test_bags = _bags(documents[: len(train)], idf), _bags(documents[len(train) :], idf)
    labels = torch.tensor([float(row.gain > 0) for row in train])
    weight, bias = torch.zeros(_NUM_BUCKETS, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=0.05)
    for _ in range(_NUM_STEPS):
        optimiser.zero_grad()
        loss = fn.binary_cross_entropy_with_logits(_sums(weight, train_bags) + bias, labels)
        (loss + _L2 * weight.square().sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        return _sums(weight, test_bags).numpy().astype(np.float64)


def _sums(weight: torch.Tensor, bags: _Bags) -> torch.Tensor:
    ids, offsets, values = bags
    return fn.embedding_bag(ids, weight, offsets, mode="sum", per_sample_weights=values)[:, 0]


def _buckets(text: str) -> npt.NDArray[np.int64]:
    folded = fold(kept_bytes(text, _NUM_BYTES, _NUM_BYTES))
    hashes = np.concatenate([folded.token_hashes(), folded.token_pair_hashes()])
    return (hashes % _NUM_BUCKETS).astype(np.int64)


def _bags(documents: Sequence[npt.NDArray[np.int64]], idf: npt.NDArray[np.float64]) -> _Bags:
    """Buckets, where each document starts, and weights: each document's weights have length 1."""
    ids, sizes, values = [], [], []
    for document in documents:
        buckets, counts = np.unique(document, return_counts=True)
        weights = (1.0 + np.log(counts)) * idf[buckets]
        ids.append(buckets)
        sizes.append(len(buckets))
        values.append(weights / max(1e-9, float(np.linalg.norm(weights))))
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    flat = np.concatenate(values).astype(np.float32)
    return torch.from_numpy(np.concatenate(ids)), torch.from_numpy(offsets), torch.from_numpy(flat)
