"""What runs in a node's container: protocols, state machine, and the server around them."""
