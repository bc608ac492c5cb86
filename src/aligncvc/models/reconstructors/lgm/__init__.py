"""LGM and its time-conditioned forms as reconstructors."""
