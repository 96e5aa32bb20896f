"""What the ledger answers: documents for programs, rows for CSV, words for people; the same by command and by API."""
