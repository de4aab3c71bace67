"""The machinery of ``cirbench build``: plan -> subtract what is done -> run -> aggregate."""
