"""Every elementwise operation and reduction, for every type, over shapes, strides, broadcasts and axes, against NumPy.

Exact operations must be equal. The others may be 2 units of the last place from the value in extended precision, or as
far as NumPy is, if that is farther.
"""

import ctypes as c
import itertools
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from tensor_cases import ORDERS, PAIRS, SEEDS, SHAPES, Pool, alike, same, ulps
from viva_tensor import BF16, COMPUTE, DTYPES, FLOATS, NUMPY, VivaError, axes, lib, names, new, open_engine, tensor as tensor_of

pytestmark = pytest.mark.filterwarnings("ignore")
open_engine()
UNARY, BINARY, REDUCTIONS = names("viva_unary_name"), names("viva_binary_name"), names("viva_reduction_name")
INEXACT = {"exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tanh", "power", "sigmoid", "silu", "gelu"}
cases = {"count": 0}


@pytest.fixture(scope="module", params=SEEDS)
def pool(request):
    return Pool(request.param)


def erfc(x):
    """Of extended precision, by the double's value and the slope there."""
    near = np.asarray(x, np.float64)
    value = np.array([math.erfc(v) for v in near.ravel()], np.longdouble).reshape(np.shape(x))
    slope = 2 / np.sqrt(np.longdouble(np.pi)) * np.exp(-near.astype(np.longdouble) ** 2)
    return value - np.where(slope == 0, 0, slope * (x - near))


def silu(x):
    return x / (1 + np.exp(-x))


# NumPy's x·(1 + erf(x/√2))/2 has no digit left below -8.3; ours is this near (test_tiny_results).
GELU_BELOW_0 = 8


# What NumPy does not have, in extended precision
OWN = {"relu": lambda x: np.where(x > 0, x, np.where(x != x, x, x.dtype.type(0))),
       "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "silu": silu,
       "gelu": lambda x: np.where(np.isneginf(x), -0.0, x * erfc(-x * np.sqrt(np.longdouble(0.5))) / 2)}


def check_near(result, operands, function, expected, message):
    """result against function in extended precision, of the operands in the result's type; expected: NumPy's own, or None."""
    with np.errstate(all="ignore"):
        exact = function(*[np.asarray(x).astype(result.dtype).astype(np.longdouble) for x in operands])
    error = ulps(result, exact, result.dtype)
    allowed = 2.0
    if message.startswith("gelu") and result.dtype == np.float64:
        # the C library's erfc, which is all that NumPy has, is good to 5; in F32 and below gelu is computed in F64
        allowed = np.where(np.asarray(operands[0]) < 0, GELU_BELOW_0, 2)
    if expected is not None:
        allowed = np.maximum(allowed, ulps(expected, exact, result.dtype))
    bad = error > allowed
    wrong = [np.broadcast_to(x, bad.shape)[bad][:4] for x in operands]
    assert not np.any(bad), f"{message}: {result[bad][:4]} for {wrong}: {np.asarray(error)[bad][:4]} ulp"


def exact_gelu(x):
    """Of a float, rounded once from 60 digits and more: erf by its series, erfc(t) for t > 9 by the asymptotic one."""
    with localcontext(prec=140):
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
        t, total, n = -Decimal(x) / Decimal(2).sqrt(), Decimal(0), 0
        if t > 9:
            term = 1 / (t * pi.sqrt())
            while n < 2 * t * t and abs(term) > Decimal(10)**-60 * abs(total):
                total, term, n = total + term, -term * (2 * n + 1) / (2 * t * t), n + 1
            return float(Decimal(x) * total * (-t * t).exp() / 2)
        term = 2 * t / pi.sqrt()
        while abs(term) > Decimal(10)**-120:
            total, term, n = total + term / (2 * n + 1), -term * t * t / (n + 1), n + 1
        return float(Decimal(x) * (1 - total) / 2)


TINY = {"sigmoid": (-750, -600, lambda x: float(1 / (1 + (-Decimal(x)).exp()))),
        "silu": (-758, -600, lambda x: float(Decimal(x) / (1 + (-Decimal(x)).exp()))), "gelu": (-38.7, -6, exact_gelu)}


@pytest.mark.parametrize("op", TINY)
def test_tiny_results(op):
    """Where results leave the normal numbers: 2 ulp of their own, F32, F16 and BF16 as F64; gelu of F64 within GELU_BELOW_0."""
    low, high, exact = TINY[op]
    for dtype, least in ((np.float64, low), (np.float32, max(low, -112)), (np.float16, max(low, -24)), (BF16, max(low, -100))):
        x = np.linspace(least, high if dtype == np.float64 else least / 3, 601).astype(dtype)
        wide = x.astype(np.float64)
        wanted = np.array([exact(v) for v in wide], np.longdouble)
        error = ulps(new("unary", UNARY.index(op), tensor_of(x)).numpy(), wanted, np.dtype(dtype))
        allowed = GELU_BELOW_0 if op == "gelu" and dtype == np.float64 else 2
        assert error.max() <= allowed, (op, dtype, error.max(), wide[error.argmax()])


