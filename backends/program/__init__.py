"""Runs programs: one attention after the other, and what lies between them."""
