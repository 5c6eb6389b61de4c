"""The steps of the ledger's schema, forward only, one file each in versions/."""
