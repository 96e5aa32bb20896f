"""The edges: the only place for AWS, HTTP, the environment and the clock."""
