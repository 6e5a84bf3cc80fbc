"""The editor of ``charlstm sample --interactive``: a person and a model write a text together, on a terminal."""