@pytest.mark.parametrize("op", UNARY)
def test_unary(op, pool):
    code = UNARY.index(op)
    for dtype in COMPUTE:
        result_type = lib.viva_unary_type(code, DTYPES[dtype])
        if result_type == 0:
            array, tensor = pool.operand(dtype, (3,), 0)
            with pytest.raises(VivaError, match="is not defined for"):
                new("unary", code, tensor)
            assert op in OWN or not numpy_has(op, array)
            continue
        for shape, order in itertools.product(SHAPES, range(4)):
            array, tensor = pool.operand(dtype, shape, order)
            result = new("unary", code, tensor).numpy()
            cases["count"] += 1
            message = f"{op} {dtype} {shape} order {order}"
            assert result.dtype == NUMPY[result_type] and result.shape == shape, message
            if op in OWN and op in INEXACT:
                check_near(result, [array], OWN[op], None, message)
                continue
            if op == "reciprocal" and dtype.kind in "iu":
                array = np.where(array == 0, dtype.type(2), array)  # 1/0 of integers: 0, as 1/2; NumPy's is undefined
            plain = array.astype(np.float32) if op == "sign" and dtype == BF16 else array  # ml_dtypes: -0 of -0; NumPy: 0
            expected = np.asarray(OWN[op](array) if op in OWN else getattr(np, op)(plain))
            expected = expected.astype(BF16) if plain is not array else expected
            assert result.dtype == expected.dtype, message
            if op in INEXACT and op not in OWN and result.size:
                check_near(result, [array], getattr(np, op), expected, message)
            else:
                assert same(result, expected), f"{message}: {result} {expected} {array}"


def numpy_has(op, *arrays):
    try:
        getattr(np, op)(*arrays)
    except TypeError:
        return False
    return True


def numpy_binary(op, a, b):
    """NumPy's result; BF16 beside what ml_dtypes has no rule for is taken as F32 or F64 first, as viva_promote_types says."""
    common = NUMPY[lib.viva_promote_types(DTYPES[a.dtype], DTYPES[b.dtype])]
    if BF16 in (a.dtype, b.dtype) and a.dtype != b.dtype:
        a, b = a.astype(common), b.astype(common)
    result = np.asarray(getattr(np, op)(a, b))
    first = op in ("maximum", "minimum") and result.dtype in FLOATS  # of -0 and 0: see docs/tensor.md
    return np.where(a == b, a.astype(result.dtype), result) if first else result


@pytest.mark.parametrize("op", BINARY)
def test_binary(op, pool):
    code = BINARY.index(op)
    turn = 0
    for a_type, b_type in itertools.product(COMPUTE, COMPUTE):
        result_type = lib.viva_binary_type(code, DTYPES[a_type], DTYPES[b_type])
        if result_type == 0:
            assert not numpy_has(op, np.ones(2, a_type), np.ones(2, b_type))
            continue
        for a_shape, b_shape in PAIRS if a_type == b_type else PAIRS[turn % 3::3]:
            turn += 1
            order = ORDERS[turn * 7 % len(ORDERS)]
            a, a_tensor = pool.operand(a_type, a_shape, order[0])
            b, b_tensor = pool.operand(b_type, b_shape, order[1])
            message = f"{op} {a_type} {b_type} {a_shape} {b_shape} order {order}"
            if op == "power" and NUMPY[result_type].kind in "iu" and np.any(b < 0):
                if np.broadcast(a, b).size:
                    with pytest.raises(VivaError, match="negative power"):
                        new("binary", code, a_tensor, b_tensor)
                b = np.abs(b) % b_type.type(7)
                b_tensor = tensor_of(b)
            result = new("binary", code, a_tensor, b_tensor).numpy()
            cases["count"] += 1
            expected = numpy_binary(op, a, b)
            assert result.dtype == expected.dtype and result.shape == expected.shape, message
            if op == "power" and result.dtype in FLOATS and result.size:
                check_near(result, [a, b], np.power, expected, message)
            elif not same(result, expected):
                bad = ~((result == expected) | ((result != result) & (expected != expected)))
                a, b = np.broadcast_arrays(a, b)
                raise AssertionError(f"{message}: {result[bad][:4]} {expected[bad][:4]} for {a[bad][:4]} {b[bad][:4]}")


def all_axes(rank):
    yield None
    for n in range(0, rank + 1):
        for chosen in itertools.combinations(range(rank), n):
            yield chosen if n != 1 else (chosen[0] - rank,)


def longdouble(array):
    return np.asarray(array).astype(np.longdouble)


def exact_reduction(op, array, axis, keep):
    x = longdouble(array)
    if op == "norm":
        return np.sqrt(np.sum(x * x, axis=axis, keepdims=keep))
    return getattr(np, op)(x, axis=axis, keepdims=keep)


