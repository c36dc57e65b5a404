"""Metrics of one query's ranking; scores that are equal are one place that documents share, as in scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def values(metrics: Sequence[str], relevance: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    """The metrics of a query in which some document is relevant.

    What a query without a relevant document is worth, nobody can say: like TFMA's NDCG, one leaves it out of the mean
    over queries (scikit-learn's `ndcg_score` counts it 0).

    Args:
        metrics: Names of metrics of RANKING.
        relevance: `[documents]`, 0 or more; one at least above 0.
        scores: `[documents]`, finite.

    Returns:
        `[metrics]` of float64, from 0 to 1.
    """
    import numpy as np

    return np.array([_value(name, relevance, scores) for name in metrics])


def _value(name: str, relevance: NDArray[Any], scores: NDArray[Any]) -> float:
    name, _, k = name.partition("@")
    if name == "ndcg":
        return _ndcg(relevance, scores, int(k) if k else None)
    ranks = _ranks(scores)[relevance > 0]
    return {"mrr": _reciprocal_rank, "map": _average_precision}[name](ranks)


def _ndcg(relevance: NDArray[Any], scores: NDArray[Any], k: int | None) -> float:
    """Normalized discounted cumulative gain of the first k documents, or of all.

    The gain is the relevance itself, not 2 to its power, and the discount is 1 / log2(rank + 1): K. Järvelin, J.
    Kekäläinen: Cumulated gain-based evaluation of IR techniques, ACM Transactions on Information Systems 20, 2002, as
    in TFMA and in scikit-learn's `ndcg_score`. Over the orders that documents with the same score may have, one takes
    the mean: F. McSherry, M. Najork: Computing Information Retrieval Performance Measures Efficiently in the Presence
    of Tied Scores, ECIR 2008, as scikit-learn does; TFMA takes one of the orders.
    """
    import numpy as np

    discounts = 1 / np.log2(np.arange(len(scores)) + 2)
    discounts[k:] = 0 if k else discounts[k:]
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    shared = np.add.reduceat(discounts, counts.cumsum() - counts) / counts
    return float((relevance * shared[place]).sum() / (np.sort(relevance)[::-1] * discounts).sum())


def _ranks(scores: NDArray[Any]) -> NDArray[Any]:
    """How many documents score at least as high as each, itself among them.

    So of documents with the same score each has the last of their ranks, and a model that scores all alike gains
    nothing by it: the ranks of scikit-learn's `label_ranking_average_precision_score`.
    """
    import numpy as np

    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    ranks: NDArray[Any] = counts.cumsum()[place]
    return ranks


def _reciprocal_rank(ranks: NDArray[Any]) -> float:
    """1 / rank of the first relevant document: E. Voorhees: The TREC-8 Question Answering Track Report, 1999."""
    return float(1 / ranks.min())


def _average_precision(ranks: NDArray[Any]) -> float:
    """Mean over the relevant documents of the share of relevant ones down to theirs.

    scikit-learn's `average_precision_score` of one query, and its `label_ranking_average_precision_score`.
    """
    import numpy as np

    ranks = np.sort(ranks)
    return float((np.searchsorted(ranks, ranks, side="right") / ranks).mean())
