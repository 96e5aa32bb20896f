"""The core of Bedrock cost attribution: what a charge is and who owes it. Standard library only, no clock, no I/O."""
