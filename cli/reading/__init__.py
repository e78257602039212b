"""Files become documents for the indexer: found, decoded, cleaned, cut into sections, or refused with a reason."""
