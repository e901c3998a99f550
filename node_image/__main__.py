"""`python3 -m node_image CONFIG`: run one node. See `server.node`."""

import sys

from node_image.server.node import main

sys.exit(main(sys.argv[1:]))
