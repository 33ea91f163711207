"""The closed sets: tiers, places, data classes, domains, capabilities, reasons."""

from enum import Enum, IntEnum, StrEnum
from typing import NewType


class Tier(IntEnum):
    """The five quality and cost classes."""

    LOCAL_FAST = 1
    LOCAL_STANDARD = 2
    CLOUD_ENHANCED = 3
    CLOUD_SPECIALIZED = 4
    CLOUD_FALLBACK = 5

    @property
    def is_local(self) -> bool:
        return self in (Tier.LOCAL_FAST, Tier.LOCAL_STANDARD)


Place = NewType("Place", str)
"""Where an upstream runs. `local` is inside the cluster; every other name is somewhere outside."""

LOCAL = Place("local")


class DataClass(StrEnum):
    PUBLIC = "public"
    PERSONAL = "personal"
    CONFIDENTIAL = "confidential"


class Domain(StrEnum):
    CODING = "coding"
    MATH = "math"
    EXTRACTION = "extraction"
    REASONING = "reasoning"
    WRITING = "writing"
    COACHING = "coaching"
    SMALLTALK = "smalltalk"
    KNOWLEDGE = "knowledge"


class Capability(StrEnum):
    """What a request needs of an upstream beyond plain text."""

    CHAT = "chat"
    TOOLS = "tools"
    STRUCTURED_OUTPUT = "structured_output"
    IMAGES = "images"
    EMBEDDINGS = "embeddings"


class DropReason(StrEnum):
    """Why a candidate may not serve a request."""

    RESIDENCY = "residency"
    TENANT_TIER = "tenant_tier"
    NOT_ASKED_FOR = "not_asked_for"
    CAPABILITY = "capability"
    CONTEXT_LENGTH = "context_length"
    NO_SPECIALIST = "no_specialist"
    UNAVAILABLE = "unavailable"
    CIRCUIT_OPEN = "circuit_open"
    BUDGET = "budget"
    DEADLINE = "deadline"
    SAME_UPSTREAM = "same_upstream"


class Reason(StrEnum):
    """Why the chosen tier was chosen: the vocabulary of `X-Upcoach-Reason`."""

    SIMPLE = "simple"
    STANDARD = "standard"
    COMPLEX = "complex"
    SPECIALIST = "specialist"
    PINNED_MODEL = "pinned_model"
    PINNED_TIER = "pinned_tier"
    PINNED_CLOUD = "pinned_cloud"
    LOCAL_ONLY = "local_only"
    BEST_AVAILABLE = "best_available"
    OVER_BUDGET = "over_budget"
    FAILOVER = "failover"
    SPILLED = "spilled"
    HEDGED = "hedged"


class ScoredBy(StrEnum):
    """Which mechanism produced an assessment."""

    MODEL = "model"
    HEURISTIC = "heuristic"


class Priority(StrEnum):
    """Who is refused first when the gateway is saturated: the lowest."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Circuit(StrEnum):
    """A circuit breaker's phase. Open: nobody calls the upstream; half-open: one probing request may."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(StrEnum):
    """How one attempt ended. Abandoned: its router died before it could tell."""

    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    ABANDONED = "abandoned"


class Alias(Enum):
    """Model names that ask for a decision instead of for one upstream."""

    AUTO = "auto"
    LOCAL = "local"
    CLOUD = "cloud"
