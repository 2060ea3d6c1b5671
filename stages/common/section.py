"""The base class of every typed mapping, and the types that several of them share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Pixels = Annotated[int, Field(ge=1, le=1024)]
# Within what float32 can hold, in which networks are trained.
Positive = Annotated[float, Field(gt=0, le=1e38)]
NotNegative = Annotated[float, Field(ge=0, le=1e38)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Device = Literal["auto", "cpu", "cuda", "mps"]
Fit = Literal["squash", "crop", "pad"]
TestTimeAugmentation = Literal["none", "mirror", "mirror_shift"]


class Section(BaseModel):
    """A mapping without unknown keys, without conversion between types, without NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
