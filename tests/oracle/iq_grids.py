"""Makes shaders/repack/grids.bin: the points that the IQ types choose from, as their specification has them, by the Python package `gguf`.

    pip install numpy gguf
    python iq_grids.py ../../shaders/repack/grids.bin

A point is 16 bits, little-endian: the level of its number j, counted from the lowest, in bits 2 j and 2 j + 1 (8 numbers) or 3 j to 3 j + 2
(4 numbers: IQ3). The grids follow each other in the order below, with 256, 512, 1024, 2048, 256 and 512 points.
"""

import sys

import numpy as np
from gguf import quants

GRIDS = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_S", "IQ3_XXS", "IQ3_S"]

points = []
for name in GRIDS:
    kind = getattr(quants, name)
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape)
    levels = np.searchsorted(np.array(kind.grid_map), grid).astype(np.uint32)
    assert (np.array(kind.grid_map)[levels] == grid).all()
    count = levels.shape[1]
    bits = 2 if count == 8 else 3
    points.append((levels << (bits * np.arange(count, dtype=np.uint32))).sum(axis=1))
with open(sys.argv[1], "wb") as file:
    file.write(np.concatenate(points).astype("<u2").tobytes())
