"""Frozen values of the domain, no behaviour beyond themselves. Every floor may read them."""
