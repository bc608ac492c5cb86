"""Evaluation: samples and predictions against ground truth, by a protocol, as long-form records."""
