"""Encodes a corpus with several processes: `python -m torch.distributed.run … -m services.retriever.build FOLDER`."""
