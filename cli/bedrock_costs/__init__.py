"""`bedrock-costs`: the command line. It reads the ledger, sends input again, and puts policy and prices in force."""
