"""Counts of FPGA resources."""

from dataclasses import dataclass, fields

__all__ = ["Resources"]


@dataclass(frozen=True)
class Resources:
    """LUT sites (``lutram`` of them used as memory), flip-flops, 36 Kb block RAMs, DSP slices."""

    lut: float = 0
    lutram: float = 0
    ff: float = 0
    bram36: float = 0
    dsp: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        # Field by field: sums of these are most of the work of listing options.
        return Resources(self.lut + other.lut, self.lutram + other.lutram, self.ff + other.ff,
                         self.bram36 + other.bram36, self.dsp + other.dsp)

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(*(a - b for a, b in zip(self.values, other.values)))

    def __radd__(self, other: int) -> "Resources":
        return self  # sum() starts at 0

    @property
    def values(self) -> tuple[float, float, float, float, float]:
        """The counts in the order of the fields."""
        return self.lut, self.lutram, self.ff, self.bram36, self.dsp

    def as_dict(self) -> dict[str, float]:
        """Keys lut, lutram, ff, bram36, dsp; whole numbers but for bram36, which is in halves or
        ninths, to four decimals."""
        return {f.name: round(round(getattr(self, f.name) * 18) / 18, 4) if f.name == "bram36"
                else round(getattr(self, f.name)) for f in fields(self)}
