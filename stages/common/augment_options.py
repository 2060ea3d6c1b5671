"""The random augmentation that a recipe can name."""

from typing import Annotated, Literal

from pydantic import Field

from common.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentations(Section):
    """Random augmentation, drawn per image and epoch."""

    max_shift: Annotated[int, Field(ge=0, lt=1024)]
    flip: Literal["none", "random", "alternate"]
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # below 0.5, sampling would skip pixels
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    erasing: Share = 0.0

    @property
    def given(self) -> set[str]:
        """The keys that are off unless given, without those that are off."""
        fields = type(self).model_fields.items()
        return {
            key
            for key, field in fields
            if not field.is_required() and getattr(self, key) != field.default
        }

    @property
    def any(self) -> bool:
        """True if images are augmented at all."""
        return bool(self.given) or self.max_shift > 0 or self.flip != "none"
