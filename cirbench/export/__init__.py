"""Publishing: one file per format that a data set can be exported to, and the way back."""
