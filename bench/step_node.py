"""A process of the fake node that knows the bench's action beside the product's own."""

import sys

import bench.step_action  # noqa: F401  (registers itself)
from lab.fake_node import main

if __name__ == "__main__":
    sys.exit(main())
