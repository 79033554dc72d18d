"""The blocking steps of the verbs, in worker threads: each leaves the state before or after."""
