"""`python -m testnet.demo.central ROUNDS`: the demo's model trained in one place, to compare."""

import json
import sys

from testnet.digits import train_centrally


def main() -> int:
    """Print the score on the test rows after as many passes as ROUNDS rounds make."""
    score = train_centrally(int(sys.argv[1]))
    print(json.dumps({"accuracy": score.correct / score.rows, "loss": score.loss}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
