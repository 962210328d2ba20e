"""Bounds on the numbers of a network's configuration, as types: `ktl.generators.decoding` checks them.

They allow every released network and keep the arithmetic about a configuration small, whatever a file claims.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MAX_RESOLUTION = 1024
MAX_CHANNELS = 4096
MAX_LAYERS = 64
MAX_TAPS = 512  # of a filter, in each direction
MAX_MAP_SIZE = 2 * MAX_RESOLUTION  # of a feature map, margins included

Width = Annotated[int, Meta(ge=1, le=MAX_CHANNELS)]  # numbers in a vector, or channels
ChannelBase = Annotated[int, Meta(ge=1, le=MAX_CHANNELS * MAX_RESOLUTION)]
Classes = Annotated[int, Meta(ge=0, le=100_000)]
Resolution = Annotated[int, Meta(ge=1, le=MAX_RESOLUTION)]
UpFactor = Annotated[int, Meta(ge=1, le=MAX_RESOLUTION)]
Layers = Annotated[int, Meta(ge=1, le=MAX_LAYERS)]
CriticalLayers = Annotated[int, Meta(ge=0, le=MAX_LAYERS)]
LayerIndex = Annotated[int, Meta(ge=0, le=2 * MAX_LAYERS)]  # official names skip numbers
Margin = Annotated[int, Meta(ge=1, le=MAX_RESOLUTION // 2)]
Kernel = Annotated[int, Meta(ge=1, le=7)]
Taps = Annotated[int, Meta(ge=1, le=MAX_TAPS)]
Upsampling = Annotated[int, Meta(ge=1, le=8)]
MapSize = Annotated[int, Meta(ge=1, le=MAX_MAP_SIZE)]
# a frequency or a scale. A whole number stays an int, so that a configuration is written as it was read
Number = Annotated[int, Meta(gt=0, lt=10**6)] | Annotated[float, Meta(gt=0, lt=1e6)]
