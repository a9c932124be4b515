"""Bodies of answers and requests, as the interface declares them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from ibc_pyg.retrieval.hits import Hit, rate, vote


class HitAnswer(BaseModel):
    """A picture found."""

    rank: int = Field(description="From 1")
    similarity: float = Field(description="Cosine, in [-1, 1]")
    name: str = Field(description="Name of the file")
    path: str = Field(description="The file")
    label: str | None = Field(description="Its class")
    row: int = Field(description="Its row in the index; see /api/image and /api/similar")
    identical: bool = Field(description="Whether the query is a file with the same content")
    copies: list[str] = Field(description="Other files of the same content")
    strangers: float | None = Field(
        description="How often pictures of two classes are at least this similar"
    )
    strangers_text: str | None = Field(description="The same in words: 1 in 250")


class VoteAnswer(BaseModel):
    """Class that the hits vote for."""

    label: str
    share: float = Field(description="Its part of all votes, in (0, 1]")


class SearchAnswer(BaseModel):
    """Result of a query."""

    hits: list[HitAnswer] = Field(description="Most similar first")
    vote: VoteAnswer | None = Field(description="None if no hit has a class")


class VectorsAnswer(BaseModel):
    """Results of several queries."""

    results: list[SearchAnswer]


class VectorsRequest(BaseModel):
    """Queries as vectors."""

    vectors: list[list[Annotated[float, Field(allow_inf_nan=False)]]] = Field(min_length=1)
    k: int = Field(default=10, ge=1)
    label: list[str] = Field(default_factory=list, description="Only pictures of these classes")


class AboutAnswer(BaseModel):
    """Index and model that are served."""

    pictures: int
    labels: list[str]
    model: str
    dim: int
    calibrated: bool


class HealthAnswer(BaseModel):
    """State of the server."""

    status: str
    pictures: int


class ErrorAnswer(BaseModel):
    """A request that is not answered."""

    error: str = Field(description="What is wrong, in a sentence")


def search_answer(hits: Sequence[Hit]) -> SearchAnswer:
    """Return the answer to a query."""
    winner = vote(hits)
    return SearchAnswer(
        hits=[_hit(hit) for hit in hits],
        vote=None if winner is None else VoteAnswer(label=winner.label, share=winner.share),
    )


def _hit(hit: Hit) -> HitAnswer:
    return HitAnswer(
        rank=hit.rank,
        similarity=hit.similarity,
        name=Path(hit.path).name,
        path=hit.path,
        label=hit.label,
        row=hit.row,
        identical=hit.identical,
        copies=list(hit.copies),
        strangers=hit.strangers,
        strangers_text=None if hit.strangers is None else rate(hit.strangers),
    )
