"""The base of every model that is read from outside: immutable, and an unknown key is an error."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A frozen pydantic model that refuses keys it does not know: a key that does nothing is a bug."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
