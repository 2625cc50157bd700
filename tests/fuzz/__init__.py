"""Every parser of untrusted bytes as a function that a fuzzer can call; see ``__main__``."""
