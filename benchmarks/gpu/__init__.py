"""The ExLlamaV2 engine on a GPU: its extension, a folder for machines without a package index, and what is measured."""
