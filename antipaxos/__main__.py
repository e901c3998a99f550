"""`python -m antipaxos` is the command `antipaxos`."""

from harness.start import main

if __name__ == "__main__":
    main()