def scale_of(op, array, axis, keep):
    """What a sum's rounding errors are measured by: the sum of magnitudes, as the value itself may have cancelled."""
    x = np.abs(longdouble(array))
    count = max(1, x.size // max(1, np.sum(x, axis=axis).size))
    if op in ("sum", "mean"):
        return np.sum(x, axis=axis, keepdims=keep) / (count if op == "mean" else 1)
    if op in ("var", "std"):
        spread = np.var(longdouble(array), axis=axis, keepdims=keep)
        # the mean is rounded: what is left after it is subtracted may be that of 1 part in 2^50
        lost = np.abs(np.mean(longdouble(array), axis=axis, keepdims=keep)) * 2.0**-50
        return spread + lost**2 * 2**52 if op == "var" else np.sqrt(spread) + lost * 2**52
    return None


def check_reduction(op, result, array, axis, keep, expected, message):
    exact = exact_reduction(op, array, axis, keep)
    allowed = 2.0
    if expected is not None:
        allowed = np.maximum(allowed, ulps(expected, exact, result.dtype))
    if op == "prod":  # as many roundings as factors, whatever the order: their sum grows with the root
        allowed = np.maximum(allowed, np.sqrt(array.size / max(1, exact.size)))
    if op == "norm":  # squares of F64 down a column are added one after another: the root of their number, halved by the root
        allowed = np.maximum(allowed, 1 + np.sqrt(array.size / max(1, exact.size)) / 2)
    bad = ulps(result, exact, result.dtype) > allowed
    scale = scale_of(op, array, axis, keep)
    if scale is not None and np.any(bad):
        eps = np.longdouble(2) ** -(7 if result.dtype == BF16 else np.finfo(result.dtype).nmant)
        bad &= ~(np.abs(longdouble(result) - exact) <= (4 if op == "var" else 2) * eps * scale)
    assert not np.any(bad), f"{message}: {result} {exact} {expected}"


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reduction(op, pool):
    code = REDUCTIONS.index(op)
    turn = 0
    for dtype, shape in itertools.product(COMPUTE, SHAPES):
        if len(shape) == 8 and dtype.itemsize != 4:
            continue
        for axis in all_axes(len(shape)):
            if op.startswith("arg") and axis is not None and len(axis) != 1:
                continue
            turn += 1
            keep, order = turn % 2, turn % 4
            array, tensor = pool.operand(dtype, shape, order)
            message = f"{op} {dtype} {shape} axis {axis} keep {keep} order {order}"
            given = (axes(axis), 0 if axis is None else len(axis), keep)
            places = range(len(shape)) if axis is None else [a % len(shape) for a in axis]
            nothing = int(np.prod([shape[i] for i in places])) == 0
            results = int(np.prod([n for i, n in enumerate(shape) if i not in places]))
            cases["count"] += 1
            if nothing and results and op in ("mean", "max", "min", "var", "std", "argmax", "argmin"):
                with pytest.raises(VivaError, match="of nothing has no value"):
                    new("reduce", code, tensor, *given)
                continue
            result = new("reduce", code, tensor, *given).numpy()
            assert result.dtype == NUMPY[lib.viva_reduction_type(code, DTYPES[dtype])], message
            numpy_axis = axis if axis is None or not op.startswith("arg") else axis[0]
            if op in ("sum", "prod", "mean", "var", "std", "norm") and result.dtype in FLOATS:
                expected = None
                if op != "norm" and dtype != BF16:
                    expected = np.asarray(getattr(np, op)(array, axis=axis, keepdims=bool(keep)))
                    assert result.dtype == expected.dtype and result.shape == expected.shape, message
                check_reduction(op, result, array, axis, bool(keep), expected, message)
                continue
            expected = np.asarray(getattr(np, op)(array, axis=numpy_axis, keepdims=bool(keep)))
            expected = expected.astype(result.dtype) if op == "count_nonzero" else expected
            equal = alike if op in ("max", "min") else same  # of -0 and 0 either
            assert equal(result, expected), f"{message}: {result} {expected} {array}"


def test_promotion_table():
    for a, b in itertools.product(COMPUTE, COMPUTE):
        found = lib.viva_promote_types(DTYPES[a], DTYPES[b])
        try:
            expected = np.promote_types(a, b)
        except TypeError:  # BF16 with F16 and wide integers: as F16, and F32 with F16
            expected = np.promote_types(np.float32, b if a == BF16 else a) if np.float16 in (a, b) else \
                np.promote_types(np.float16, b if a == BF16 else a)
        assert NUMPY[found] == expected, (a, b)


def test_number_of_cases():
    if cases["count"] < 10_000:
        pytest.skip(f"{cases['count']} cases: the whole file was not run")
    print(cases["count"])
    assert cases["count"] >= (50_000 if len(SEEDS) > 1 else 20_000)
