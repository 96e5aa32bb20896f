"""AWS on one machine: the emulator, a deployment of the built template, and a Slack receiver.

Nothing here is part of the deployed product, and nothing of the product imports it.
Every server binds to the loopback interface only.
"""
