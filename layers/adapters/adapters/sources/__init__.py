"""What AWS writes, read into the core's words: cost reports, invocation logs, CloudTrail, price lists."""
