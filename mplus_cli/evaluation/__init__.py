"""Measuring the product, and reports of what was measured."""
