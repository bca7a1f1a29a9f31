"""Model and update blobs: what is read, and each refusal by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.parameters import (
    Format,
    ParameterBlob,
    blob_bytes_max,
    read_model,
    read_update,
    write_parameters,
)
from compute.quantize import INT32_MAX, INT32_MIN, ONE
from p2p_aios.codec import schema
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    Verdict,
    count_parameters,
)

SPEC = ModelSpec(ModelKind.LINEAR, (3, 2), Activation.RELU)
COUNT = count_parameters(SPEC)
LIMIT = 1 << 20


def float_blob(values: list[float]) -> bytes:
    data = np.array(values, "<f4").tobytes()
    return schema.encode(ParameterBlob(1, Format.FLOAT32, len(values), data))


@given(st.lists(st.integers(-LIMIT, LIMIT), min_size=COUNT, max_size=COUNT))
def test_what_is_written_is_read(values: list[int]) -> None:
    blob = write_parameters(np.array(values, np.int32))
    assert len(blob) <= blob_bytes_max(SPEC)
    assert read_model(blob, SPEC).tolist() == values
    update = read_update(blob, SPEC, LIMIT)
    assert not isinstance(update, Verdict)
    assert update.tolist() == values


def test_float32_is_quantized_exactly() -> None:
    values = [0.1, -0.5, 1e-9, 3.0, 0.0, -2.25, 1.5, 2**-25][:COUNT]
    expected = [round(float(np.float32(v)) * ONE) for v in values]
    assert read_model(float_blob(values), SPEC).tolist() == expected


GOOD = write_parameters(np.zeros(COUNT, np.int32))
REFUSED = {
    "empty": (b"", Verdict.MALFORMED),
    "garbage": (b"\xff" * 20, Verdict.MALFORMED),
    "cut": (GOOD[:-1], Verdict.MALFORMED),
    "not an array": (b"\x01", Verdict.MALFORMED),
    "trailing byte": (GOOD + b"\x00", Verdict.MALFORMED),
    "other version": (
        schema.encode(ParameterBlob(1, Format.FIXED, COUNT, bytes(4 * COUNT)))[:1]
        + b"\x02"
        + GOOD[2:],
        Verdict.MALFORMED,
    ),
    "length contradicts count": (
        schema.encode(ParameterBlob(1, Format.FIXED, COUNT, bytes(4 * COUNT - 4))),
        Verdict.MALFORMED,
    ),
    "fewer parameters": (write_parameters(np.zeros(COUNT - 1, np.int32)), Verdict.MISSHAPEN),
    "one parameter more": (write_parameters(np.zeros(COUNT + 1, np.int32)), Verdict.MISSHAPEN),
    "many more": (write_parameters(np.zeros(COUNT + 9, np.int32)), Verdict.OVERSIZED),
    "NaN": (float_blob([float("nan")] * COUNT), Verdict.NON_FINITE),
    "infinity": (float_blob([0.0] * (COUNT - 1) + [float("inf")]), Verdict.NON_FINITE),
    "beyond int32": (float_blob([1e30] * COUNT), Verdict.OUT_OF_RANGE),
    "over the limit": (write_parameters(np.full(COUNT, LIMIT + 1, np.int32)), Verdict.OUT_OF_RANGE),
    "under the limit": (
        write_parameters(np.full(COUNT, -LIMIT - 1, np.int32)),
        Verdict.OUT_OF_RANGE,
    ),
    "lowest": (write_parameters(np.full(COUNT, INT32_MIN, np.int32)), Verdict.OUT_OF_RANGE),
}


@pytest.mark.parametrize(("blob", "verdict"), REFUSED.values(), ids=REFUSED)
def test_each_refusal_is_named(blob: bytes, verdict: Verdict) -> None:
    assert read_update(blob, SPEC, LIMIT) is verdict


def test_the_limit_itself_is_accepted() -> None:
    values = np.array([INT32_MAX] * COUNT, np.int32)
    assert not isinstance(read_update(write_parameters(values), SPEC, INT32_MAX), Verdict)


@given(st.binary(max_size=64))
def test_any_bytes_give_an_update_or_a_verdict(blob: bytes) -> None:
    found = read_update(blob, SPEC, LIMIT)
    assert isinstance(found, Verdict) or found.shape == (COUNT,)


@pytest.mark.parametrize(
    ("blob", "code"),
    [(b"junk", "model_malformed"), (float_blob([float("nan")] * COUNT), "model_non_finite")],
)
def test_an_unreadable_model_is_invalid(blob: bytes, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_model(blob, SPEC)
    assert caught.value.code == code
