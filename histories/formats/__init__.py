"""Files that hold histories: ours (`native`), and Jepsen's (`jepsen`, `jepsen_log`)."""
