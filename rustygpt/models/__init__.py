"""The model library: which models there are in detail, and how more come and go."""
