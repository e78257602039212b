"""The one writer of collections: splits documents, encodes passages, publishes versions."""
