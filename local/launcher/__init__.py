"""Starts ministack with the behaviour of AWS that the pipeline relies on and ministack lacks.

Runs in the emulator's own environment, imports nothing else of the project. One module per
service; each change states why it is needed and has a contract test in tests/local. ministack's
modules are reached through `import_module`, because the changed functions are private and the
project's own environment, where this is type-checked, does not have ministack installed.
"""
