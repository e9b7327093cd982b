"""Sixteen lanes of a MinHash signature at a time, as one vector of the processor.

numba's own loops would multiply 32-bit numbers as 64-bit ones, and write each lane for every
shingle.
"""

from typing import TYPE_CHECKING, Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    from dolmix.document import U32Array, U64Array

WIDTH = 16
_HALF = ir.IntType(32)
_LANES = ir.VectorType(_HALF, WIDTH)


def _lower(_typing: Any, shingles: Any, _count: Any, lanes: Any, out: Any, _at: Any) -> Any:
    helpers: Any = cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        hashes, factors, lowest = (
            context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 2, 3)
        )
        count, at = arguments[1], arguments[4]

        def sixteen_at(data: Any) -> Any:
            return builder.bitcast(builder.gep(data, [at]), _LANES.as_pointer())

        def everywhere(value: Any) -> Any:
            none = ir.Constant(_LANES, [0] * WIDTH)
            one = builder.insert_element(none, builder.trunc(value, _HALF), ir.Constant(_HALF, 0))
            return builder.shuffle_vector(one, one, none)

        factor = builder.load(sixteen_at(factors.data), align=1)
        home = sixteen_at(lowest.data)
        least = helpers.alloca_once_value(builder, builder.load(home, align=1))
        with helpers.for_range(builder, count) as loop:
            shingle = builder.load(builder.gep(hashes.data, [loop.index]))
            high = builder.lshr(shingle, ir.Constant(shingle.type, 32))
            value = builder.add(builder.mul(everywhere(high), factor), everywhere(shingle))
            so_far = builder.load(least)
            lower = builder.icmp_unsigned("<", value, so_far)
            builder.store(builder.select(lower, value, so_far), least)
        builder.store(builder.load(least), home, align=1)
        return context.get_dummy_value()

    return types.void(shingles, types.int64, lanes, out, types.int64), generate


lower_sixteen = cast("Callable[[U64Array, int, U32Array, U32Array, int], None]", intrinsic(_lower))
"""Lower sixteen lanes, from `at` on, to the smallest `(high * lanes[i] + low) mod 2^32` over the
first `count` shingles; out and lanes have `at + 16` entries or more."""
