"""Why a node ends, when several of its tasks fail at once."""

from p2p_aios.errors import Corrupt, Invalid, InvariantBroken, Unavailable
from p2p_aios.node.run import gravest


def test_of_several_faults_the_gravest_is_told() -> None:
    faults = [Unavailable("u", "u"), Invalid("i", "i"), Corrupt("c", "c")]
    broken = InvariantBroken("impossible")
    group = BaseExceptionGroup("many", [*faults, BaseExceptionGroup("deep", [broken])])
    assert gravest(group) is broken
    assert gravest(BaseExceptionGroup("many", faults)) is faults[2]
    assert gravest(BaseExceptionGroup("many", faults[:2])) is faults[1]
    strange = BaseExceptionGroup("many", [KeyError("k")])
    assert gravest(strange) is strange
